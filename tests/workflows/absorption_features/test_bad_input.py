"""What absorption features can't be found in is refused in a sentence, and a cancel is obeyed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from explanation_layers.engine.absorption_jobs import AbsorptionFeaturesJob
from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.workflows.absorption_features import find_features

from .conftest import AT, BANDS, SIDE, quiet, records, write


@pytest.fixture
def refused(job: AbsorptionFeaturesJob) -> Callable[..., None]:
    """Return a function that asserts the sentence of a job with some fields changed."""

    def check(sentence: str, **change: object) -> None:
        with pytest.raises(InputError, match=sentence):
            find_features(replace(job, **change), quiet())

    return check


def test_what_must_be_given(refused: Callable[..., None]) -> None:
    refused("Give MODEL, to explain it on the way, or ATTRIBUTION", attribution=None)
    refused("Give CLASSES, a raster of the class", class_raster=None)
    refused("SHIFTS must be 1 or more", shifts=0)


def test_wavelengths_are_asked_for_by_name_and_told_apart(
    made: SimpleNamespace, job: AbsorptionFeaturesJob, refused: Callable[..., None], tmp_path: Path
) -> None:
    bare = write(tmp_path / "bare.tif", made.spectra.astype(np.float32), None)
    refused("needs? wavelengths, and .* tells none; give those of its bands as WAVELENGTHS", scene=bare)
    refused("WAVELENGTHS has 3 values; the scene has 89 bands", scene=bare, wavelengths=[500.0, 510, 520])
    refused("neither 100 to 20000 nanometres nor", scene=bare, wavelengths=[*AT[:-1], 45.0])
    refused("not above 0", scene=bare, wavelengths=[*AT[:-1], -3.0])
    known = records(find_features(job, quiet()), "FEATURES")
    mixed = [value / 1e3 if i % 3 else value for i, value in enumerate(AT)]
    for given in (AT.tolist(), (AT / 1e3).tolist(), mixed):
        found = records(find_features(replace(job, scene=bare, wavelengths=given), quiet()), "FEATURES")
        assert [row["feature"] for row in found] == [row["feature"] for row in known]
        assert found[0]["wavelength_nm"] == pytest.approx(known[0]["wavelength_nm"])


def test_attributions_of_something_else_are_refused(
    made: SimpleNamespace, job: AbsorptionFeaturesJob, refused: Callable[..., None], tmp_path: Path
) -> None:
    values = made.values.astype(np.float32)
    refused("have 88 bands and the scene", attribution=write(tmp_path / "f.tif", values[1:], BANDS[1:]))
    moved = tuple(replace(band, wavelength_nm=band.wavelength_nm + 4) for band in BANDS)
    refused("they are of another scene", attribution=write(tmp_path / "m.tif", values, moved))
    refused("another coordinate system", attribution=write(tmp_path / "c.tif", values, crs=32632))
    refused("not on the grid", attribution=write(tmp_path / "o.tif", values, origin=(0.4, 0)))
    refused("not on the grid", attribution=write(tmp_path / "w.tif", values, origin=(5, 0)))
    rings = {"EXPLANATION_LAYERS": json.dumps({"job": {"parts": "rings"}})}
    refused("are rings; choose an attribution", attribution=write(tmp_path / "r.tif", values, tags=rings))
    empty = write(tmp_path / "e.tif", np.full_like(values, np.nan))
    refused("holds no attribution where it was to be read", attribution=empty)
    lineage = {"job": {"explainer": "deeplift", "baseline": "mean", "scene": "/other/scene.tif"}}
    elsewhere = write(tmp_path / "e2.tif", values, tags={"EXPLANATION_LAYERS": json.dumps(lineage)})
    warnings = find_features(replace(job, attribution=elsewhere), quiet())["warnings"]
    assert any("was made of /other/scene.tif" in text for text in warnings)


def test_other_bad_input_is_told(
    made: SimpleNamespace, refused: Callable[..., None], tmp_path: Path, spectral_model: str
) -> None:
    table = tmp_path / "bad.csv"
    table.write_text("name,kind\na,b\n")
    refused("has no column centre_nm", features_table=str(table))
    away = write(tmp_path / "away.tif", made.numbers[None], None, origin=(900, 0), dtype="uint8", nodata=0)
    refused("choose labels of the same place", class_raster=away)
    refused(
        "No pixel of the scene has a class",
        class_raster=write(
            tmp_path / "none.tif", np.zeros((1, SIDE, SIDE), np.uint8), None, dtype="uint8", nodata=0
        ),
    )
    refused("has 89 bands, the model was trained on 167", model=spectral_model)
    flat = write(tmp_path / "flat.tif", made.spectra.astype(np.float32), None)
    refused("No three bands", scene=flat, wavelengths=[1400.0] * len(AT))


def test_it_stops_when_told(job: AbsorptionFeaturesJob) -> None:
    context = quiet()
    context.cancel()
    with pytest.raises(Cancelled):
        find_features(job, context)
