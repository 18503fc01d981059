"""The explainers find the bands that were planted, and only where the network has learnt them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rasterio.windows import Window

from explanation_layers.benchmarks.planted_evidence import Site, randomised
from explanation_layers.engine.jobs import AbsorptionFeaturesJob, AttributionJob
from explanation_layers.explainers.feature_scores import peaks, set_scores
from explanation_layers.rasters.absorption import absorptions
from explanation_layers.rasters.absorption_table import load_table, match
from explanation_layers.rasters.continuum import ranges_of, upper_hull
from explanation_layers.rasters.scene import open_scene
from explanation_layers.workflows.absorption_features import find_features
from explanation_layers.workflows.attribution import explain
from explanation_layers.workflows.context import Context

INITIALISATIONS = 8


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site.simulated(tmp_path_factory.mktemp("planted"), 64, 0)


@pytest.fixture(scope="module")
def model(site: Site, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A `spectral_cnn` trained with the default settings."""
    return site.trained(tmp_path_factory.mktemp("trained") / "model.safetensors", "spectral_cnn")


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("integrated_gradients", 0.95),
        ("integrated_gradients, baseline continuum", 0.99),
        ("deeplift", 0.95),
        ("input_x_gradient", 0.9),
        ("saliency", 0.9),
        ("band_ablation", 0.9),
    ],
)
def test_planted_bands_stand_out_in_every_class(site: Site, model: str, name: str, least: float) -> None:
    areas = site.areas(model, name, 32)
    assert set(areas) == {entry["name"] for entry in site.truth["classes"]}
    assert min(areas.values()) >= least


def test_against_the_continuum_the_decoy_is_below_every_feature(site: Site, model: str) -> None:
    strengths = site.strengths(model, "integrated_gradients, baseline continuum", 32)
    at = np.array(site.truth["wavelengths_nm"])
    for entry in site.truth["classes"]:
        mean = np.array([strengths[entry["name"]][band] for band in range(len(at))])
        for feature in entry["features"]:
            own = np.abs(at - feature["centre_nm"]) <= feature["fwhm_nm"] / 2
            assert mean[own].mean() > 5 * mean[site.truth["decoy"]["bands"]].mean()


def test_features_that_attributions_pick_out_are_the_planted_ones(site: Site, model: str) -> None:
    """In at least nine of ten classes the highest peak is at a planted feature, beyond chance."""
    at = site.truth["wavelengths_nm"]
    strengths = site.strengths(model, "integrated_gradients, baseline continuum", 32)
    ranges, table, right = ranges_of(at), load_table(), 0
    for entry in site.truth["classes"]:
        profile = np.array([strengths[entry["name"]][band] for band in range(len(at))])
        highest = peaks(profile, at, ranges)[0]
        planted = {match(feature["centre_nm"], table).name for feature in entry["features"]}
        names = {feature.name for feature in match(highest.wavelength_nm, table).candidates}
        (score,) = set_scores(profile, np.isin(range(len(at)), entry["bands"])[None], ranges)
        right += bool(planted & names) and score.p <= 0.05
    assert right >= 0.9 * len(site.truth["classes"])


def test_random_weights_overlap_with_absorptions_by_the_baseline_alone(
    site: Site, model: str, tmp_path: Path
) -> None:
    """Against the continuum they seem to follow absorptions; what the pixels differ by there explains it."""
    at, side = site.truth["wavelengths_nm"], 24
    ranges, scene = ranges_of(at), open_scene(site.scene)
    corner = (scene.grid.width - side) // 2
    spectra = scene.read(Window(corner, corner, side, side)).reshape(len(at), -1).T
    depth = (upper_hull(spectra, at, ranges) - spectra).mean(0)
    absorbed = np.zeros(len(at), bool)
    for found in absorptions(spectra.mean(0), at, ranges, noise=0):
        absorbed |= (np.array(at) >= found.half_nm[0]) & (np.array(at) <= found.half_nm[1])
    assert absorbed.any()
    naive, fair = [], []
    for seed in range(INITIALISATIONS):
        fresh = randomised(model, tmp_path / "random.safetensors", seed)
        path = str(tmp_path / "attribution.tif")
        job = AttributionJob(
            site.scene, fresh, explainer="deeplift", baseline="continuum", extent=site.middle(side),
            attribution=path,
        )  # fmt: skip
        explain(job, Context("random", lambda message: None))
        profile = np.abs(open_scene(path).read(Window(0, 0, side, side))).mean((1, 2))
        naive.append(set_scores(profile, absorbed[None], ranges)[0].p)
        fair.append(set_scores(profile, absorbed[None], ranges, depth)[0].p)
    assert np.median(naive) <= 0.05 < np.median(fair)
    assert np.mean(np.array(fair) <= 0.05) <= 0.25


def test_with_random_weights_nothing_stands_out(site: Site, model: str, tmp_path: Path) -> None:
    found = []
    for seed in range(INITIALISATIONS):
        fresh = randomised(model, tmp_path / "random.safetensors", seed)
        found.append(np.mean(list(site.areas(fresh, "integrated_gradients", 10).values())))
    assert 0.35 <= np.mean(found) <= 0.65


def features(site: Site, model: str, side: int, **options: object) -> tuple[dict, list[dict], list[dict]]:
    """What `absorptionfeatures` finds in the middle of the scene: result, features and overlaps."""
    job = AbsorptionFeaturesJob(
        scene=site.scene, model=model, explainer="deeplift", extent=site.middle(side), **options
    )  # fmt: skip
    result = find_features(job, Context("features", lambda message: None))
    tables = []
    for table in result["tables"].values():
        names = [column["name"] for column in table["columns"]]
        tables.append([dict(zip(names, row, strict=True)) for row in table["rows"]])
    return result, *tables


@pytest.mark.parametrize("baseline", ["continuum", "mean"])
def test_features_that_are_used_are_the_planted_ones(site: Site, model: str, baseline: str) -> None:
    """In at least nine of ten classes, and the decoy that all share is present and not used."""
    _, rows, overlaps = features(site, model, 48, baseline=baseline)
    table, right = load_table(), 0
    for entry in site.truth["classes"]:
        own = [row for row in rows if row["class"] == entry["name"]]
        planted = {match(feature["centre_nm"], table).name for feature in entry["features"]}
        used = {row["feature"] for row in own if row["verdict"] == "used and present"}
        right += used == planted
        (decoy,) = [
            row for row in own if abs(row["wavelength_nm"] - 1455) < 15 and row["kind"] == "absorption"
        ]
        assert decoy["verdict"] == "present, not used"
        shares = [row["share"] for row in own if row["feature"] in planted and row["kind"] == "absorption"]
        assert decoy["share"] < 0.2 * min(shares)
    assert right >= 0.9 * len(site.truth["classes"])
    assert all(row["p"] <= 0.05 and row["share"] > 2 * row["expected_share"] for row in overlaps)
    assert [row["spurious"] for row in overlaps] == [0] * len(overlaps)


def test_with_random_weights_no_feature_counts_as_used(site: Site, model: str, tmp_path: Path) -> None:
    p, used, shares = [], 0, []
    for seed in range(INITIALISATIONS):
        fresh = randomised(model, tmp_path / "random.safetensors", seed)
        result, _, overlaps = features(site, fresh, 24, shifts=300, seed=seed)
        p += [row["p"] for row in overlaps]
        used += result["numbers"]["USED_FEATURES"]
        shares += [row["share"] / row["expected_share"] for row in overlaps]
    print(
        f"random weights: {used} used, p {np.round(sorted(p), 3)}, share over expected {np.mean(shares):.2f}"
    )
    assert np.median(p) > 0.05 and np.mean(np.array(p) <= 0.05) <= 0.2
    assert used <= 0.2 * len(p) and 0.7 < np.mean(shares) < 1.3
