"""Labelled pixels with their surroundings, kept as pages from which crops at any place are cut."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class SegmentationSamples:
    """Pages of a canvas (see `workflows.canvas`) around its labelled pixels, without those far from any.

    `pages` float32 (p, band, y, x) in the raster's values; `missing` bool (p, y, x): no data in a band;
    `numbers` int64 (p,), in order: row times `across` plus column of a page. `canvas` (y, x) pixels; `crop`
    (y, x): the size of crops, two pages each way. `classes` int64 (n,), `rows` and `cols` int64 (n,) of
    the labelled pixels.
    """

    pages: Tensor
    missing: Tensor
    numbers: np.ndarray
    across: int
    canvas: tuple[int, int]
    crop: tuple[int, int]
    classes: Tensor
    rows: np.ndarray
    cols: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.classes)

    def spectra(self, chosen: np.ndarray) -> Tensor:
        """Return the spectra of the chosen labelled pixels, float32 (n, band)."""
        height, width = self.pages.shape[2:]
        places = self._pages_of(self.rows[chosen] // height, self.cols[chosen] // width)
        rows, cols = torch.from_numpy(self.rows[chosen] % height), torch.from_numpy(self.cols[chosen] % width)
        return self.pages[torch.from_numpy(places), :, rows, cols]

    def has_data(self) -> np.ndarray:
        """Return which labelled pixels have data in every band, bool (n,)."""
        height, width = self.pages.shape[2:]
        places = self._pages_of(self.rows // height, self.cols // width)
        return ~self.missing.numpy()[places, self.rows % height, self.cols % width]

    def only(self, chosen: np.ndarray) -> SegmentationSamples:
        """Return the same pages with the chosen labelled pixels alone."""
        return replace(
            self, classes=self.classes[torch.from_numpy(chosen)], rows=self.rows[chosen],
            cols=self.cols[chosen],
        )  # fmt: skip

    def fill(self, spectrum: Tensor) -> None:
        """Give pixels without data in a band the `spectrum` (band,), in place."""
        for page, missing in zip(self.pages, self.missing):
            page[:, missing] = spectrum[:, None]

    def pages_with(self, chosen: np.ndarray) -> np.ndarray:
        """Return which pages (row, column), int64 (p, 2), hold any of the chosen labelled pixels."""
        height, width = self.pages.shape[2:]
        held = np.unique(self.rows[chosen] // height * self.across + self.cols[chosen] // width)
        return np.stack(np.divmod(held, self.across), 1)

    def truth(self, chosen: np.ndarray) -> Tensor:
        """Return the classes of the chosen pixels on the pages, int16 (p, y, x), -1 elsewhere."""
        height, width = self.pages.shape[2:]
        places = self._pages_of(self.rows[chosen] // height, self.cols[chosen] // width)
        truth = torch.full((len(self.pages), height, width), -1, dtype=torch.int16)
        rows, cols = torch.from_numpy(self.rows[chosen] % height), torch.from_numpy(self.cols[chosen] % width)
        truth[torch.from_numpy(places), rows, cols] = self.classes[torch.from_numpy(chosen)].short()
        return truth

    def corners(self, pages: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Return corners (row, column) of crops that hold whole pages, (p, 2).

        `shift` (p, 2), from 0 to 1, says where in a crop its page lies, as far as the canvas allows.
        """
        first = pages * np.array(self.pages.shape[2:])
        wanted = first - np.rint(shift * np.array(self.pages.shape[2:])).astype(np.int64)
        return np.clip(wanted, 0, np.array(self.canvas) - np.array(self.crop))

    def crops(self, pages: Tensor, corners: np.ndarray) -> Tensor:
        """Return crops (n, ..., y, x) at `corners` (row, column) of what is on pages (p, ..., y, x)."""
        height, width = pages.shape[-2:]
        cut = [self._crop(pages, int(row), int(col), height, width) for row, col in corners]
        return torch.stack(cut)

    def _crop(self, pages: Tensor, row: int, col: int, height: int, width: int) -> Tensor:
        rows = range(row // height, -(-(row + self.crop[0]) // height))
        cols = range(col // width, -(-(col + self.crop[1]) // width))
        places = [self._pages_of(np.full(len(cols), r), np.array(cols)) for r in rows]
        whole = torch.cat([torch.cat([pages[int(place)] for place in line], -1) for line in places], -2)
        top, left = row - rows[0] * height, col - cols[0] * width
        return whole[..., top : top + self.crop[0], left : left + self.crop[1]]

    def _pages_of(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.numbers, rows * self.across + cols)
