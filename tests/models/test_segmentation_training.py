"""Training of segmentation networks: what counts, what repeats, and where crops are cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from explanation_layers.models.epochs import TrainingSettings
from explanation_layers.models.segmentation_networks import build_segmentation_network
from explanation_layers.models.segmentation_samples import SegmentationSamples
from explanation_layers.models.segmentation_training import fit_segmentation
from explanation_layers.models.training import set_scaling
from explanation_layers.rasters.errors import Cancelled, InputError

SETTINGS = TrainingSettings(
    epochs=6, patience=6, learning_rate=0.01, batch_size=4, class_weights=True, seed=0
)
BANDS, PAGE = 4, 8


def samples_of(labels: np.ndarray, values: np.ndarray) -> SegmentationSamples:
    """All pages of a canvas (band, y, x) with labels (y, x), -1 for none."""
    height, width = labels.shape
    down, across = height // PAGE, width // PAGE
    pages = values.reshape(BANDS, down, PAGE, across, PAGE).transpose(1, 3, 0, 2, 4)
    rows, cols = np.nonzero(labels >= 0)
    pages = torch.from_numpy(pages.reshape(-1, BANDS, PAGE, PAGE).astype("float32"))
    return SegmentationSamples(
        pages=pages, missing=torch.zeros(len(pages), PAGE, PAGE, dtype=torch.bool),
        numbers=np.arange(down * across), across=across, canvas=(height, width), crop=(2 * PAGE, 2 * PAGE),
        classes=torch.from_numpy(labels[rows, cols].astype(np.int64)), rows=rows, cols=cols,
        names=("left", "right", "rare"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def samples() -> SegmentationSamples:
    """A scene of 40 x 48 pixels whose classes have spectra of their own; a third of them is labelled."""
    generator = np.random.default_rng(3)
    truth = np.zeros((40, 48), np.int64)
    truth[:, 24:] = 1
    truth[10:14, 10:14] = truth[30:34, 38:42] = 2
    means = generator.standard_normal((3, BANDS))
    values = means[truth].transpose(2, 0, 1) + 0.4 * generator.standard_normal((BANDS, 40, 48))
    return samples_of(np.where(generator.random(truth.shape) < 0.33, truth, -1), values)


def fresh(samples, depth=2, normalisation="standard"):
    torch.manual_seed(0)
    network = build_segmentation_network(
        "unet", bands=BANDS, classes=3, normalisation=normalisation, depth=depth, filters=4
    )
    set_scaling(network, samples.spectra(np.arange(len(samples))))
    return network


def trained(samples, settings=SETTINGS, train=None, on_batch=lambda done: None, **options):
    network = fresh(samples, **options)
    train = np.arange(len(samples)) if train is None else train
    return network, fit_segmentation(network, samples, train, settings, lambda epoch: None, on_batch)


def weights_of(network) -> bytes:
    return b"".join(value.numpy().tobytes() for value in network.state_dict().values())


def whole(samples) -> torch.Tensor:
    down, across = samples.canvas[0] // PAGE, samples.across
    pages = samples.pages.reshape(down, across, BANDS, PAGE, PAGE).permute(2, 0, 3, 1, 4)
    return pages.reshape(1, BANDS, *samples.canvas)


def accuracy(network, samples, chosen) -> float:
    with torch.no_grad():
        predicted = network(whole(samples))[0].argmax(0)[samples.rows[chosen], samples.cols[chosen]]
    return float((predicted == samples.classes[torch.from_numpy(chosen)]).float().mean())


def test_it_learns_what_can_be_told_apart(samples):
    train, test = np.arange(0, len(samples), 2), np.arange(1, len(samples), 2)
    network, history = trained(samples, replace(SETTINGS, epochs=24), train)
    assert accuracy(network, samples, test) > 0.9
    assert history[-1].loss < 0.5 * history[0].loss
    assert not network.training and 0.85 < max(epoch.validation_accuracy for epoch in history) <= 1


def test_test_pixels_have_no_say(samples):
    train = np.arange(0, len(samples), 2)
    network, _ = trained(samples, train=train)
    lies = samples.classes.clone()
    lies[1::2] = 2 - lies[1::2]
    other, _ = trained(replace(samples, classes=lies), train=train)
    assert weights_of(network) == weights_of(other)


def test_equal_runs_give_equal_weights_and_a_seed_others(samples):
    settings = replace(SETTINGS, epochs=1)
    first, second = (weights_of(trained(samples, settings)[0]) for _ in range(2))
    assert first == second
    assert weights_of(trained(samples, replace(settings, seed=1))[0]) != first


def test_patience_ends_it_and_the_best_epoch_is_kept(samples):
    _, history = trained(samples, replace(SETTINGS, epochs=30, patience=2))
    accuracies = [epoch.validation_accuracy for epoch in history]
    best = len(accuracies) - 1 - int(np.argmax(accuracies[::-1]))
    assert len(history) == min(best + 3, 30)


def test_it_asks_after_every_step_whether_to_stop(samples):
    shares = []

    def stop(done: float) -> None:
        shares.append(done)
        if len(shares) == 3:
            raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        trained(samples, on_batch=stop)
    assert shares == sorted(shares) and shares[-1] < 1


def test_a_loss_beyond_bounds_is_a_sentence(samples):
    with pytest.raises(InputError, match="choose a smaller learning rate"):
        trained(replace(samples, pages=samples.pages * float("inf")))


def test_few_pixels_of_a_class_are_not_held_out(samples):
    chosen = np.concatenate([np.flatnonzero(samples.classes.numpy() == number)[:5] for number in range(3)])
    _, history = trained(samples, replace(SETTINGS, epochs=1), chosen)
    assert np.isnan(history[0].validation_accuracy)


def test_crops_are_what_lies_on_the_scene(samples):
    scene = whole(samples)[0]
    corners = np.array([[0, 0], [3, 5], [24, 32], [11, 17]])
    for crop, (row, col) in zip(samples.crops(samples.pages, corners), corners):
        assert torch.equal(crop, scene[:, row : row + 16, col : col + 16])


def test_a_crop_holds_its_page_and_stays_on_the_canvas(samples):
    pages = samples.pages_with(np.arange(len(samples)))
    for shift in (0.0, 0.3, 1.0):
        corners = samples.corners(pages, np.full(pages.shape, shift))
        assert (corners >= 0).all() and (corners + 16 <= samples.canvas).all()
        assert (corners <= pages * PAGE).all() and (corners + 16 >= (pages + 1) * PAGE).all()


def test_truth_is_that_of_the_chosen_pixels(samples):
    chosen = np.arange(0, len(samples), 3)
    truth = samples.truth(chosen)
    assert (truth >= 0).sum() == len(chosen)
    whole_truth = samples.crops(truth, np.array([[8, 16]]))[0]
    for number in chosen:
        row, col = samples.rows[number] - 8, samples.cols[number] - 16
        if 0 <= row < 16 and 0 <= col < 16:
            assert whole_truth[row, col] == samples.classes[number]


def test_pixels_without_data_can_be_filled_again(samples):
    pages, missing = samples.pages.clone(), samples.missing.clone()
    missing[2, 3, 4] = True
    gaps = replace(samples, pages=pages, missing=missing)
    for value in (1.0, 2.0):
        gaps.fill(torch.full((BANDS,), value))
        assert (gaps.pages[2, :, 3, 4] == value).all()
    assert torch.equal(gaps.pages[0], samples.pages[0])
    labelled = int(samples.truth(np.arange(len(samples)))[2, 3, 4] >= 0)
    assert gaps.has_data().sum() == len(samples) - labelled


@pytest.mark.parametrize(("normalisation", "bands"), [("none", 0), ("standard", BANDS), ("per_pixel", BANDS)])
def test_prepared_bands_are_scaled_by_the_training_pixels(samples, normalisation, bands):
    spectra = samples.spectra(np.arange(len(samples))).abs() + 0.1
    network = build_segmentation_network(
        "unet", bands=BANDS, classes=3, normalisation=normalisation, depth=1, filters=2,
        brightness=normalisation == "per_pixel", strength=0.5,
    )  # fmt: skip
    set_scaling(network, spectra)
    scaled = network.front(network.prepare(spectra[:, :, None, None]))[:, :, 0, 0]
    if bands:
        torch.testing.assert_close(scaled.mean(0), torch.zeros(network.prepared_bands), rtol=0, atol=1e-4)
        torch.testing.assert_close(
            scaled.std(0, correction=0), torch.ones(network.prepared_bands), rtol=1e-3, atol=0
        )
    else:
        assert float(scaled.square().mean()) == pytest.approx(1, rel=1e-4)
