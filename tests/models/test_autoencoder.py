"""Autoencoders of series: their parts, training, model files, and the dates that a card asks for."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from explanation_layers.models.autoencoder import Autoencoder, autoencoder
from explanation_layers.models.autoencoder_training import (
    AutoencoderEpoch,
    AutoencoderSettings,
    fit_autoencoder,
    reconstruction_error,
    set_channels,
)
from explanation_layers.models.card import (
    PIXEL_CLASSIFICATION,
    SERIES_AUTOENCODER,
    Card,
    CardBand,
    card_classes,
)
from explanation_layers.models.files import Model, Spectra, load_model, save_model
from explanation_layers.rasters.errors import InputError

DATES, CHANNELS = 8, 2
OPTIONS = {"dates": DATES, "channels": CHANNELS, "dimensions": 2, "filters": [6, 8], "kernels": [5, 3]}


def a_network(seed: int = 0, **options: object) -> Autoencoder:
    torch.manual_seed(seed)
    return autoencoder(**{**OPTIONS, **options})


def series(count: int, seed: int = 0) -> Tensor:
    """Series of two kinds, by one bump or another, in decibels, with little noise."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(2, (count, 1, 1), generator=generator)
    bump = torch.exp(-((torch.arange(DATES)[:, None] - 2 - 4 * kind) ** 2) / 2.0)
    values = torch.tensor([-12.0, -19.0]) + torch.tensor([5.0, 3.0]) * bump
    return (values + 0.1 * torch.randn(count, DATES, CHANNELS, generator=generator)).flatten(1)


def trained(
    x: Tensor, observed: Tensor | None = None, seed: int = 0, epochs: int = 3, **options: object
) -> tuple[Autoencoder, list[AutoencoderEpoch]]:
    network = a_network(seed)
    settings = AutoencoderSettings(epochs=epochs, batch_size=32, seed=seed, **options)
    rows = np.arange(len(x))
    cut = len(x) * 9 // 10
    history = fit_autoencoder(
        network, x, observed, rows[:cut], rows[cut:], settings, lambda epoch: None, lambda share: None
    )
    return network, history


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_its_parts_are_one_network(stride: int) -> None:
    network = a_network(stride=stride).eval()
    set_channels(network, series(50))
    x = network.prepare(series(5))
    activations, embedding = network.activations(x)
    lengths = [DATES, math.ceil(DATES / stride)]
    assert [tuple(a.shape) for a in activations] == [(5, 6, lengths[0]), (5, 8, lengths[1])]
    assert all((a >= 0).all() for a in activations)
    torch.testing.assert_close(embedding, network.encode(x))
    torch.testing.assert_close(embedding, network.logits(x[:, :, None, None]).flatten(1))
    assert network.decode(embedding).shape == x.shape
    torch.testing.assert_close(
        network.decoder(embedding) - network.scaled(x),
        (network.decode(embedding) - x) / network.scaling.scale, rtol=1e-4, atol=1e-4,
    )  # fmt: skip


def test_a_tile_gives_every_pixel_the_embedding_of_its_series() -> None:
    network = a_network().eval()
    x = series(12)
    tile = x.T.reshape(1, -1, 3, 4)
    whole = network(tile)
    assert whole.shape == (1, 2, 3, 4)
    torch.testing.assert_close(whole[0].flatten(1).T, network.encode(network.prepare(x)))
    torch.testing.assert_close(network.prepare(tile)[0].flatten(1).T, network.prepare(x))


def test_bands_lie_date_by_date() -> None:
    rows = a_network().front[1](torch.arange(16.0)[None, :, None, None])
    assert rows.shape == (1, CHANNELS, 1, DATES)
    assert rows[0, 0, 0].tolist() == list(range(0, 16, 2))
    assert rows.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("filters", "kernels"), [((8, 8), (3,)), ((8,), (4,)), ((), ())])
def test_kernels_must_fit(filters: tuple, kernels: tuple) -> None:
    with pytest.raises(InputError, match="kernel of odd length for each convolution"):
        a_network(filters=filters, kernels=kernels)


def test_limits_and_scaling_are_of_channels_and_what_was_observed() -> None:
    generator = np.random.default_rng(1)
    values = generator.normal([-10.0, -20.0], [2.0, 4.0], (3000, DATES, CHANNELS)).astype(np.float32)
    seen = generator.random(values.shape) < 0.8
    known = [values[..., channel][seen[..., channel]] for channel in range(CHANNELS)]
    # Not seen: far off.
    values[~seen] = 500.0
    network = a_network()
    set_channels(network, torch.from_numpy(values).flatten(1), torch.from_numpy(seen).flatten(1))
    for channel, own in enumerate(known):
        low, high = np.percentile(own, (0.1, 99.9))
        assert (float(network.low[channel]), float(network.high[channel])) == pytest.approx((low, high))
        clipped = own.clip(low, high).astype(np.float64)
        offset, scale = (part[channel::CHANNELS] for part in (network.scaling.offset, network.scaling.scale))
        torch.testing.assert_close(offset, torch.full((DATES,), clipped.mean()).float())
        torch.testing.assert_close(scale, torch.full((DATES,), clipped.std()).float())
    prepared = network.prepare(torch.tensor([-500.0, 500.0]).repeat(DATES)[None])
    torch.testing.assert_close(prepared[0, :2], torch.stack([network.low[0], network.high[1]]))


def test_a_channel_without_a_value_is_told() -> None:
    x = series(30)
    observed = torch.ones_like(x, dtype=torch.bool)
    observed[:, 1::2] = False
    with pytest.raises(InputError, match="Channel 2 has no value"):
        trained(x, observed)


def test_a_constant_channel_is_not_divided_by_nothing() -> None:
    x = series(30)
    x[:, ::2] = -7.0
    network, history = trained(x)
    assert (network.scaling.scale[::2] == 1).all() and math.isfinite(history[-1].loss)


def test_the_reconstruction_error_is_in_the_rasters_unit_by_channel() -> None:
    network = a_network().eval()
    last = network.decoder[-1]
    with torch.no_grad():
        last.weight.zero_()
        # The decoder gives 1 in every channel, at scaled values.
        last.bias.fill_(1.0)
        network.scaling.offset.copy_(torch.tensor([-10.0, -20.0]).repeat(DATES))
        network.scaling.scale.copy_(torch.tensor([2.0, 3.0]).repeat(DATES))
    x = torch.tensor([-9.0, -20.0]).repeat(DATES).repeat(3000, 1)
    # -8 against -9, -17 against -20.
    torch.testing.assert_close(reconstruction_error(network, x), torch.tensor([1.0, 9.0]))
    x[:, 0] = 92.0
    observed = torch.ones_like(x, dtype=torch.bool)
    torch.testing.assert_close(
        reconstruction_error(network, x, observed), torch.tensor([1.0 + (100.0**2 - 1) / DATES, 9.0])
    )
    observed[:, 0] = False
    torch.testing.assert_close(reconstruction_error(network, x, observed), torch.tensor([1.0, 9.0]))
    observed[:, 1::2] = False
    found = reconstruction_error(network, x, observed)
    assert float(found[0]) == pytest.approx(1) and found[1].isnan()


def test_what_can_be_learnt_is_learnt_and_the_best_epoch_kept() -> None:
    x = series(600)
    network, history = trained(x, epochs=40, learning_rate=5e-3)
    error = reconstruction_error(network, series(200, seed=9))
    # Of the variances 3.6 and 1.3 dB² little more is left than the noise of 0.01.
    assert (error < 0.03).all() and error.min() > 0.008
    best = min(history, key=lambda epoch: epoch.validation_loss)
    held_out = network.prepare(x[540:])
    errors = network.decoder(network.encode(held_out)) - network.scaled(held_out)
    assert float(errors.detach().square().mean()) == pytest.approx(best.validation_loss, rel=1e-4)
    assert not network.training and [epoch.number for epoch in history] == [*range(1, len(history) + 1)]


def test_training_is_the_same_for_a_seed_and_another_for_another() -> None:
    x = series(100)
    (one, history), (same, again), (other, _) = trained(x), trained(x), trained(x, seed=1)
    assert history == again
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
    assert not torch.equal(one.encode(x), other.encode(x))


def test_values_that_were_filled_in_count_neither_in_loss_nor_validation() -> None:
    x = series(100)
    observed = torch.rand(x.shape, generator=torch.Generator().manual_seed(3)) < 0.6
    network = a_network()
    settings = AutoencoderSettings(epochs=1, batch_size=100, learning_rate=1e-12)
    rows = np.arange(100)
    history = fit_autoencoder(
        network, x, observed, rows, rows[:40], settings, lambda epoch: None, lambda share: None
    )
    errors = (
        network.decoder(network.encode(network.prepare(x))) - network.scaled(network.prepare(x))
    ).square()
    assert history[0].loss == pytest.approx(float(errors[observed].mean()), rel=1e-5)
    assert history[0].validation_loss == pytest.approx(float(errors[:40][observed[:40]].mean()), rel=1e-5)


def test_training_stops_when_nothing_gets_better_or_the_caller_raises() -> None:
    x = series(60)
    _, history = trained(x, epochs=50, learning_rate=1e-12, patience=4)
    # Hardly any epoch is better than the one before by what rounding leaves.
    assert len(history) < 50
    shares: list[float] = []

    def stop(share: float) -> None:
        shares.append(share)
        if len(shares) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_autoencoder(
            a_network(), x, None, np.arange(60), np.arange(0), AutoencoderSettings(epochs=2, batch_size=20),
            lambda epoch: None, stop,
        )  # fmt: skip
    assert shares == pytest.approx([1 / 6, 2 / 6, 3 / 6])


def test_without_validation_the_training_loss_decides() -> None:
    network = a_network()
    history = fit_autoencoder(
        network, series(50), None, np.arange(50), np.arange(0), AutoencoderSettings(epochs=2),
        lambda epoch: None, lambda share: None,
    )  # fmt: skip
    assert len(history) == 2 and math.isnan(history[0].validation_loss)


def test_a_loss_beyond_all_bounds_is_told() -> None:
    with pytest.raises(InputError, match="grew beyond all bounds in epoch"):
        trained(series(100), epochs=30, learning_rate=1e30)


def a_card(**options: object) -> Card:
    bands = tuple(
        CardBand(f"2017-01-{day:02} {channel}", None, None, True, f"2017-01-{day:02}")
        for day in range(1, 1 + DATES)
        for channel in ("VV", "VH")
    )
    classes = card_classes(["dimension 1", "dimension 2"])
    return Card(SERIES_AUTOENCODER, "conv_autoencoder", {**OPTIONS, **options}, bands, classes, {"seed": 1})


def saved(path: Path, network: nn.Module, card: Card) -> None:
    mean = series(20).mean(0)
    save_model(str(path), network, Spectra(mean, mean.expand(2, -1), series(4)), card)


def read(path: Path) -> Model:
    return load_model(str(path), SERIES_AUTOENCODER)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_model_comes_back_as_it_was(tmp_path: Path, stride: int) -> None:
    network = a_network(seed=4, stride=stride)
    set_channels(network, series(40))
    saved(tmp_path / "model.safetensors", network.eval(), a_card(stride=stride))
    model = read(tmp_path / "model.safetensors")
    assert isinstance(model.network, Autoencoder) and model.card.task == SERIES_AUTOENCODER
    assert model.card.bands == a_card().bands and model.patch_size == 1
    x = series(7, seed=5)
    assert torch.equal(model.network(x[:, :, None, None]), network(x[:, :, None, None]))
    embedding = network.encode(network.prepare(x))
    assert torch.equal(model.network.decode(embedding), network.decode(embedding))
    assert not any(weight.requires_grad for weight in model.network.parameters())


def test_a_model_of_another_task_or_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    saved(path, a_network(), a_card())
    with pytest.raises(InputError, match="made for series autoencoder, not for pixel classification"):
        load_model(str(path), PIXEL_CLASSIFICATION)
    saved(path, a_network(), a_card(dates=DATES + 1))
    with pytest.raises(InputError, match="do not fit its model card"):
        read(path)
    saved(path, a_network(), replace(a_card(), architecture="recurrent"))
    with pytest.raises(InputError, match="'recurrent', which this version does not know"):
        read(path)
