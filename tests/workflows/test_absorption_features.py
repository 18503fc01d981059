"""Absorption features of classes: by hand, in tiles, of planted evidence, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from explanation_layers.engine.absorption_jobs import AbsorptionFeaturesJob
from explanation_layers.engine.jobs import AttributionJob
from explanation_layers.rasters.absorption_table import load_table, match
from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.rasters.grid import Grid
from explanation_layers.rasters.scene import open_scene
from explanation_layers.rasters.wavelengths import Band
from explanation_layers.rasters.writers import RasterWriter
from explanation_layers.workflows import absorption_features
from explanation_layers.workflows.absorption_features import find_features
from explanation_layers.workflows.attribution import explain
from explanation_layers.workflows.context import Context

AT = np.arange(450.0, 1340.0, 10.0)
BANDS = tuple(Band(f"band {i}", wavelength) for i, wavelength in enumerate(AT))
SIDE = 24
LINEAGE = {"EXPLANATION_LAYERS": json.dumps({"job": {"explainer": "deeplift", "baseline": "mean"}})}
# Centre, depth and width of what each of the classes absorbs.
DIPS = {1: [(670.0, 0.3, 20.0)], 2: [(970.0, 0.2, 25.0), (1180.0, 0.1, 30.0)]}


def quiet() -> Context:
    return Context("test", lambda message: None)


def bump(centre: float, width: float) -> np.ndarray:
    return np.exp(-(((AT - centre) / width) ** 2))


def records(result: dict, name: str) -> list[dict]:
    """The rows of a table as dictionaries."""
    table = result["tables"][name]
    names = [column["name"] for column in table["columns"]]
    return [dict(zip(names, row, strict=True)) for row in table["rows"]]


def write(path: Path, values: np.ndarray, bands=BANDS, origin=(0, 0), crs=32633, **options) -> str:
    """Write (band, y, x) with wavelengths at a place in pixels from the scene's corner."""
    transform = Affine(10, 0, 5e5, 0, -10, 5.8e6) * Affine.translation(*origin)
    grid = Grid(values.shape[2], values.shape[1], CRS.from_epsg(crs).to_wkt(), transform)
    with RasterWriter(str(path), grid, len(values), bands=bands, **options) as writer:
        writer.write(grid.whole, values)
    return str(path)


@pytest.fixture
def made(tmp_path: Path) -> SimpleNamespace:
    """Two classes with Gaussian absorptions on a sloped continuum, and attributions on the first's.

    The second class's lie where no spectrum of it shows anything, around 560 nm.
    """
    rng = np.random.default_rng(3)
    classes = np.ones((SIDE, SIDE), dtype=np.uint8)
    classes[:, SIDE // 2 :] = 2
    classes[0, 0] = 0
    level = 0.3 + 0.1 * (AT - AT[0]) / (AT[-1] - AT[0])
    spectra = np.empty((len(AT), SIDE, SIDE))
    for number, dips in DIPS.items():
        spectrum = level * np.prod([1 - depth * bump(c, w) for c, depth, w in dips], axis=0)
        spectra[:, classes == number] = spectrum[:, None]
    spectra[:, classes == 0] = 9
    spectra *= 1 + 0.3 * rng.random((SIDE, SIDE))
    spectra += 0.0005 * rng.standard_normal(spectra.shape)
    weight = np.zeros_like(spectra)
    weight[:, classes == 1] = (bump(670, 20) + 0.01)[:, None]
    weight[:, classes == 2] = (-bump(545, 15) - 0.01)[:, None]
    values = weight * (1 + 0.1 * rng.standard_normal(spectra.shape))
    folder = tmp_path / "in"
    folder.mkdir()
    labels = folder / "classes.tif"
    write(labels, classes[None], None, dtype="uint8", nodata=0, class_names=("first", "second"))
    return SimpleNamespace(
        scene=write(folder / "scene.tif", spectra.astype(np.float32)),
        attribution=write(folder / "attribution.tif", values.astype(np.float32), tags=LINEAGE),
        classes=str(labels), values=values, spectra=spectra, numbers=classes, folder=folder,
    )  # fmt: skip


@pytest.fixture
def job(made: SimpleNamespace) -> AbsorptionFeaturesJob:
    return AbsorptionFeaturesJob(
        scene=made.scene, attribution=made.attribution, class_raster=made.classes, shifts=400
    )


def test_what_is_found_is_what_was_put_there(made: SimpleNamespace, job: AbsorptionFeaturesJob) -> None:
    result = find_features(job, quiet())
    rows = records(result, "FEATURES")
    absorbed = {name: [row for row in rows if row["class"] == name and row["kind"] == "absorption"]
                for name in ("first", "second")}  # fmt: skip
    for name, dips in zip(absorbed, DIPS.values(), strict=True):
        assert len(absorbed[name]) == len(dips)
        for row, (centre, depth, width) in zip(absorbed[name], dips, strict=True):
            assert row["wavelength_nm"] == pytest.approx(centre, abs=5)
            assert row["depth"] == pytest.approx(depth, rel=0.05)
            assert row["fwhm_nm"] == pytest.approx(2 * width * np.sqrt(np.log(2)), rel=0.1)
    assert [row["feature"] for row in absorbed["second"]] == ["Leaf water 975", "Leaf water 1180"]
    (chlorophyll,) = absorbed["first"]
    assert (chlorophyll["feature"], chlorophyll["verdict"]) == ("Chlorophyll red", "used and present")
    assert "Chlorophyll in water" in chlorophyll["candidates"] and chlorophyll["flag"] == ""
    assert all(row["verdict"] == "present, not used" for row in absorbed["second"])
    (spurious,) = [row for row in rows if row["class"] == "second" and row["kind"] == "attribution peak"]
    assert spurious["verdict"] == "used, not present (spurious)" and spurious["depth"] is None
    assert "Hematite 540" in spurious["candidates"] and spurious["q"] <= 0.05
    assert (result["numbers"]["USED_FEATURES"], result["numbers"]["SPURIOUS_FEATURES"]) == (1, 1)
    assert result["numbers"]["PIXELS"] == SIDE * SIDE - 1
    assert any("follows what its spectrum does not show" in text for text in result["warnings"])


def test_shares_and_local_depth_by_hand(made: SimpleNamespace, job: AbsorptionFeaturesJob) -> None:
    result = find_features(job, quiet())
    own = made.numbers == 1
    mean, size = made.spectra[:, own].mean(1), np.abs(made.values[:, own]).mean(1)
    row = next(row for row in records(result, "FEATURES") if row["feature"] == "Chlorophyll red")
    # Half of the depth is reached 16.7 nm from 670 nm.
    bands = np.abs(AT - 670) < 16.6
    assert row["bands"] == bands.sum() == 3
    assert row["share"] == pytest.approx(size[bands].sum() / size.sum(), rel=1e-5)
    assert row["enrichment"] == pytest.approx(row["share"] / (3 / len(AT)), rel=1e-5)
    left, right = (AT >= 522) & (AT <= 552), (AT >= 737) & (AT <= 767)
    low, high = mean[left].mean(), mean[right].mean()
    along = (670 - AT[left].mean()) / (AT[right].mean() - AT[left].mean())
    depth = 1 - mean[AT == 670][0] / (low + (high - low) * along)
    assert row["local_depth"] == pytest.approx(depth, rel=1e-4)
    first, second = records(result, "OVERLAP")
    assert first["share"] == pytest.approx(row["share"]) and first["p"] < 0.05
    assert (first["used"], first["spurious"], second["used"], second["spurious"]) == (1, 0, 0, 1)
    assert first["strongest"] == "Chlorophyll red (670 nm)" and first["absorption_share"] is None
    assert (first["pixels"], second["pixels"]) == (own.sum(), (made.numbers == 2).sum())
    assert second["p"] > 0.2


@pytest.mark.parametrize("side", [5, 16])
def test_tiles_do_not_matter(
    monkeypatch: pytest.MonkeyPatch, made: SimpleNamespace, job: AbsorptionFeaturesJob, side: int
) -> None:
    whole = find_features(job, quiet())
    monkeypatch.setattr(absorption_features, "tile_side", lambda *_: side)
    parts = find_features(job, quiet())
    for name in ("FEATURES", "OVERLAP"):
        for ours, theirs in zip(records(parts, name), records(whole, name), strict=True):
            for column, value in theirs.items():
                expected = pytest.approx(value, rel=1e-6) if isinstance(value, float) else value
                assert ours[column] == expected, column


def test_the_order_of_bands_does_not_matter(
    made: SimpleNamespace, job: AbsorptionFeaturesJob, tmp_path: Path
) -> None:
    whole = records(find_features(job, quiet()), "FEATURES")
    order = np.random.default_rng(1).permutation(len(AT))
    bands = tuple(BANDS[i] for i in order)
    scene = write(tmp_path / "s.tif", made.spectra[order].astype(np.float32), bands)
    values = write(tmp_path / "a.tif", made.values[order].astype(np.float32), bands, tags=LINEAGE)
    mixed = records(find_features(replace(job, scene=scene, attribution=values), quiet()), "FEATURES")
    assert [row["feature"] for row in mixed] == [row["feature"] for row in whole]
    for ours, theirs in zip(mixed, whole, strict=True):
        assert ours["wavelength_nm"] == pytest.approx(theirs["wavelength_nm"], abs=1e-3)
        assert ours["share"] == pytest.approx(theirs["share"], rel=1e-4)
        assert ours["verdict"] == theirs["verdict"]


def test_a_part_of_the_scene_and_a_table_of_ones_own(
    made: SimpleNamespace, job: AbsorptionFeaturesJob, tmp_path: Path
) -> None:
    part = np.s_[:, 4:14, 3:20]
    values = write(tmp_path / "part.tif", made.values[part].astype(np.float32), origin=(3, 4), tags=LINEAGE)
    table = tmp_path / "own.csv"
    table.write_text(
        "name,kind,centre_nm,window_nm,left_continuum_nm,right_continuum_nm,source\n"
        "Mine,mineral,667-673,660-680,,,me\n"
    )
    changed = replace(job, attribution=values, features_table=str(table))
    result = find_features(changed, quiet())
    assert result["numbers"]["PIXELS"] == 10 * 17
    row = records(result, "FEATURES")[0]
    assert (row["feature"], row["source"], row["local_depth"]) == ("Mine", "me", None)
    inside = made.numbers[4:14, 3:20] == 1
    size = np.abs(made.values[part][:, inside]).mean(1)
    assert row["share"] == pytest.approx(size[np.abs(AT - 670) < 16.6].sum() / size.sum(), rel=1e-5)


def test_outputs_are_a_plot_and_the_dominant_feature(
    made: SimpleNamespace, job: AbsorptionFeaturesJob, tmp_path: Path
) -> None:
    plot, dominant = str(tmp_path / "plot.png"), str(tmp_path / "dominant.tif")
    result = find_features(replace(job, plot=plot, dominant=dominant), quiet())
    with rasterio.open(dominant) as dataset:
        numbers = dataset.read(1)
        assert dataset.colormap(1)[1][:3] != (0, 0, 0) and dataset.nodata == 0
        assert dataset.transform == open_scene(made.scene).grid.transform
    names = ["Chlorophyll red", "Leaf water 975", "Leaf water 1180"]
    assert list(result["record"]["dominant_pixels"]) == names
    masks = [np.abs(AT - centre) < half for centre, half in ((670, 16.6), (970, 20.8), (1180, 24.9))]
    held = np.array([np.abs(made.values[mask]).sum(0) for mask in masks])
    assert (numbers == held.argmax(0) + 1).mean() > 0.99
    assert (numbers[made.numbers == 1] == 1).all()
    assert "Leaf water 1180" in Path(dominant).with_suffix(".qml").read_text()
    assert Path(plot).read_bytes()[:4] == b"\x89PNG"
    record = json.loads(Path(plot).with_suffix(".json").read_text())
    assert record["pixels_per_class"] == {"first": 287, "second": 288} and record["seed"] == 0


def test_a_class_raster_on_another_grid_is_laid_on_the_scene(
    made: SimpleNamespace, job: AbsorptionFeaturesJob, tmp_path: Path
) -> None:
    fine = write(
        tmp_path / "fine.tif", np.kron(made.numbers, np.ones((2, 2), np.uint8))[None], None, dtype="uint8",
        nodata=0,
    )  # fmt: skip
    with rasterio.open(fine, "r+") as dataset:
        dataset.transform = open_scene(made.scene).grid.transform * Affine.scale(0.5)
    result = find_features(replace(job, class_raster=fine), quiet())
    assert any("another grid" in text for text in result["warnings"])
    assert [row["pixels"] for row in records(result, "OVERLAP")] == [287, 288]


def test_classes_without_pixels_are_named(made: SimpleNamespace, job: AbsorptionFeaturesJob) -> None:
    with rasterio.open(made.attribution, "r+") as dataset:
        values = dataset.read()
        values[:, made.numbers == 2] = np.nan
        dataset.write(values)
    result = find_features(job, quiet())
    assert any(text.startswith("No pixel has the class second") for text in result["warnings"])
    assert {row["class"] for row in records(result, "OVERLAP")} == {"first"}


def test_attributions_in_the_atmosphere_are_warned_of(tmp_path: Path) -> None:
    at = np.arange(1200.0, 1700.0, 10.0)
    bands = tuple(Band(str(i), wavelength) for i, wavelength in enumerate(at))
    rng = np.random.default_rng(0)
    spectra = (0.4 + 0.001 * rng.random((len(at), 12, 12))).astype(np.float32)
    values = np.where((at >= 1350) & (at <= 1420), 1.0, 0.05)[:, None, None] * np.ones((1, 12, 12))
    classes = write(tmp_path / "c.tif", np.ones((1, 12, 12), np.uint8), None, dtype="uint8", nodata=0)
    result = find_features(
        AbsorptionFeaturesJob(
            scene=write(tmp_path / "s.tif", spectra, bands), class_raster=classes,
            attribution=write(tmp_path / "a.tif", values.astype(np.float32), bands), shifts=50,
        ),
        quiet(),
    )  # fmt: skip
    share = 8 / (8 + 42 * 0.05)
    assert result["numbers"]["ATMOSPHERE_SHARE"] == pytest.approx(share, rel=1e-6)
    assert any(text.startswith(f"{share:.0%} of the attributions of class 1") for text in result["warnings"])
    assert any("doesn't tell what its attributions start from" in text for text in result["warnings"])


# What is refused


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


# With a model, on the way


def middle(demo: SimpleNamespace, side: int = 20) -> list[float]:
    grid = open_scene(demo.raster).grid
    left, top = grid.transform * (16, 16)
    right, bottom = grid.transform * (16 + side, 16 + side)
    return [left, bottom, right, top]


@pytest.mark.parametrize("name", ["spectral_model", "hybrid_model"])
def test_on_the_way_is_as_from_the_raster(
    request: pytest.FixtureRequest, demo: SimpleNamespace, tmp_path: Path, name: str
) -> None:
    model, extent = request.getfixturevalue(name), middle(demo, 12)
    path, saliency = str(tmp_path / "a.tif"), None
    asked = AttributionJob(demo.raster, model, explainer="deeplift", extent=extent, attribution=path,
                           saliency=saliency)  # fmt: skip
    share = explain(asked, quiet())["record"]["absorption_share"]
    job = AbsorptionFeaturesJob(
        scene=demo.raster, model=model, explainer="deeplift", extent=extent, shifts=200,
        dominant=str(tmp_path / "d.tif"),
    )  # fmt: skip
    ours = find_features(job, quiet())
    theirs = find_features(replace(job, attribution=path, dominant=str(tmp_path / "e.tif")), quiet())
    assert ours["record"]["baseline"] == "continuum"
    for mine, its in zip(records(ours, "FEATURES"), records(theirs, "FEATURES"), strict=True):
        assert (mine["feature"], mine["bands"]) == (its["feature"], its["bands"])
        assert mine["share"] == pytest.approx(its["share"], rel=1e-4)
    for row in records(ours, "OVERLAP"):
        assert row["absorption_share"] == pytest.approx(share[row["class"]], rel=1e-4)
    with rasterio.open(tmp_path / "d.tif") as one, rasterio.open(tmp_path / "e.tif") as other:
        np.testing.assert_array_equal(one.read(1), other.read(1))


def test_labels_choose_the_pixels_that_are_explained(
    demo: SimpleNamespace, spectral_model: str, tmp_path: Path
) -> None:
    job = AbsorptionFeaturesJob(
        scene=demo.raster, model=spectral_model, class_raster=demo.label_raster, explainer="deeplift",
        extent=middle(demo), shifts=200,
    )  # fmt: skip
    result = find_features(job, quiet())
    with rasterio.open(demo.label_raster) as dataset:
        numbers = dataset.read(1, window=Window(16, 16, 20, 20))
    counts = {row["class"]: row["pixels"] for row in records(result, "OVERLAP")}
    assert sorted(counts.values()) == sorted(np.unique(numbers[numbers > 0], return_counts=True)[1].tolist())
    table = load_table()
    planted = {name: match(centre, table).name for name, centre in (("clay", 2200), ("plastic", 1725))}
    for name, feature in planted.items():
        if name in counts:
            rows = [row for row in records(result, "FEATURES") if row["class"] == name]
            assert feature in {row["feature"] for row in rows}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"explainer": "saliency"}, "explainer 'saliency' can't be used here; choose one of integrated"),
        ({"baseline": "black"}, "There is no baseline 'black'"),
        ({"extent": [0.0, 0.0, 1.0, 1.0]}, "lies outside the raster"),
    ],
)
def test_what_can_not_be_explained_is_told(
    demo: SimpleNamespace, spectral_model: str, change: dict, sentence: str
) -> None:
    job = AbsorptionFeaturesJob(scene=demo.raster, model=spectral_model)
    with pytest.raises(InputError, match=sentence):
        find_features(replace(job, **change), quiet())


def test_a_segmentation_network_is_sent_to_attribution(street: str, unet: str) -> None:
    with pytest.raises(InputError, match="give its maps, ATTRIBUTION"):
        find_features(AbsorptionFeaturesJob(scene=street, model=unet), quiet())
