"""Samples: patches and their centres out of spectra that are stored once."""

from __future__ import annotations

import numpy as np
import torch

from explanation_layers.models.samples import PatchSamples


def test_patches_and_centres_are_windows_of_the_scene() -> None:
    scene = torch.arange(2 * 5 * 6, dtype=torch.float32).reshape(2, 5, 6)
    rows, cols, side = np.array([1, 2, 3]), np.array([1, 3, 4]), 3
    offsets = np.arange(side) - 1
    index = (rows[:, None, None] + offsets[:, None]) * 6 + cols[:, None, None] + offsets
    samples = PatchSamples(
        spectra=scene.reshape(2, -1).T.contiguous(),
        index=torch.from_numpy(index.reshape(3, -1).astype(np.int32)),
        classes=torch.tensor([0, 1, 0]),
        rows=rows,
        cols=cols,
        names=("a", "b"),
    )
    assert (len(samples), samples.side) == (3, 3)
    patches, centres = samples.patches(torch.tensor([2, 0])), samples.centres(torch.tensor([2, 0]))
    for number, place in enumerate((2, 0)):
        row, col = rows[place], cols[place]
        assert torch.equal(patches[number], scene[:, row - 1 : row + 2, col - 1 : col + 2])
        assert torch.equal(centres[number], scene[:, row, col])
