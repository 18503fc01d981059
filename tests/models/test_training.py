"""Training: it learns, it stops, it repeats, and it says where it can't."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from explanation_layers.models.epochs import held_out_of
from explanation_layers.models.networks import build
from explanation_layers.models.training import TrainingSettings, fit, predict, set_statistics
from explanation_layers.rasters.errors import Cancelled, InputError

SETTINGS = TrainingSettings(
    epochs=15, patience=15, learning_rate=0.003, batch_size=16, class_weights=True, seed=0
)


def fresh(samples, architecture="spectral_cnn", normalisation="standard", components=4, seed=0):
    torch.manual_seed(seed)
    return build(
        architecture, bands=samples.spectra.shape[1], classes=len(samples.names), patch_size=samples.side,
        normalisation=normalisation, components=components,
    )  # fmt: skip


def trained(samples, settings=SETTINGS, train=None, **options):
    """Return a network trained on all samples (or on `train`), and its history."""
    network = fresh(samples, **options)
    train = np.arange(len(samples)) if train is None else train
    set_statistics(network, samples, train)
    return network, fit(network, samples, train, settings, lambda epoch: None, lambda done: None)


def weights_of(network) -> bytes:
    return b"".join(value.numpy().tobytes() for value in network.state_dict().values())


def accuracy(network, samples, chosen) -> float:
    predicted = predict(network, samples, chosen, lambda: None)
    return float((predicted == samples.classes.numpy()[chosen]).mean())


@pytest.mark.parametrize(
    ("architecture", "side", "normalisation"),
    [
        ("spectral_cnn", 1, "standard"),
        ("spectral_cnn", 1, "none"),
        ("spatial_cnn", 3, "standard"),
        ("hybrid_cnn", 9, "standard"),
    ],
)
def test_it_learns_what_can_be_told_apart(make_samples, architecture, side, normalisation) -> None:
    samples = make_samples((40, 40, 40), side)
    train, test = np.arange(80), np.arange(80, 120)
    settings = replace(SETTINGS, learning_rate=0.01)
    network, history = trained(
        samples, settings, train, architecture=architecture, normalisation=normalisation
    )
    assert accuracy(network, samples, test) > 0.95
    assert history[-1].loss < history[0].loss / 2
    assert history[-1].validation_accuracy > 0.95
    assert [epoch.number for epoch in history] == list(range(1, len(history) + 1))


def test_per_pixel_learns_shapes_not_brightness(make_samples) -> None:
    samples = make_samples((80, 80))
    brightness = torch.rand(len(samples.spectra), 1) * 5 + 0.5
    samples = replace(samples, spectra=(samples.spectra.abs() + 1) * brightness)
    network, _ = trained(samples, train=np.arange(110), normalisation="per_pixel")
    assert accuracy(network, samples, np.arange(110, 160)) > 0.9
    brighter = replace(samples, spectra=7 * samples.spectra)
    chosen = np.arange(160)
    assert accuracy(network, brighter, chosen) == accuracy(network, samples, chosen)


def test_equal_seeds_give_equal_weights_bit_for_bit(make_samples) -> None:
    samples = make_samples((30, 30), side=9)
    short = replace(SETTINGS, epochs=3)
    first, history = trained(samples, short, architecture="hybrid_cnn")
    torch.rand(7)
    second, again = trained(samples, short, architecture="hybrid_cnn")
    assert weights_of(first) == weights_of(second) and history == again
    other, _ = trained(samples, replace(short, seed=1), architecture="hybrid_cnn")
    assert weights_of(first) != weights_of(other)


def test_it_stops_when_it_gets_no_better(make_samples) -> None:
    samples = make_samples((60, 60), noise=0.05)
    settings = replace(SETTINGS, epochs=60, patience=5, learning_rate=1e-12)
    _, history = trained(samples, replace(settings, epochs=8))
    assert len(history) == 8, "equal figures are no worse"
    # Without validation samples the training loss counts, which random dropout makes worse by and by.
    few = make_samples((9, 9))
    _, history = trained(few, settings)
    assert len(history) < 60
    losses = [epoch.loss for epoch in history]
    assert len(losses) - 1 - int(np.argmin(losses)) == 5


def test_the_best_epoch_is_kept(make_samples) -> None:
    samples = make_samples((80, 80), noise=2.5)
    seen: list = []
    train = np.arange(len(samples))
    network = fresh(samples)
    set_statistics(network, samples, train)
    history = fit(network, samples, train, SETTINGS, seen.append, lambda done: None)
    assert seen == history and not network.training
    held_out = held_out_of(samples.classes.numpy(), train, np.random.default_rng(SETTINGS.seed))
    accuracies = [epoch.validation_accuracy for epoch in history]
    assert len(held_out) == 16 and min(accuracies) < max(accuracies)
    assert accuracy(network, samples, held_out) == max(accuracies)
    last_best = [epoch for epoch in history if epoch.validation_accuracy == max(accuracies)][-1]
    chosen = torch.from_numpy(held_out)
    with torch.no_grad():
        logits = network(samples.patches(chosen)).flatten(1)
    loss = torch.nn.functional.cross_entropy(logits, samples.classes[chosen])
    assert float(loss) == pytest.approx(last_best.validation_loss, rel=1e-5)


def test_without_enough_samples_nothing_is_held_out(make_samples) -> None:
    _, history = trained(make_samples((9, 9)), replace(SETTINGS, epochs=2))
    assert all(np.isnan(epoch.validation_accuracy) for epoch in history)


def test_one_sample_a_class_and_one_epoch_will_do(make_samples) -> None:
    samples = make_samples((1, 1))
    network, history = trained(samples, replace(SETTINGS, epochs=1, batch_size=1000))
    assert len(history) == 1 and np.isfinite(history[0].loss)
    assert all(bool(torch.isfinite(value).all()) for value in network.state_dict().values())


def test_class_weights_help_the_rare_class(make_samples) -> None:
    samples = make_samples((200, 20), noise=4.0)
    rare = np.flatnonzero(samples.classes.numpy() == 1)
    recall = {}
    for weighted in (False, True):
        network, _ = trained(samples, replace(SETTINGS, class_weights=weighted))
        recall[weighted] = accuracy(network, samples, rare)
    assert recall[True] > recall[False]


def test_a_loss_without_bounds_is_told(make_samples) -> None:
    with pytest.raises(InputError, match=r"grew beyond all bounds in epoch \d+; choose a smaller learning"):
        trained(make_samples((30, 30)), replace(SETTINGS, learning_rate=1e30))


def test_it_can_be_stopped_in_the_middle_of_an_epoch(make_samples) -> None:
    samples, shares = make_samples((40, 40)), []

    def on_batch(done: float) -> None:
        shares.append(done)
        if done > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        fit(fresh(samples), samples, np.arange(80), SETTINGS, lambda epoch: None, on_batch)
    assert shares == sorted(shares) and 0.3 < shares[-1] < 0.4


def test_shares_done_rise_to_one(make_samples) -> None:
    samples, shares = make_samples((40, 40)), []
    settings = replace(SETTINGS, epochs=3, batch_size=10)
    fit(fresh(samples), samples, np.arange(80), settings, lambda epoch: None, shares.append)
    assert len(shares) == 21 and shares[-1] == 1 and np.allclose(np.diff([0, *shares]), 1 / 21)


@pytest.mark.parametrize("normalisation", ["standard", "per_pixel"])
def test_scaling_centres_the_training_pixels_alone(make_samples, normalisation: str) -> None:
    samples = make_samples((40, 40), side=9)
    samples = replace(samples, spectra=100 + samples.spectra)
    network = fresh(samples, "hybrid_cnn", normalisation)
    train = np.arange(50)
    set_statistics(network, samples, train)
    prepared = network.prepare(samples.centres(torch.from_numpy(train))[:, :, None, None])
    scaled = network.scaling(prepared)[:, :, 0, 0].double()
    assert scaled.mean(0).abs().max() < 1e-2
    torch.testing.assert_close(scaled.std(0, correction=0), torch.ones(6).double(), atol=1e-2, rtol=0)
    changed = samples.spectra.clone()
    changed[samples.index[50:].long().reshape(-1)] = 1e6
    other = fresh(samples, "hybrid_cnn", normalisation)
    set_statistics(other, replace(samples, spectra=changed), train)
    assert torch.equal(other.scaling.offset, network.scaling.offset)
    assert torch.equal(other.projection.matrix, network.projection.matrix), "test patches leave no trace"


def test_no_normalisation_keeps_the_bands_in_proportion(make_samples) -> None:
    samples = make_samples((40, 40))
    network = fresh(samples, normalisation="none")
    set_statistics(network, samples, np.arange(80))
    assert network.scaling.offset.abs().max() == 0
    scale = samples.spectra.square().mean().sqrt()
    torch.testing.assert_close(network.scaling.scale, scale.expand(6))


def test_a_constant_band_is_not_blown_up(make_samples) -> None:
    samples = make_samples((40, 40))
    samples.spectra[:, 2] = 5.0
    network = fresh(samples)
    set_statistics(network, samples, np.arange(80))
    assert network.scaling.scale[2] == 1 and network.scaling.offset[2] == 5


def test_projection_is_whitened_principal_components(make_samples) -> None:
    samples = make_samples((120, 120, 120), side=9, bands=10)
    network = fresh(samples, "hybrid_cnn", components=4)
    train = np.arange(len(samples))
    set_statistics(network, samples, train)
    matrix = network.projection.matrix.double()
    scaled = network.scaling(samples.spectra[:, :, None, None])[:, :, 0, 0].double()
    components = (scaled - scaled.mean(0)) @ matrix.T
    covariance = components.T @ components / len(components)
    torch.testing.assert_close(covariance, torch.eye(4).double(), atol=2e-2, rtol=0)
    # Directions are those of the largest eigenvalues.
    _, vectors = torch.linalg.eigh(torch.cov(scaled.T, correction=0))
    best = vectors.flip(1)[:, :4].T
    cosines = (torch.nn.functional.normalize(matrix) * best).sum(1).abs()
    assert cosines.min() > 0.99


def test_more_components_than_the_data_have_stay_finite(make_samples) -> None:
    samples = make_samples((2, 2), side=9, bands=12)
    samples.spectra[:] = samples.spectra[:1]
    network = fresh(samples, "hybrid_cnn", components=12)
    set_statistics(network, samples, np.arange(4))
    assert torch.isfinite(network.projection.matrix).all()
    assert torch.isfinite(network(samples.patches(torch.arange(4)))).all()


def test_prediction_is_the_highest_logit_and_can_be_stopped(make_samples) -> None:
    samples = make_samples((200, 200), side=3)
    network = fresh(samples, "spatial_cnn").eval()
    chosen = np.random.default_rng(0).permutation(400)[:300]
    with torch.no_grad():
        expected = network(samples.patches(torch.from_numpy(chosen))).flatten(1).argmax(1)
    assert np.array_equal(predict(network, samples, chosen, lambda: None), expected.numpy())

    def stop() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        predict(network, samples, chosen, stop)
