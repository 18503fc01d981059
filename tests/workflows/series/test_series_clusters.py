import numpy as np
import pytest

from explanation_layers.workflows.series_clusters import Clusters, best_by_silhouette, fit_of, vote


def blobs(centres, pixels=60, spread=0.05, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(centre, spread, (pixels, len(centre))) for centre in centres])


def test_the_majority_names_a_cluster_and_nothing_names_an_empty_one():
    counts = np.array([[8, 2, 0], [1, 5, 4], [0, 0, 0], [0, 1, 9]])
    assert vote(counts, "majority").tolist() == [0, 1, -1, 2]


def test_the_balanced_vote_counts_shares_of_classes():
    # Of the class of 100 pixels 10 % lie in the second cluster, of that of 5 pixels 80 %.
    counts = np.array([[90, 1], [10, 4]])
    assert vote(counts, "majority").tolist() == [0, 0]
    assert vote(counts, "balanced").tolist() == [0, 1]


def test_of_a_tie_the_smaller_class_has_the_cluster():
    assert vote(np.array([[5, 5], [20, 0]]), "majority").tolist() == [1, 0]


def test_one_to_one_gives_every_class_one_cluster_with_most_pixels_right():
    # The best of all assignments: 7 + 6, although the first cluster alone would be worth 9.
    counts = np.array([[9, 7], [6, 1], [0, 2]])
    assert vote(counts, "one_to_one").tolist() == [1, 0, -1]


def test_unassigned_pixels_are_wrong_and_the_scores_are_those_of_hand():
    found = np.array([0, 0, 0, 1, 1, 2])
    classes = np.array([0, 0, 1, 1, 1, 1])
    fit = fit_of(found, classes, np.array([0, 1, -1]), "majority", 2)
    assert fit.confusion.tolist() == [[2, 0, 0], [1, 2, 1]]
    assert fit.overall_accuracy == pytest.approx(4 / 6)
    assert fit.balanced_accuracy == pytest.approx((1 + 0.5) / 2)
    # Chance: (2 · 3 + 4 · 2) / 36.
    assert fit.kappa == pytest.approx((4 / 6 - 14 / 36) / (1 - 14 / 36))
    assert fit.purity == pytest.approx(5 / 6)
    assert fit.missing == 0


def test_whatever_the_names_a_perfect_partition_scores_one():
    found = np.array([2, 2, 0, 0, 1, 1])
    fit = fit_of(found, np.array([0, 0, 1, 1, 2, 2]), np.array([-1, -1, -1]), "majority", 3)
    assert (fit.ari, fit.nmi, fit.purity) == pytest.approx((1, 1, 1))
    assert fit.overall_accuracy == 0 and fit.missing == 3


def test_clusters_find_groups_whatever_the_scale_of_a_dimension():
    # Unscaled, the second dimension would be all that counts.
    embedding = blobs([(0, 0), (1, 0), (0, 1000), (1, 1000)], spread=0.02) * [1, 1]
    clusters = Clusters(embedding, 4, 0)
    found = clusters.predict(embedding).reshape(4, 60)
    assert (found == found[:, :1]).all() and len(set(found[:, 0].tolist())) == 4


def test_clusters_are_numbered_alike_whatever_the_seed():
    embedding = blobs([(0, 0), (3, 1), (1, 4)])
    centres = [Clusters(embedding, 3, seed).centres for seed in range(4)]
    for other in centres[1:]:
        np.testing.assert_allclose(other, centres[0], atol=1e-6)
    assert (np.diff(centres[0][:, 0]) > 0).all()


def test_the_silhouette_finds_the_number_of_groups():
    count, scores = best_by_silhouette(blobs([(0, 0), (4, 0), (0, 4), (4, 4), (9, 9)]), 0)
    assert count == 5 and scores[5] > max(value for number, value in scores.items() if number != 5)
