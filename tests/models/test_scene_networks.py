"""Scene networks: what is done to the values before, the filters, and that files keep all of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from explanation_layers.models.card import (
    PIXEL_CLASSIFICATION,
    SCENE_CLASSIFICATION,
    Card,
    CardBand,
    card_classes,
    polarisation,
)
from explanation_layers.models.files import Spectra, load_model, save_model
from explanation_layers.models.scene_networks import STAGES, SceneNetwork, build_scene_network
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.wavelengths import Band


def network_for(values: str = "as_is", speckle_filter: str = "none", looks: float = 4.0) -> SceneNetwork:
    torch.manual_seed(1)
    network = build_scene_network(
        "resnet18", bands=2, classes=3, patch_size=32, values=values, speckle_filter=speckle_filter,
        looks=looks,
    )  # fmt: skip
    network.low.copy_(torch.tensor([-25.0, -32.0]))
    network.high.copy_(torch.tensor([5.0, 0.0]))
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize("values", ["power", "amplitude", "db"])
def test_all_ways_to_decibels_meet(values: str) -> None:
    power = torch.rand(2, 2, 5, 5) * 2 + 1e-4
    stored = {"power": power, "amplitude": power.sqrt(), "db": 10 * power.log10()}[values]
    network = network_for(values)
    expected = (10 * power.log10() - network.low[:, None, None]) / (network.high - network.low)[:, None, None]
    assert torch.allclose(network.prepare(stored), expected.clamp(0, 1), atol=1e-5)


def test_no_power_is_the_floor_and_nothing_infinite() -> None:
    for values in ("power", "amplitude"):
        prepared = network_for(values).prepare(torch.tensor([0.0, -1.0]).reshape(1, 2, 1, 1))
        assert prepared.tolist() == [[[[0.0]], [[0.0]]]]


def test_what_has_no_data_stays_so_until_it_is_filled() -> None:
    prepared = network_for("power").prepare(torch.full((1, 2, 2, 2), float("nan")))
    assert prepared.isnan().all()


@pytest.mark.parametrize("speckle_filter", ["boxcar", "lee"])
def test_filters_smooth_speckle_and_keep_the_level(speckle_filter: str) -> None:
    generator = np.random.default_rng(1)
    power = 0.1 * generator.gamma(4.0, 1 / 4.0, (1, 2, 64, 64))
    network = network_for("power", speckle_filter)
    before = network.prepare(torch.from_numpy(power).float())
    after = network._filtered(before)
    assert (after.std((0, 2, 3)) < 0.4 * before.std((0, 2, 3))).all()
    assert abs(float(after.mean() - before.mean())) < 0.005


def test_the_lee_filter_keeps_what_is_far_brighter_than_speckle() -> None:
    image = torch.full((1, 2, 21, 21), -15.0)
    image[..., 10:, :] = 0.0
    network = network_for("db", "lee", looks=100.0)
    before = network.prepare(image)
    kept = (network._filtered(before) - before).abs()[..., 2:-2, 2:-2].max()
    assert kept < 0.02
    blurred = (network_for("db", "boxcar")._filtered(before) - before).abs().max()
    assert blurred > 0.15


def test_a_filter_is_part_of_what_is_explained() -> None:
    x = torch.rand(2, 2, 32, 32)
    plain, filtered = network_for("db"), network_for("db", "boxcar")
    assert not torch.allclose(plain.logits(x), filtered.logits(x))
    assert torch.equal(plain.prepare(x), filtered.prepare(x))
    explainable = filtered.explainable()
    assert torch.allclose(explainable.logits(x), filtered.logits(x), atol=1e-5)


@pytest.mark.parametrize("bands", [1, 2])
def test_maps_of_what_is_explained_have_their_channels_last(bands: int) -> None:
    network = build_scene_network("resnet18", bands=bands, classes=3, patch_size=32).eval().explainable()
    strides = []
    network.trunk.conv1.register_forward_hook(lambda *run: strides.append(run[2].stride()))
    network.logits(torch.rand(2, bands, 32, 32))
    assert strides == [(64 * 16 * 16, 1, 64 * 16, 64)]


def test_a_constant_chip_gives_numbers() -> None:
    for speckle_filter in ("none", "boxcar", "lee"):
        network = network_for("db", speckle_filter).explainable()
        assert network(torch.full((1, 2, 32, 32), -10.0)).isfinite().all()


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
def test_sides_of_maps_are_those_of_the_maps(architecture: str) -> None:
    network = build_scene_network(architecture, bands=1, classes=2, patch_size=16).eval()
    found: dict[str, tuple[int, ...]] = {}
    for stage in STAGES:
        getattr(network.trunk, stage).register_forward_hook(
            lambda module, _, maps, stage=stage: found.update({stage: tuple(maps.shape[2:])})
        )
    for side in (16, 17, 31, 32, 33, 63, 64, 65, 100):
        network.patch_size = side
        with torch.no_grad():
            network.logits(torch.rand(1, 1, side, side))
        assert found == {stage: (network.map_side(stage),) * 2 for stage in STAGES}


@pytest.fixture
def saved(tmp_path: Path) -> tuple[str, SceneNetwork]:
    network = network_for("amplitude", "lee", looks=3.0)
    card = Card(
        SCENE_CLASSIFICATION, "resnet18",
        {"bands": 2, "classes": 3, "patch_size": 32, "values": "amplitude", "speckle_filter": "lee",
         "looks": 3.0},
        (CardBand("VV", None, None, True), CardBand("VH", None, None, True)), card_classes(["a", "b", "c"]),
    )  # fmt: skip
    path = str(tmp_path / "model.safetensors")
    save_model(path, network, Spectra(torch.rand(2), torch.rand(3, 2), torch.empty(0, 2)), card)
    return path, network


def test_a_file_keeps_weights_limits_and_preparation(saved: tuple[str, SceneNetwork]) -> None:
    path, network = saved
    model = load_model(path, SCENE_CLASSIFICATION)
    chips = torch.rand(2, 2, 32, 32)
    assert isinstance(model.network, SceneNetwork)
    assert torch.allclose(model.network(chips), network(chips), atol=1e-5)
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


def test_a_model_of_another_task_is_refused(saved: tuple[str, SceneNetwork]) -> None:
    with pytest.raises(InputError, match="made for scene classification, not for pixel classification"):
        load_model(saved[0], PIXEL_CLASSIFICATION)
    assert load_model(saved[0], PIXEL_CLASSIFICATION, SCENE_CLASSIFICATION).card.task == SCENE_CLASSIFICATION


@pytest.mark.parametrize(
    ("name", "expected"),
    [("VV", "VV"), ("Gamma0_VH_dB", "VH"), ("2017-06-12 vv", "VV"), ("S1 HH+HV", None), ("band 1", None),
     ("VVH", None)],
)  # fmt: skip
def test_polarisations_are_read_from_names(name: str, expected: str | None) -> None:
    assert polarisation(name) == expected


def test_polarisations_are_never_mixed(saved: tuple[str, SceneNetwork]) -> None:
    card = load_model(saved[0], SCENE_CLASSIFICATION).card
    card.check_bands([Band("sigma VV", None, None, True), Band("band 2", None, None, True)], "chips")
    with pytest.raises(InputError, match="Band 1 of chips is VH, the model's is VV"):
        card.check_bands([Band("VH", None, None, True), Band("VV", None, None, True)], "chips")
