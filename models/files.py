"""Model files: one `.safetensors` file with weights, reference spectra and card; nothing in it executes."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..rasters.errors import InputError
from .autoencoder import AUTOENCODERS, build_autoencoder
from .card import PIXEL_CLASSIFICATION, SCENE_CLASSIFICATION, SERIES_AUTOENCODER, UNMIXING, Card
from .networks import ARCHITECTURES, PatchNetwork, build
from .scene_networks import SCENE_ARCHITECTURES, SceneNetwork, build_scene_network
from .segmentation_networks import (
    SEGMENTATION_ARCHITECTURES,
    SegmentationNetwork,
    build_segmentation_network,
)
from .unmixers import UNMIXERS, build_unmixer

_KEY = "explanation_layers"
_WEIGHTS = "network."
_SPECTRA = "spectra."
# A .safetensors file starts with the length of its header, 8 bytes, and the header, a JSON object.
_LONGEST_HEADER = 2**32
_ARCHITECTURES = {
    PIXEL_CLASSIFICATION: (*ARCHITECTURES, *SEGMENTATION_ARCHITECTURES),
    SCENE_CLASSIFICATION: SCENE_ARCHITECTURES,
    SERIES_AUTOENCODER: tuple(AUTOENCODERS),
    UNMIXING: tuple(UNMIXERS),
}

Network = PatchNetwork | SceneNetwork | SegmentationNetwork


@dataclass(frozen=True)
class Spectra:
    """Spectra of the training pixels, in the raster's values over the bands that the model reads.

    `mean` (band,), `class_means` (class, band), `background` (n, band): a sample of training spectra. An
    autoencoder has dimensions for classes, whose means are all the same; of unmixing the class means are the
    endmembers.
    """

    mean: Tensor
    class_means: Tensor
    background: Tensor


@dataclass(frozen=True)
class Model:
    """A model read back: the network in evaluation mode without gradients, its spectra, its card.

    `network` is a PatchNetwork, or the explainable copy of a SegmentationNetwork or a SceneNetwork, as the
    card's task and architecture say.
    """

    network: Network
    spectra: Spectra
    card: Card

    @property
    def patch_size(self) -> int:
        """Side of the patches or chips that the network classifies; TypeError where it classifies windows."""
        if isinstance(self.network, SegmentationNetwork):
            raise TypeError("A segmentation network has no patches.")
        return self.network.patch_size


def save_model(path: str, network: Network, spectra: Spectra, card: Card) -> Card:
    """Write the model to `path` and return its card with the digest set."""
    tensors = {_WEIGHTS + name: value for name, value in network.state_dict().items()}
    tensors |= {_SPECTRA + name: value for name, value in vars(spectra).items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    card = replace(card, digest=_digest(tensors, card))
    # Not `save_file`: it lets nobody else read the file, and tells of a full disk by no OSError.
    with open(path, "wb") as file:
        file.write(save(tensors, metadata={_KEY: json.dumps(card.to_dict())}))
    return card


def load_model(path: str, *tasks: str) -> Model:
    """Read the model at `path`, made for one of `tasks`.

    Raises InputError where the file is not there, a pickle, cut short, changed since it was written,
    not a model of ours, or of another task.
    """
    _refuse_other_formats(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"The model file {path} is cut short or damaged ({error}); copy or train it again."
        ) from error
    card = _read_card(path, metadata)
    if _digest(tensors, card) != card.digest:
        raise InputError(
            f"The model file {path} was changed after it was written (its digest does not fit); "
            "get it again from where it came from."
        )
    if card.task not in tasks:
        raise InputError(
            f"The model file {path} was made for {_readable(card.task)}, "
            f"not for {' or '.join(map(_readable, tasks))}; choose another model."
        )
    if card.architecture not in _ARCHITECTURES[card.task]:
        raise InputError(
            f"The model in {path} is a '{card.architecture}', which this version does not know; "
            "update the plugin."
        )
    try:
        return Model(_network(card, tensors), _spectra(card, tensors), card)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"The weights in {path} do not fit its model card; train the model again."
        ) from error


def _refuse_other_formats(path: str) -> None:
    if not os.path.isfile(path):
        raise InputError(f"There is no model file {path}; choose a .safetensors file.")
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError as error:
        raise InputError(f"The model file {path} can't be read ({error.strerror}).") from error
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") < _LONGEST_HEADER:
        return
    if start[:2] == b"PK" or start[:1] == b"\x80":
        raise InputError(
            f"The model file {path} is a Python pickle or a PyTorch checkpoint, which can run any code when "
            "it is opened, so it was not opened; choose a .safetensors file."
        )
    raise InputError(f"The model file {path} is not a .safetensors file, or is cut short; choose another.")


def _read_card(path: str, metadata: dict[str, str]) -> Card:
    if _KEY not in metadata:
        raise InputError(
            f"The file {path} holds weights but no model card; choose a model that was trained here."
        )
    try:
        return Card.from_dict(json.loads(metadata[_KEY]))
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"The model card in {path} can't be read ({error}); update the plugin or train the model again."
        ) from error


def _network(card: Card, tensors: dict[str, Tensor]) -> Network:
    network = _build(card)
    if (network.bands, network.classes) != (len(card.used_bands), len(card.classes)):
        raise ValueError("another number of bands or classes")
    network.load_state_dict(_part(tensors, _WEIGHTS))
    network.eval().requires_grad_(False)
    return network if isinstance(network, PatchNetwork) else network.explainable()


def _build(card: Card) -> Network:
    if card.task == SCENE_CLASSIFICATION:
        return build_scene_network(card.architecture, **card.options)
    if card.task == SERIES_AUTOENCODER:
        return build_autoencoder(card.architecture, **card.options)
    if card.task == UNMIXING:
        return build_unmixer(card.architecture, **card.options)
    if card.architecture in SEGMENTATION_ARCHITECTURES:
        return build_segmentation_network(card.architecture, **card.options)
    return build(card.architecture, **card.options)


def _spectra(card: Card, tensors: dict[str, Tensor]) -> Spectra:
    spectra = Spectra(**_part(tensors, _SPECTRA))
    bands, classes = len(card.used_bands), len(card.classes)
    shapes = [tuple(tensor.shape) for tensor in (spectra.mean, spectra.class_means, spectra.background)]
    if shapes != [(bands,), (classes, bands), (len(spectra.background), bands)]:
        raise ValueError("spectra of another shape")
    return spectra


def _readable(task: str) -> str:
    return task.replace("_", " ")


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    # Copies: the tensors read the file as long as they are used, and a file may be replaced.
    return {name.removeprefix(prefix): t.clone() for name, t in tensors.items() if name.startswith(prefix)}


def _digest(tensors: dict[str, Tensor], card: Card) -> str:
    """SHA-256 over names, shapes and bytes of the tensors and over the card without its digest."""
    total = hashlib.sha256(json.dumps(replace(card, digest="").to_dict(), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
