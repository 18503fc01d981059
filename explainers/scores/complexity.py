"""How much there is to see in a map: the size of its picture, its entropy, and how few pixels hold it.

The picture: values summed over the bands (of a single pixel: its bands in a row); of a method that can be
negative, scaled symmetrically, so that 0 is mid-gray, by the 98th percentile of the absolute values; of
another, from 0 to that percentile (by the largest value where the percentile is 0); clipped, rounded to 8
bits. Its file: PNG of the map's own size, gray, zlib level 9, no metadata. For comparison with figures:
colours, enlarged to 400 x 400 without smoothing.
"XAI entropy" as file size: Samek et al. 2020, arXiv:2003.07631; sizes hold for one encoder only.
"""

from __future__ import annotations

import io
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image, features
from PIL import __version__ as pillow_version
from torch import Tensor

_PERCENTILE = 98
_FIGURE_SIDE = 400


class Complexity(NamedTuple):
    """Complexity of one map: kilobytes of 1024, ratio to the shuffled picture, bits per pixel, Gini index."""

    gray_kb: float
    figure_kb: float
    shuffled_ratio: float
    entropy: float
    gini: float


def complexity(values: Tensor, signed: bool, seed: int = 0) -> Complexity:
    """Return the complexity of a map (band, y, x) of a method that can be negative or not; by a seed."""
    single = values.shape[1:] == (1, 1)
    summed = (values[:, :, 0].T if single else values.sum(0)).double().cpu().numpy()
    picture = gray_picture(summed, signed)
    size = png_bytes(picture)
    shuffled = np.random.default_rng(seed).permutation(picture.ravel()).reshape(picture.shape)
    return Complexity(
        gray_kb=size / 1024,
        figure_kb=png_bytes(figure_picture(summed, signed)) / 1024,
        shuffled_ratio=size / png_bytes(shuffled),
        entropy=histogram_entropy(picture),
        gini=gini(values),
    )


def gray_picture(values: np.ndarray, signed: bool) -> np.ndarray:
    """Return values (y, x) as uint8; see the module's text."""
    scaled = scaled_to_picture(values)
    return np.round(255 * ((scaled + 1) / 2 if signed else scaled)).astype(np.uint8)


def figure_picture(values: np.ndarray, signed: bool) -> np.ndarray:
    """Return values (y, x) in colours, uint8 (400, 400, 3): blue over white to red, or black to yellow."""
    gray = Image.fromarray(gray_picture(values, signed)).resize((_FIGURE_SIDE,) * 2, Image.Resampling.NEAREST)
    return _colours("RdBu_r" if signed else "inferno")[np.asarray(gray)]


def scaled_to_picture(values: np.ndarray) -> np.ndarray:
    """Return values (y, x) scaled and clipped to -1..1, or to 0..1 where none is negative."""
    size = np.abs(values)
    limit = np.percentile(size, _PERCENTILE) or size.max()
    return np.clip(values / limit, -1, 1) if limit else np.zeros_like(values)


def png_bytes(picture: np.ndarray) -> int:
    """Return the bytes of a uint8 picture (y, x) or (y, x, 3) as PNG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=9)
    return file.tell()


def encoder() -> str:
    """Return which PNG encoder the sizes are of."""
    return f"Pillow {pillow_version}, zlib {features.version('zlib')}"


def histogram_entropy(picture: np.ndarray) -> float:
    """Return Shannon's entropy of the 256 gray levels in bits per pixel; arrangement plays no part."""
    share = np.bincount(picture.ravel(), minlength=256) / picture.size
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum()) + 0.0


def gini(values: Tensor) -> float:
    """Return the Gini index of the absolute values: 0 all alike, near 1 few hold all; NaN for a zero map.

    As a measure of sparsity: Hurley & Rickard 2009, arXiv:0811.4706.
    """
    ordered = values.abs().double().flatten().sort().values.cpu().numpy()
    total, count = ordered.sum(), len(ordered)
    if total == 0:
        return float("nan")
    return float(1 - 2 * (ordered / total * (count - np.arange(1, count + 1) + 0.5)).sum() / count)


@cache
def _colours(name: str) -> np.ndarray:
    """Return 256 colours, uint8 (256, 3)."""
    from matplotlib import colormaps

    return np.round(255 * colormaps[name](np.arange(256))[:, :3]).astype(np.uint8)
