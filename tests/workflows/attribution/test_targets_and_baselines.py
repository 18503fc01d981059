"""Targets choose the output that is explained, and baselines what contributions start from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import load_model

from .conftest import UNREAD, extent_of, logits_at, same


def test_targets_by_name_and_by_number(site, run) -> None:
    names = load_model(site.models["spectral_cnn"], PIXEL_CLASSIFICATION).card.class_names
    options = {"explainer": "input_x_gradient", "extent": extent_of(site, 14, 14, 8, 6)}

    def maps(**target: object) -> np.ndarray:
        return run(**options, **target).attribution

    one, two = (maps(target="class", class_name=names[k]) for k in (1, 3))
    assert same(maps(target="class", class_name="2"), one)
    contrast = maps(target="contrast", class_name=names[1], contrast_class="4")
    assert same(contrast, one - two, 1e-4)
    every = np.stack([maps(target="class", class_name=name) for name in names])
    order = logits_at(site, "spectral_cnn")[:, 14:20, 14:22].argsort(0)

    def chosen(rank: int) -> np.ndarray:
        return np.take_along_axis(every, order[-rank][None, None], 0)[0]

    assert same(maps(target="predicted"), chosen(1), 1e-4)
    assert same(maps(target="contrast"), chosen(1) - chosen(2), 1e-4)
    assert same(maps(target="contrast", contrast_class=None, class_name=None), chosen(1) - chosen(2), 1e-4)


@pytest.mark.parametrize("architecture", ["spectral_cnn", "hybrid_cnn"])
def test_baselines_are_what_the_contributions_start_from(site, run, architecture: str) -> None:
    model = load_model(site.models[architecture], PIXEL_CLASSIFICATION)
    side = model.network.patch_size
    given = np.linspace(1000, 3000, site.bands).tolist()
    used = model.card.used_bands
    spectra = {
        "zero": torch.zeros(len(used)),
        "mean": model.spectra.mean,
        "class_mean": model.spectra.class_means[2],
        "spectrum": torch.tensor(given)[used],
    }
    logits = logits_at(site, architecture)[1, 14:17, 14:18]
    for name, spectrum in spectra.items():
        made = run(
            architecture=architecture, explainer="deeplift", extent=extent_of(site, 14, 14, 4, 3),
            target="class", class_name="2", baseline=name, baseline_class="3", baseline_spectrum=given,
        )  # fmt: skip
        start = model.network(spectrum[None, :, None, None].expand(-1, -1, side, side)).flatten()[1]
        expected = logits - float(start)
        assert np.abs(made.saliency[1] - expected).max() <= 1e-3 * np.abs(expected).max()
        assert made.result["record"]["baseline_values"] == pytest.approx(spectrum.tolist(), rel=1e-5)


def test_a_spectrum_of_the_read_bands_is_the_same_as_one_of_all(site, run) -> None:
    given = np.linspace(1000, 3000, site.bands)
    options = {"explainer": "deeplift", "extent": extent_of(site, 14, 14, 4, 3), "baseline": "spectrum"}
    every = run(**options, baseline_spectrum=given.tolist())
    read = run(**options, baseline_spectrum=np.delete(given, UNREAD).tolist())
    assert np.array_equal(every.attribution, read.attribution, equal_nan=True)
