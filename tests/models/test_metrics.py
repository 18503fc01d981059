"""Accuracy figures, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    confusion_matrix,
    f1_score,
    jaccard_score,
    precision_score,
    recall_score,
)

from explanation_layers.models.metrics import accuracy_of


@pytest.mark.parametrize("seed", range(5))
def test_figures_are_those_of_scikit_learn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 5, 300)
    predicted = np.where(generator.random(300) < 0.6, truth, generator.integers(0, 5, 300))
    figures = accuracy_of(confusion_matrix(truth, predicted))
    assert figures.overall == pytest.approx(accuracy_score(truth, predicted))
    assert figures.kappa == pytest.approx(cohen_kappa_score(truth, predicted))
    assert figures.recall == pytest.approx(recall_score(truth, predicted, average=None))
    assert figures.precision == pytest.approx(precision_score(truth, predicted, average=None))
    assert figures.balanced == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert figures.f1 == pytest.approx(f1_score(truth, predicted, average=None))
    assert figures.iou == pytest.approx(jaccard_score(truth, predicted, average=None))
    assert figures.mean_iou == pytest.approx(jaccard_score(truth, predicted, average="macro"))
    assert figures.pixels == 300


def test_a_class_that_does_not_occur_has_no_figures_and_no_part_in_the_mean() -> None:
    figures = accuracy_of(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    assert figures.recall[:2].tolist() == [0.75, 1.0] and np.isnan(figures.recall[2])
    assert np.isnan(figures.precision[2]) and np.isnan(figures.iou[2]) and np.isnan(figures.f1[2])
    assert figures.balanced == 0.875
    assert figures.mean_iou == pytest.approx((3 / 4 + 4 / 5) / 2)


def test_a_class_that_is_never_predicted_has_recall_and_iou_of_zero() -> None:
    figures = accuracy_of(np.array([[5, 0], [5, 0]]))
    assert (figures.recall[1], figures.iou[1], figures.kappa) == (0, 0, 0)
    assert np.isnan(figures.precision[1])


def test_kappa_is_undefined_where_all_is_one_class() -> None:
    figures = accuracy_of(np.array([[7, 0], [0, 0]]))
    assert figures.overall == 1 and np.isnan(figures.kappa)
