"""Plants what a review is to find: wrong labels of whole small fields and of single pixels, and mixtures."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.features import rasterize
from scipy import ndimage

FIELD, SINGLE, MIXTURE = 1, 2, 3


@dataclass(frozen=True)
class Planted:
    """A scene with mixtures, a reference with wrong labels, and what was planted where (y, x)."""

    scene: str
    labels: str
    kind: np.ndarray
    clean: np.ndarray


def plant(
    scene: str, classes: str, folder: Path, seed: int, fields: int, singles: int, mixtures: int, noise=0.0
) -> Planted:
    """Write copies of a scene and its class raster with errors planted.

    Fields of 20 to 150 pixels and single pixels inside of fields get another label; mixtures are of 40 to
    70 % of a pixel of another class. `noise`: standard deviation of a factor on each value.
    """
    rng = np.random.default_rng(seed)
    with rasterio.open(classes) as file:
        clean, class_profile = file.read(1), file.profile
    with rasterio.open(scene) as file:
        values, profile = file.read(), file.profile
        tags = [file.tags(band) for band in file.indexes]
    count, labels, kind = int(clean.max()), clean.copy(), np.zeros(clean.shape, dtype=int)

    def other(than: int) -> int:
        return rng.choice([number for number in range(1, count + 1) if number != than])

    if noise:
        values = (values * (1 + noise * rng.standard_normal(values.shape))).astype(values.dtype)
    small, inside = [], np.zeros(clean.shape, dtype=bool)
    for number in range(1, count + 1):
        parts, found = ndimage.label(clean == number)
        sizes = np.bincount(parts.ravel(), minlength=found + 1)
        small += [(number, parts == part) for part in range(1, found + 1) if 20 <= sizes[part] <= 150]
        inside |= ndimage.binary_erosion(clean == number, np.ones((3, 3)))
    for index in rng.permutation(len(small))[:fields]:
        number, field = small[index]
        labels[field], kind[field] = other(number), FIELD
    free = rng.permutation(np.argwhere(inside & (kind == 0)))
    for row, col in free[:singles]:
        labels[row, col], kind[row, col] = other(clean[row, col]), SINGLE
    for row, col in free[singles : singles + mixtures]:
        places = np.argwhere(clean == other(clean[row, col]))
        partner, share = places[rng.integers(len(places))], rng.uniform(0.4, 0.7)
        mixed = (1 - share) * values[:, row, col] + share * values[:, partner[0], partner[1]]
        values[:, row, col], kind[row, col] = mixed.astype(values.dtype), MIXTURE
    paths = str(folder / "scene.tif"), str(folder / "labels.tif")
    with rasterio.open(paths[0], "w", **profile) as file:
        file.write(values)
        for band, items in zip(file.indexes, tags):
            file.update_tags(band, **items)
    with rasterio.open(paths[1], "w", **class_profile) as file:
        file.write(labels, 1)
    shutil.copy(classes + ".aux.xml", paths[1] + ".aux.xml")
    return Planted(*paths, kind, clean)


def rows_of(table: dict) -> list[dict]:
    """Return the rows of a table by column."""
    names = [column["name"] for column in table["columns"]]
    return [dict(zip(names, row)) for row in table["rows"]]


def burnt(table: dict, raster: str) -> np.ndarray:
    """Return the suspicion at each pixel of a raster's grid, "" where there is no error."""
    with rasterio.open(raster) as file:
        shape, transform = file.shape, file.transform
    found = np.full(shape, "", dtype=object)
    for row, outline in zip(rows_of(table), table["geometries"]):
        covered = rasterize([geometry(outline)], out_shape=shape, transform=transform).astype(bool)
        assert covered.sum() == row["pixels"]
        assert not found[covered].any()
        found[covered] = row["suspicion"]
    return found


def geometry(outline: str) -> dict:
    """Return the GeoJSON geometry of a MULTIPOLYGON in WKT."""
    polygons = [
        [[tuple(map(float, place.split())) for place in ring.split(",")]
         for ring in re.findall(r"\(([^()]+)\)", polygon)]
        for polygon in re.findall(r"\(((?:\([^()]+\),?)+)\)", outline)
    ]  # fmt: skip
    return {"type": "MultiPolygon", "coordinates": polygons}


def scores(found: np.ndarray, kind: np.ndarray) -> dict[str, float]:
    """Return recall and precision by pixels: of planted label errors, and of mixtures that are errors."""
    flipped = (kind == FIELD) | (kind == SINGLE)
    said, mixed = found == "label error", found == "mixed pixel"
    wrong_mixtures = (kind == MIXTURE) & (found != "")
    return {
        "label_recall": float((said & flipped).sum() / flipped.sum()),
        "field_recall": float((said & (kind == FIELD)).sum() / (kind == FIELD).sum()),
        "single_recall": float((said & (kind == SINGLE)).sum() / (kind == SINGLE).sum()),
        "label_precision": float((said & flipped).sum() / max(said.sum(), 1)),
        "mixture_errors": int(wrong_mixtures.sum()),
        "mixture_recall": float((mixed & wrong_mixtures).sum() / max(wrong_mixtures.sum(), 1)),
        "mixture_precision": float((mixed & wrong_mixtures).sum() / max(mixed.sum(), 1)),
    }
