"""Parcels: the pixels that belong together, so that they train together or test together."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .labels import LabelledPixels

_STRIPS = 4


def parcels_of(labels: LabelledPixels, width: int) -> np.ndarray:
    """Return int64 (n,): the parcel of each labelled pixel, numbered from 0 in the order of pixels.

    A polygon is a parcel. Pixels that points or rasters label make one where they share a class and a side
    or corner. `width` is the grid's. Memory grows with the labelled pixels.
    """
    keys = labels.rows * np.int64(width) + labels.cols
    polygons = np.full(keys.size, -1) if labels.parcels is None else labels.parcels
    first, second = [], []
    for rows, cols in ((0, 1), (1, -1), (1, 0), (1, 1)):
        inside = (labels.cols + cols >= 0) & (labels.cols + cols < width)
        near = keys + rows * width + cols
        found = np.minimum(np.searchsorted(keys, near), keys.size - 1)
        alike = (keys[found] == near) & inside & (labels.classes[found] == labels.classes)
        alike &= (polygons < 0) & (polygons[found] < 0)
        first.append(np.flatnonzero(alike))
        second.append(found[alike])
    places = np.concatenate(first), np.concatenate(second)
    graph = coo_array((np.ones(len(places[0]), dtype=bool), places), shape=(keys.size, keys.size))
    _, patches = connected_components(graph, directed=False)
    together = np.where(polygons < 0, patches, keys.size + polygons)
    _, seen, numbers = np.unique(together, return_index=True, return_inverse=True)
    order = np.empty(len(seen), dtype=np.int64)
    order[np.argsort(seen)] = np.arange(len(seen))
    return order[numbers.reshape(-1)]


def with_only_ones_cut(labels: LabelledPixels, parcels: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Cut the parcel of a class that has no other into strips, so that some can train and some test.

    A parcel is cut across its longer side into four of as many pixels. Returns the parcels, numbered from 0,
    and the classes that were cut.
    """
    cut, classes = parcels.copy(), []
    for number in range(len(labels.names)):
        members = np.flatnonzero(labels.classes == number)
        if len(np.unique(parcels[members])) > 1:
            continue
        rows, cols = labels.rows[members], labels.cols[members]
        along = rows if np.ptp(rows) > np.ptp(cols) else cols
        rank = np.argsort(np.argsort(along, kind="stable"), kind="stable")
        cut[members] = parcels.max() + 1 + number * _STRIPS + rank * _STRIPS // len(members)
        classes.append(number)
    return np.unique(cut, return_inverse=True)[1].reshape(-1), classes
