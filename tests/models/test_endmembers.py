"""Endmembers found in scenes whose vertices, counts and purity are known."""

from __future__ import annotations

import numpy as np
import pytest

from explanation_layers.models.endmembers import (
    MIXED,
    angle_bundles,
    bundle_purity,
    bundles,
    estimate_count,
    noise_of,
    vca,
)

BANDS = 60


def spectra(materials: int, seed: int = 0) -> np.ndarray:
    """Smooth reflectances (material, band)."""
    generator = np.random.default_rng(seed)
    waves = np.linspace(0, 1, BANDS)
    shapes = [np.sin(2 * np.pi * (k + 1) / 2 * waves + generator.uniform(0, 6)) for k in range(materials)]
    return 0.35 + 0.2 * np.array(shapes)


def scene(
    materials: int, pure: int = 60, noise: float = 0.005, seed: int = 0, highest: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (n, band), abundances, endmembers; the first pixels are `pure` ones of each material."""
    generator = np.random.default_rng(seed)
    mixed = generator.dirichlet(np.ones(materials), 1500)
    shares = np.vstack([np.repeat(np.eye(materials), pure, 0), mixed[mixed.max(1) < 0.98 * highest]])
    endmembers = spectra(materials, seed)
    pixels = shares @ endmembers
    return pixels + noise * generator.standard_normal(pixels.shape), shares, endmembers


@pytest.mark.parametrize("materials", [2, 3, 5])
def test_the_vertices_of_a_scene_with_pure_pixels_are_found(materials: int) -> None:
    pixels, shares, _ = scene(materials, pure=1, noise=0)
    rows = vca(pixels, materials, seed=3)
    assert sorted(rows) == list(range(materials))
    assert (shares[rows].max(1) == 1).all()


def test_the_same_seed_finds_the_same() -> None:
    pixels, _, _ = scene(4)
    np.testing.assert_array_equal(vca(pixels, 4, 7), vca(pixels, 4, 7))
    assert len(set(vca(pixels.astype(np.float32), 4, 7))) == 4


def test_more_endmembers_than_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="5 endmembers of 3 pixels"):
        vca(np.random.default_rng(0).random((3, 9)), 5)


@pytest.mark.parametrize("materials", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("noise", [0.002, 0.01])
def test_the_count_of_materials_is_told(materials: int, noise: float) -> None:
    assert estimate_count(scene(materials, noise=noise, seed=materials)[0]) == materials


def test_a_scene_of_one_colour_has_one_material() -> None:
    assert estimate_count(np.full((100, 8), 0.3)) == 1


def test_the_noise_is_told() -> None:
    assert noise_of(scene(3, noise=0.01)[0]) == pytest.approx(0.01, rel=0.1)


def test_bundles_are_of_pure_pixels_and_their_means_nearer_than_the_vertices() -> None:
    pixels, shares, endmembers = scene(3, noise=0.01)
    vertices = pixels[vca(pixels, 3)]
    order = ((vertices[:, None] - endmembers) ** 2).sum(2).argmin(1)
    found = bundles(pixels, vertices, 50)
    for material, rows in zip(order, found):
        assert 10 <= len(rows) <= 50
        assert shares[rows, material].mean() > 0.98
    means = np.stack([pixels[rows].mean(0) for rows in found])
    errors, before = (each - endmembers[order] for each in (means, vertices))
    assert np.linalg.norm(errors) < 0.4 * np.linalg.norm(before)


def test_a_bundle_holds_brightness_but_not_another_shape() -> None:
    pixels, shares, endmembers = scene(3, noise=0.004)
    generator = np.random.default_rng(1)
    pure = shares[:, 0] == 1
    pixels[pure] *= generator.uniform(0.8, 1.0, (pure.sum(), 1))
    rows = bundles(pixels, endmembers, 50)[0]
    assert pure[rows].all() and len(rows) == 50
    assert pixels[rows].mean() / endmembers[0].mean() == pytest.approx(0.9, abs=0.03)


def test_where_spectra_vary_beyond_noise_the_vertex_stands_alone() -> None:
    pixels, _, _ = scene(3, noise=0.0005)
    pixels[:, ::2] += 0.03 * np.random.default_rng(0).standard_normal((len(pixels), 1))
    pixels[0] = 0
    assert len(bundles(pixels, pixels[:1], 50)[0]) == 1


def test_bundles_by_angle_do_not_mind_brightness() -> None:
    pixels, shares, endmembers = scene(3, noise=0.002)
    bright = np.random.default_rng(0).uniform(0.5, 1.0, (len(pixels), 1))
    for material, rows in enumerate(angle_bundles(bright * pixels, endmembers, 30)):
        assert len(rows) == 30 and (shares[rows].argmax(1) == material).all()


def truncated(seed: int) -> np.ndarray:
    """A scene in which no material has more than 0.8 of a pixel: corners are cut off."""
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet(np.full(3, 0.7), 4000)
    pixels = shares[shares.max(1) < 0.8] @ spectra(3, seed)
    return pixels + 0.005 * generator.standard_normal(pixels.shape)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bundles_that_are_not_pure_are_told(seed: int) -> None:
    for pixels, mixed in ((truncated(seed), True), (scene(3, seed=seed)[0], False)):
        rows = bundles(pixels, pixels[vca(pixels, 3)])
        purity = bundle_purity(pixels, rows)
        assert (sum(pure.beyond for pure in purity) > MIXED) == mixed
        assert all(pure.apart > 10 for pure in purity)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_an_endmember_too_many_does_not_stand_apart(seed: int) -> None:
    pixels, _, _ = scene(3, seed=seed)
    purity = bundle_purity(pixels, bundles(pixels, pixels[vca(pixels, 4)]))
    assert min(pure.apart for pure in purity) < 10
    purity = bundle_purity(pixels, bundles(pixels, pixels[vca(pixels, 3)]))
    assert min(pure.apart for pure in purity) > 30
