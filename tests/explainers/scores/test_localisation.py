"""Localisation: planted masks, the area under the curve, the share on the bright return."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from explanation_layers.explainers.scores.localisation import bright_return, localisation, share_inside


def test_planted_masks() -> None:
    mask = torch.zeros(3, 8, 8, dtype=torch.bool)
    mask[0, 2:4, 2:6] = True
    mask[1] = mask[0]
    mask[2, :] = True
    values = torch.zeros(3, 2, 8, 8)
    values[0, :, 2:4, 2:6] = torch.tensor([-1.0, 1.0])[:, None, None]
    values[1, 0, 6, :] = 1.0
    values[1, 1, 2, 2:4] = 0.5
    values[2] = 1.0
    scores = localisation(values, mask)
    assert [float(score[0]) for score in scores] == [1, 1, 1, 1]
    assert float(scores.mass[1]) == pytest.approx(1 / 9)
    assert float(scores.rank[1]) == 0 and float(scores.pointing[1]) == 0
    assert all(score[2].isnan() for score in scores)


def test_auc_is_that_of_scikit_learn(x: Tensor) -> None:
    mask = x[:, 0].roll(1, -1) > 0.6
    values = (x * 6).round()  # many ties
    ours = localisation(values, mask).auc
    theirs = [roc_auc_score(m.flatten(), v.sum(0).flatten()) for m, v in zip(mask, values)]
    assert torch.allclose(ours, torch.tensor(theirs, dtype=torch.float64))


def test_share_on_the_bright_return() -> None:
    x = torch.zeros(2, 2, 20, 20)
    x[0, 0, 5:10, 5:10] = 1.0
    x[1, 0, 0:5, 15:] = 1.0
    x[1, 0, 12, 12] = 3.0  # a single speckle is less, averaged
    x[:, 1] = torch.rand(20, 20)
    bright = bright_return(x, 25 / 400)
    assert bright.sum((1, 2)).tolist() == [25, 25]
    assert bright[0, 6:9, 6:9].all() and bright[1, 1:4, 16:].all()
    values = torch.ones(2, 1, 20, 20)
    assert torch.allclose(share_inside(values, bright), torch.tensor(25 / 400, dtype=torch.float64))
