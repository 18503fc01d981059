"""The job that unmixes a scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .job_base import Job


@dataclass(frozen=True)
class UnmixJob(Job):
    """Unmix a scene, or the window of it that `extent` (x_min, y_min, x_max, y_max) covers.

    `method`: `idnet`, or `fcls`. Endmembers are the materials in the CSV file `spectra`, or `endmembers` many
    found in the scene, 0: as many as it shows. Both are found, and trained, on `sample` pixels. A
    `trained_model` unmixes as it was made, and leaves all of these unused. With `any_brightness` a pixel may
    be any times brighter than a mixture. `scale` is what stored values are
    divided by to be reflectance, 0: told by a rule from type and size of the values. `epochs` and
    `bundle_size`, pixels per material, are the network's. `parts_of`: `mean` writes the parts' means over the
    bands, `bands` every band.
    """

    KIND: ClassVar[str] = "unmix"
    OUTPUTS: ClassVar[tuple[str, ...]] = (
        "abundances", "endmember_spread", "nonlinearity", "uncertainty", "reconstruction_error", "brightness",
        "parts", "model",
    )  # fmt: skip

    scene: str
    method: str = "idnet"
    endmembers: int = 0
    spectra: str | None = None
    trained_model: str | None = None
    extent: list[float] | None = None
    any_brightness: bool = False
    scale: float = 0.0
    sample: int = 20_000
    epochs: int = 20
    bundle_size: int = 100
    parts_of: str = "mean"
    seed: int = 0
    device: str = "auto"
    memory_mb: int = 1024
    abundances: str | None = None
    endmember_spread: str | None = None
    nonlinearity: str | None = None
    uncertainty: str | None = None
    reconstruction_error: str | None = None
    brightness: str | None = None
    parts: str | None = None
    model: str | None = None
