"""Targets and baselines: which logits count, and against which spectrum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from explanation_layers.engine.jobs import AttributionJob
from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import Model, load_model
from explanation_layers.rasters.errors import InputError
from explanation_layers.workflows.targets import Target, baseline_spectrum

JOB = AttributionJob("scene.tif", "model.safetensors")


@pytest.fixture(scope="module")
def model(hybrid_model: str) -> Model:
    """A model whose spectra are divided by their sum before the network."""
    return load_model(hybrid_model, PIXEL_CLASSIFICATION)


@pytest.fixture
def weights(model: Model) -> Callable[..., torch.Tensor]:
    """Return a function that gives the weights of a target for some logits."""

    def make(**options: str) -> torch.Tensor:
        return Target(replace(JOB, **options), model.card).weights(LOGITS)

    return make


# (class, y, x): the first pixel is class 2 before 0, the second class 5 before 2.
LOGITS = torch.tensor([[2.0, 0, 5, 0, 0, 1], [0.0, 1, 2, 1, 1, 9]]).T[:, :, None]


def one_hot(*classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(classes), 6).T[:, :, None].float()


def test_predicted_is_the_highest_logit_of_each_pixel(weights) -> None:
    assert torch.equal(weights(target="predicted"), one_hot(2, 5))


def test_a_class_counts_at_every_pixel(weights, model: Model) -> None:
    name = model.card.class_names[3]
    assert torch.equal(weights(target="class", class_name=name), one_hot(3, 3))
    assert torch.equal(weights(target="class", class_name="4"), one_hot(3, 3))


def test_a_contrast_is_the_difference_of_two_classes(weights) -> None:
    contrast = weights(target="contrast", class_name="4", contrast_class="1")
    assert torch.equal(contrast, one_hot(3, 3) - one_hot(0, 0))


def test_a_contrast_without_classes_is_that_of_the_predicted_with_the_runner_up(weights) -> None:
    assert torch.equal(weights(target="contrast"), one_hot(2, 5) - one_hot(0, 2))


def test_a_contrast_of_a_class_takes_the_highest_of_the_others(weights) -> None:
    contrast = weights(target="contrast", class_name="3")
    assert torch.equal(contrast, one_hot(2, 2) - one_hot(0, 5))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"target": "truth"}, "no target 'truth'; choose one of predicted, class, contrast"),
        ({"target": "reference"}, "by 'attribution'; choose one of predicted, class, contrast here"),
        ({"target": "class"}, "'class' needs a class; choose one of chlorophyll, "),
        ({"target": "class", "class_name": "lake"}, "no class 'lake'; its classes are chlorophyll"),
        ({"target": "contrast", "contrast_class": "9"}, "no class '9'"),
        (
            {"target": "contrast", "class_name": "chlorophyll", "contrast_class": "1"},
            "'chlorophyll' can't be contrasted with itself; choose two",
        ),
    ],
)
def test_unknown_targets_are_told(weights, options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        weights(**options)


def prepared(model: Model, spectrum: torch.Tensor) -> torch.Tensor:
    return spectrum / spectrum.sum()


def test_baselines_are_spectra_of_the_training_as_the_network_reads_them(model: Model) -> None:
    mean = baseline_spectrum(replace(JOB, baseline="mean"), model)
    torch.testing.assert_close(mean, prepared(model, model.spectra.mean))
    own = baseline_spectrum(replace(JOB, baseline="class_mean", baseline_class="2"), model)
    torch.testing.assert_close(own, prepared(model, model.spectra.class_means[1]))
    zero = baseline_spectrum(replace(JOB, baseline="zero"), model)
    torch.testing.assert_close(zero, torch.full_like(zero, 1 / len(zero)))


def test_zero_is_zero_where_spectra_are_read_as_they_are(spectral_model: str) -> None:
    model = load_model(spectral_model, PIXEL_CLASSIFICATION)
    assert not baseline_spectrum(replace(JOB, baseline="zero"), model).any()


def test_a_given_spectrum_has_a_value_per_band_or_per_band_that_is_read(model: Model) -> None:
    bands = model.card.bands
    fewer = replace(model, card=replace(model.card, bands=(replace(bands[0], used=False), *bands[1:])))
    values = [float(100 + i) for i in range(len(bands))]
    expected = torch.tensor(values[1:])
    for given in ([float("nan"), *values[1:]], values[1:]):
        spectrum = baseline_spectrum(replace(JOB, baseline="spectrum", baseline_spectrum=given), fewer)
        torch.testing.assert_close(spectrum, prepared(fewer, expected))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"baseline": "black"}, "no baseline 'black'; choose one of zero, mean, class_mean, spectrum"),
        ({"baseline": "class_mean"}, "'class_mean' needs a class; choose one of chlorophyll"),
        ({"baseline": "class_mean", "baseline_class": "lake"}, "no class 'lake'"),
        ({"baseline": "spectrum"}, "'spectrum' needs a spectrum; give one value per band"),
        ({"baseline": "spectrum", "baseline_spectrum": [1.0, 2.0]}, "has 2 values; the scene has 167 bands"),
        (
            {"baseline": "spectrum", "baseline_spectrum": [1.0] * 166 + [float("nan")]},
            "not a number in a band that the model reads",
        ),
    ],
)
def test_unknown_baselines_are_told(model: Model, options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        baseline_spectrum(replace(JOB, **options), model)
