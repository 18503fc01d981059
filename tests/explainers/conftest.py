"""What tests of the explainers share: small networks, trained and random, and pixels to explain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from explanation_layers.models.networks import PatchNetwork, build
from explanation_layers.models.segmentation_networks import SegmentationNetwork, build_segmentation_network

BANDS, CLASSES, COMPONENTS = 26, 4, 12
# Of the images for U-Nets.
CHANNELS, SURFACES = 5, 4


@dataclass(frozen=True)
class Case:
    """A network with patches to explain: `x` and `baseline` (n, band, s, s), `weights` (n, class)."""

    network: PatchNetwork
    x: Tensor
    baseline: Tensor
    weights: Tensor

    def double(self) -> Case:
        """The same in float64, in a network of its own."""
        network = network_like(self.network).double()
        return Case(network, self.x.double(), self.baseline.double(), self.weights.double())

    def output(self, x: Tensor, weights: Tensor) -> Tensor:
        """The explained output (n,), written down once more."""
        return (self.network.logits(x).flatten(1) * weights).sum(1)


def network_like(network: PatchNetwork) -> PatchNetwork:
    """A copy of a network."""
    copied = build(
        next(name for name, made in _MADE.items() if made is network)[0],
        bands=BANDS, classes=CLASSES, patch_size=network.patch_size, normalisation="none",
        components=COMPONENTS,
    )  # fmt: skip
    copied.load_state_dict(network.state_dict())
    return copied.eval().requires_grad_(False)


_MADE: dict[tuple, PatchNetwork] = {}


def spectra(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Spectra (n, band) around 0.3 and their classes (n,): a dip of its own for each class."""
    classes = torch.randint(CLASSES, (count,), generator=generator)
    centre = 3 + 6 * classes[:, None]
    dip = torch.exp(-((torch.arange(BANDS) - centre) ** 2) / 4)
    level = 0.3 + 0.05 * torch.randn(count, 1, generator=generator)
    noise = 0.01 * torch.randn(count, BANDS, generator=generator)
    return level * (1 - 0.4 * dip) + noise, classes


@cache
def network_of(architecture: str, patch_size: int, trained: bool) -> PatchNetwork:
    """A network with scaling and projection set; trained for a moment, or as it was initialised."""
    torch.manual_seed(11)
    generator = torch.Generator().manual_seed(5)
    network = build(
        architecture, bands=BANDS, classes=CLASSES, patch_size=patch_size, normalisation="none",
        components=COMPONENTS,
    )  # fmt: skip
    known, _ = spectra(400, generator)
    network.scaling.offset.copy_(known.mean(0))
    network.scaling.scale.copy_(known.std(0))
    if network.projection is not None:
        _, _, directions = torch.linalg.svd((known - known.mean(0)) / known.std(0), full_matrices=False)
        network.projection.matrix.copy_(directions[:COMPONENTS])
    if trained:
        _train(network, generator)
    _MADE[architecture, patch_size, trained] = network
    return network.eval().requires_grad_(False)


@torch.enable_grad()
def _train(network: PatchNetwork, generator: torch.Generator) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    network.train()
    for _ in range(40):
        x, classes = patches_of(network.patch_size, 32, generator)
        loss = torch.nn.functional.cross_entropy(network.logits(x).flatten(1), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def patches_of(side: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Patches (n, band, s, s) whose middle decides the class (n,)."""
    values, classes = spectra(count * side * side, generator)
    patches = values.reshape(count, side, side, BANDS).movedim(-1, 1).contiguous()
    return patches, classes.reshape(count, side, side)[:, side // 2, side // 2]


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    # Networks this small gain nothing from a second thread, and wait for it on a busy machine.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_case() -> Callable[..., Case]:
    """Return a function that makes a case; `target` is predicted, class or contrast."""

    def make(
        architecture: str, patch_size: int, trained: bool = True, target: str = "predicted", count: int = 3
    ) -> Case:
        network = network_of(architecture, patch_size, trained)
        generator = torch.Generator().manual_seed(17)
        x, _ = patches_of(patch_size, count, generator)
        uniform = spectra(1, generator)[0][0] if target == "contrast" else network.scaling.offset
        with torch.no_grad():
            logits = network.logits(x).flatten(1)
        order = logits.argsort(1, descending=True)
        one_hot = torch.eye(CLASSES)
        weights = {
            "predicted": one_hot[order[:, 0]],
            "class": one_hot[2].expand(count, -1),
            "contrast": one_hot[order[:, 0]] - one_hot[order[:, 1]],
        }[target]
        return Case(network, x, uniform[:, None, None].expand_as(x).contiguous(), weights.contiguous())

    return make


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference over the largest absolute value of `theirs`."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.fixture(scope="session", name="relative_difference")
def _relative_difference() -> Callable[[Tensor, Tensor], float]:
    return relative_difference


def stripes(height: int = 24, width: int = 32, seed: int = 3, count: int = 1) -> tuple[Tensor, Tensor]:
    """Images (n, band, y, x) of stripes, and their classes (n, y, x)."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(SURFACES, (count, height // 8, width // 8), generator=generator)
    classes = classes.repeat_interleave(8, 1).repeat_interleave(8, 2)
    spectra = torch.rand(SURFACES, CHANNELS, generator=torch.Generator().manual_seed(1))
    noise = 0.1 * torch.randn(count, CHANNELS, height, width, generator=generator)
    return spectra[classes].movedim(-1, 1) + noise, classes


@cache
def unet(trained: bool, dtype: torch.dtype = torch.float32, explainable: bool = True) -> SegmentationNetwork:
    """A network of depth 2 with 6 filters, its norms and biases set; trained for a moment, or random."""
    torch.manual_seed(7)
    network = build_segmentation_network(
        "unet", bands=CHANNELS, classes=SURFACES, normalisation="none", depth=2, filters=6
    )
    network.scaling.offset += 0.4
    network.scaling.scale *= 0.3
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.bias.data.normal_(std=0.3)
            part.running_mean.normal_(std=0.3)
            part.running_var.uniform_(0.5, 2)
    if trained:
        _train_unet(network)
    network = network.eval().requires_grad_(False).to(dtype)
    return network.explainable() if explainable else network


@torch.enable_grad()
def _train_unet(network: SegmentationNetwork) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    network.train()
    for step in range(25):
        x, classes = stripes(seed=100 + step, count=2)
        loss = nn.functional.cross_entropy(network.logits(x), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.fixture(scope="session", name="unet")
def _unet() -> Callable[..., SegmentationNetwork]:
    return unet


@pytest.fixture(scope="session", name="stripes")
def _stripes() -> Callable[..., tuple[Tensor, Tensor]]:
    return stripes
