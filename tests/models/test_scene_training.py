"""Training on chips: it learns, it repeats, it stops, and changes chips as it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from explanation_layers.models.scene_networks import build_scene_network
from explanation_layers.models.scene_training import (
    SCHEDULES,
    SceneTrainingSettings,
    augmented,
    epoch_order,
    fit_scenes,
    predict_scenes,
    rate,
)
from explanation_layers.rasters.errors import Cancelled, InputError

SETTINGS = SceneTrainingSettings(
    epochs=6, learning_rate=0.005, schedule="cosine", batch_size=8, augmentation="shift_flip", balanced=True,
    seed=0,
)  # fmt: skip
SIDE = 24


@pytest.fixture(scope="module")
def chips() -> tuple[torch.Tensor, torch.Tensor]:
    """Speckle with a bright spot on the left, on the right, or none; and the classes."""
    generator = torch.Generator().manual_seed(1)
    classes = torch.arange(60) % 3
    values = 0.3 * torch.rand(60, 1, SIDE, SIDE, generator=generator)
    values[classes == 1, :, 8:14, 4:9] += 0.6
    values[classes == 2, :, 8:14, 15:20] += 0.6
    return values, classes


def trained(chips, settings=SETTINGS, train=None, on_batch=lambda done: None):
    values, classes = chips
    torch.manual_seed(settings.seed)
    network = build_scene_network("resnet18", bands=1, classes=3, patch_size=SIDE)
    train = np.arange(len(values)) if train is None else train
    losses = fit_scenes(network, values, classes, train, settings, lambda *_: None, on_batch)
    return network, losses


def weights_of(network) -> bytes:
    return b"".join(value.contiguous().numpy().tobytes() for value in network.state_dict().values())


def test_it_learns_what_can_be_told_apart(chips) -> None:
    network, losses = trained(chips, train=np.arange(45))
    assert len(losses) == 6 and losses[-1] < losses[0] / 1.5
    predicted = predict_scenes(network, chips[0], np.arange(45, 60), "cpu", lambda: None)
    assert (predicted == chips[1][45:].numpy()).mean() > 0.85


@pytest.mark.parametrize("threads", [1, 2])
def test_equal_seeds_give_equal_weights_bit_for_bit(chips, threads) -> None:
    torch.set_num_threads(threads)
    few, short = tuple(part[:12] for part in chips), replace(SETTINGS, epochs=1)
    first, second, other = (weights_of(trained(few, s)[0]) for s in (short, short, replace(short, seed=1)))
    assert first == second != other


def test_epochs_and_batches_are_told_and_a_batch_may_stop(chips) -> None:
    told = []
    trained(chips, replace(SETTINGS, epochs=2, batch_size=20), on_batch=told.append)
    # The last three batches settle the statistics.
    assert told == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1, 1, 1])

    def stop(done: float) -> None:
        raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        trained(chips, on_batch=stop)


def test_a_loss_beyond_all_bounds_is_a_sentence(chips) -> None:
    values = torch.full_like(chips[0], float("nan"))
    with pytest.raises(InputError, match=r"in epoch 1; choose a smaller learning rate\."):
        trained((values, chips[1]))


def test_constant_chips_give_numbers(chips) -> None:
    network, losses = trained((torch.ones_like(chips[0]), chips[1]), replace(SETTINGS, epochs=1))
    assert np.isfinite(losses).all() and all(
        value.isfinite().all() for value in network.state_dict().values()
    )


def test_few_chips_of_the_smallest_size_train_in_one_batch() -> None:
    # The network shrinks them to one pixel, of which a batch of one has no statistics.
    chips = torch.rand(3, 1, 16, 16), torch.tensor([0, 1, 2])
    assert len(trained(chips, replace(SETTINGS, epochs=1, batch_size=2))[1]) == 1


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_rise_to_one_and_then_never_rise(schedule) -> None:
    rates = [rate(schedule, done) for done in np.linspace(0, 1, 401)]
    peak = int(np.argmax(rates))
    assert rates[0] == 0 and rates[peak] == pytest.approx(1)
    assert peak / 400 == pytest.approx(0.3 if schedule == "one_cycle" else 0.05)
    assert (np.diff(rates[: peak + 1]) > 0).all() and (np.diff(rates[peak:]) <= 1e-12).all()
    last = {"cosine": 0, "one_cycle": 0, "step": 0.01, "constant": 1}[schedule]
    assert rates[-1] == pytest.approx(last, abs=1e-12)


def test_an_epoch_shows_every_chip_once_or_every_class_as_often() -> None:
    generator = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], [20, 7, 3])
    assert sorted(epoch_order(classes, False, generator)) == list(range(30))
    shown = epoch_order(classes, True, generator)
    assert np.bincount(classes[shown]).tolist() == [10, 10, 10]
    assert len(set(shown[classes[shown] == 0])) == 10
    # No chip of a rare class comes a second time before the others came once.
    times = np.bincount(shown, minlength=30)
    assert times[20:27].max() - times[20:27].min() == 1 and set(times[27:]) == {3, 4}
    assert sorted(epoch_order(np.arange(30) % 3, True, generator)) == list(range(30))


def test_an_epoch_with_more_classes_than_fit_evenly_has_as_many_chips_as_there_are() -> None:
    classes = np.repeat([0, 1, 2], [6, 4, 1])
    shown = epoch_order(classes, True, np.random.default_rng(0))
    assert len(shown) == 11 and sorted(np.bincount(classes[shown])) == [3, 4, 4]


def test_flips_turn_chips_upside_down_only() -> None:
    # 8 pixels: a sixteenth is none, so that there are no shifts.
    chips = torch.rand(64, 2, 8, 8)
    changed = augmented(chips, "shift_flip", np.random.default_rng(0))
    same, flipped = ((changed == kind).all((1, 2, 3)) for kind in (chips, chips.flip(2)))
    assert (same | flipped).all() and 16 < flipped.sum() < 48
    assert augmented(chips, "none", np.random.default_rng(0)) is chips


def test_rotations_are_the_eight_symmetries_of_the_square() -> None:
    chips = torch.rand(1, 2, 8, 8).expand(200, -1, -1, -1)
    changed = augmented(chips, "shift_flip_rotate", np.random.default_rng(0))
    symmetries = [turned for k in range(4) for turned in (chips.rot90(k, (2, 3)), chips.rot90(k, (2, 3)).mT)]
    found = torch.stack([(changed == symmetry).all((1, 2, 3)) for symmetry in symmetries])
    assert (found.sum(0) == 1).all() and (found.sum(1) > 5).all()


def test_shifts_move_by_a_sixteenth_at_most_and_mirror_what_comes_in() -> None:
    chips = torch.rand(1, 1, 32, 32).expand(200, -1, -1, -1)
    changed = augmented(chips, "shift", np.random.default_rng(0))
    padded = torch.nn.functional.pad(chips[:1], [2] * 4, mode="reflect")[0, 0]
    found = {
        (dy, dx): int((changed[:, 0] == padded[2 + dy : 34 + dy, 2 + dx : 34 + dx]).all((1, 2)).sum())
        for dy in range(-2, 3)
        for dx in range(-2, 3)
    }
    assert sum(found.values()) == 200 and min(found.values()) > 0
