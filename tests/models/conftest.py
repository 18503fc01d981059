"""What tests of models share: networks with statistics of a real shape, and patches that can be learnt."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from explanation_layers.models.networks import PatchNetwork, build
from explanation_layers.models.samples import PatchSamples


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_network() -> Callable[..., PatchNetwork]:
    """Return a function that builds a network with random weights and band scaling, ready to evaluate."""

    def make(
        architecture: str, bands: int = 20, classes: int = 4, patch_size: int = 9,
        normalisation: str = "standard", components: int = 8,
    ) -> PatchNetwork:  # fmt: skip
        torch.manual_seed(3)
        network = build(
            architecture, bands=bands, classes=classes, patch_size=patch_size,
            normalisation=normalisation, components=components,
        )  # fmt: skip
        size = 1 / bands if normalisation == "per_pixel" else 1.0
        network.scaling.offset.uniform_(0, size)
        network.scaling.scale.uniform_(size / 2, size)
        if network.projection is not None:
            network.projection.matrix.normal_()
        return network.eval().requires_grad_(False)

    return make


@pytest.fixture(scope="session")
def make_samples() -> Callable[..., PatchSamples]:
    """Return a function that makes patches of noisy spectra whose mean tells the class."""

    def make(counts: tuple[int, ...], side: int = 1, bands: int = 6, noise: float = 0.3) -> PatchSamples:
        generator = np.random.default_rng(5)
        classes = generator.permutation(np.repeat(np.arange(len(counts)), counts))
        means = 3 * generator.standard_normal((len(counts), bands))
        centres = means[classes] + noise * generator.standard_normal((len(classes), bands))
        spectra = np.repeat(centres, side * side, axis=0) + 0.1 * generator.standard_normal(
            (len(classes) * side * side, bands)
        )
        return PatchSamples(
            spectra=torch.from_numpy(spectra.astype(np.float32)),
            index=torch.arange(len(spectra), dtype=torch.int32).reshape(len(classes), -1),
            classes=torch.from_numpy(classes),
            rows=np.arange(len(classes)),
            cols=np.arange(len(classes)),
            names=tuple("abcdefgh"[: len(counts)]),
        )

    return make
