"""Complexity: pictures of maps, the sizes of their files, entropy and the Gini index of known maps."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from explanation_layers.explainers.scores.complexity import (
    complexity,
    encoder,
    figure_picture,
    gini,
    gray_picture,
    histogram_entropy,
    png_bytes,
)


def test_pictures_of_signed_and_unsigned_maps() -> None:
    signed = np.linspace(-1, 1, 101)[None]
    assert gray_picture(signed, True)[0, 50] == 128 and gray_picture(signed, True).min() == 0
    assert gray_picture(signed, True).max() == 255
    unsigned = np.linspace(0, 1, 101)[None]
    assert gray_picture(unsigned, False)[0, 0] == 0
    # The 98th percentile is white already.
    assert (gray_picture(unsigned, False)[0] == 255).sum() == 3
    sparse = np.zeros((10, 10))
    sparse[4, 4] = 1e-9
    assert gray_picture(sparse, False).max() == 255 and gray_picture(0 * sparse, False).max() == 0


def test_the_file_is_a_gray_png_of_the_maps_own_size_without_metadata() -> None:
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=9)
    data = file.getvalue()
    assert png_bytes(picture) == len(data)
    assert [data[i + 4 : i + 8] for i in (8, 33)] == [b"IHDR", b"IDAT"] and data[-8:-4] == b"IEND"
    assert data[24:26] == bytes([8, 0])  # bit depth, gray


def test_sizes_of_known_pictures() -> None:
    # Signature 8, IHDR 25, IDAT 12, IEND 12 bytes; what noise does not compress is stored.
    flat = png_bytes(np.zeros((100, 100), np.uint8))
    noise = png_bytes(np.random.default_rng(0).integers(0, 256, (100, 100)).astype(np.uint8))
    assert 57 < flat < 120
    assert 10_000 < noise < 10_000 + 57 + 250
    assert encoder().startswith("Pillow ")


def test_complexity_of_a_smooth_map_and_of_noise() -> None:
    ramp = torch.linspace(0, 1, 2500).reshape(1, 50, 50)
    noise = torch.rand(1, 50, 50, generator=torch.Generator().manual_seed(0))
    smooth, rough = complexity(ramp, True), complexity(noise, True)
    assert smooth.gray_kb < 0.5 * rough.gray_kb and smooth.figure_kb < rough.figure_kb
    assert smooth.shuffled_ratio < 0.5 and rough.shuffled_ratio == pytest.approx(1, abs=0.05)
    assert smooth.entropy == pytest.approx(rough.entropy, abs=0.2)
    assert complexity(ramp, True) == complexity(ramp, True)
    assert figure_picture(noise[0].numpy(), True).shape == (400, 400, 3)


def test_a_single_pixel_is_pictured_by_its_bands() -> None:
    spectrum = torch.rand(200, 1, 1, generator=torch.Generator().manual_seed(0))
    assert complexity(spectrum, True) == complexity(spectrum[:, 0, 0][None, None], True)
    assert complexity(spectrum, True).entropy > 5


def test_entropy_and_gini_of_known_maps() -> None:
    assert histogram_entropy(np.zeros((4, 4), np.uint8)) == 0
    assert histogram_entropy(np.arange(256, dtype=np.uint8)) == pytest.approx(8)
    one_hot = torch.zeros(1, 10, 10)
    one_hot[0, 3, 3] = -2.0
    assert gini(one_hot) == pytest.approx(1 - 1 / 100)
    assert gini(torch.full((1, 10, 10), -0.3)) == pytest.approx(0)
    assert np.isnan(gini(torch.zeros(1, 10, 10)))
