"""What all jobs are made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Job:
    """Base of all jobs."""

    KIND: ClassVar[str] = ""
    OUTPUTS: ClassVar[tuple[str, ...]] = ()

    def to_dict(self) -> dict:
        """Return the job as JSON-ready values, its kind included."""
        return {"kind": self.KIND, **asdict(self)}

    def wanted(self) -> dict[str, str]:
        """Return the output paths that are wanted, by field."""
        return {name: path for name in self.OUTPUTS if (path := getattr(self, name))}

    def output_paths(self) -> list[str]:
        """Return the output paths that are wanted."""
        return list(self.wanted().values())


@dataclass(frozen=True)
class SeriesSource:
    """The rasters of a series, and what is known of their dates.

    `paths` are rasters, or one folder of them. `dates` were given by the user, one per raster or per band;
    `layer_dates` are those that QGIS has for each raster: none, one, or one per band. `date_pattern` tells
    how file names write dates. `channels` are those to use, all where empty; `start` and `end` the first and
    the last day to use.
    """

    paths: tuple[str, ...]
    dates: tuple[str, ...] = ()
    layer_dates: tuple[tuple[str, ...], ...] = ()
    date_pattern: str = ""
    channels: tuple[str, ...] = ()
    start: str = ""
    end: str = ""

    @classmethod
    def from_dict(cls, values: dict) -> SeriesSource:
        """Build it from JSON, which knows no tuples."""
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        values["layer_dates"] = tuple(tuple(dates) for dates in values.get("layer_dates", ()))
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class TargetedJob(Job):
    """A job about an output of a model, against a baseline.

    `class_name` and `contrast_class` are names or numbers of classes of the model, None for the
    predicted class and the runner-up. `baseline_spectrum` holds one value per band of the model.
    """

    target: str = "predicted"
    class_name: str | None = None
    contrast_class: str | None = None
    baseline: str = "mean"
    baseline_class: str | None = None
    baseline_spectrum: list[float] | None = None


@dataclass(frozen=True, kw_only=True)
class LabelledJob(Job):
    """A job that reads labels: `label_features`, GeoJSON with the property `class`, or `label_raster`."""

    label_features: str | None = None
    label_raster: str | None = None
    label_name: str = ""
    unlabelled_value: int = 0
