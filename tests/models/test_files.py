"""Model files: the same model comes back, and what is not such a file is refused in a sentence."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from explanation_layers.models.card import PIXEL_CLASSIFICATION, Card, CardBand, card_classes
from explanation_layers.models.files import Model, Spectra, load_model, save_model
from explanation_layers.rasters.errors import InputError

BANDS, CLASSES = 12, 3
KEY = "explanation_layers"


def a_card(architecture: str = "spectral_cnn", **options: object) -> Card:
    """Return a card for 13 bands of which the second holds no data."""
    every = tuple(CardBand(f"b{i}", 400.0 + 10 * i, None, i != 1) for i in range(BANDS + 1))
    options = {
        "bands": BANDS, "classes": CLASSES, "patch_size": 1, "normalisation": "standard", "components": 5,
        **options,
    }  # fmt: skip
    classes = card_classes(["water", "Grünland", "a <b>"])
    return Card(PIXEL_CLASSIFICATION, architecture, options, every, classes, {"seed": 1})


def some_spectra() -> Spectra:
    generator = torch.Generator().manual_seed(2)
    return Spectra(
        torch.rand(BANDS, generator=generator),
        torch.rand(CLASSES, BANDS, generator=generator),
        torch.rand(7, BANDS, generator=generator),
    )


@pytest.fixture
def saved(tmp_path: Path, make_network: Callable) -> tuple[Path, torch.nn.Module, Card]:
    """A written model: its file, its network, its card."""
    network = make_network("spectral_cnn", BANDS, CLASSES, 1)
    path = tmp_path / "model.safetensors"
    return path, network, save_model(str(path), network, some_spectra(), a_card())


def read(path: Path) -> Model:
    return load_model(str(path), PIXEL_CLASSIFICATION)


def refused(path: Path, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        read(path)
    text = str(caught.value)
    assert str(path) in text and text.endswith(".") and "\n" not in text


def rewrite(path: Path, change: Callable[[dict, dict], None]) -> None:
    """Write the file again after `change(tensors, card)`, without a new digest."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    card = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][KEY])
    tensors = load(content)
    change(tensors, card)
    path.write_bytes(save(tensors, metadata={KEY: json.dumps(card)}))


@pytest.mark.parametrize(
    ("architecture", "side"), [("spectral_cnn", 1), ("spatial_cnn", 5), ("hybrid_cnn", 9)]
)
def test_a_model_comes_back_as_it_was(tmp_path, make_network, architecture, side) -> None:
    network = make_network(architecture, BANDS, CLASSES, side, "per_pixel", 5)
    path = tmp_path / "model.safetensors"
    card = a_card(architecture, patch_size=side, normalisation="per_pixel")
    written = save_model(str(path), network, some_spectra(), card)
    model = read(path)
    assert model.card == written and replace(written, digest="") == card
    assert len(written.digest) == 64
    x = torch.rand(2, BANDS, side + 2, side + 1)
    assert torch.equal(model.network(x), network(x))
    for name, value in vars(some_spectra()).items():
        assert torch.equal(getattr(model.spectra, name), value)
    assert not model.network.training
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


def test_equal_models_are_equal_bytes_and_read_by_others_too(saved, tmp_path) -> None:
    path, network, card = saved
    again = tmp_path / "again.safetensors"
    assert save_model(str(again), network, some_spectra(), a_card()) == card
    assert path.read_bytes() == again.read_bytes()
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_digest_depends_on_weights_and_on_the_card(saved, tmp_path, make_network) -> None:
    _, network, card = saved
    path = str(tmp_path / "other.safetensors")
    recorded = replace(a_card(), training={"seed": 2})
    assert save_model(path, network, some_spectra(), recorded).digest != card.digest
    other = make_network("spectral_cnn", BANDS, CLASSES, 1)
    with torch.no_grad():
        other.body[-1].bias[0] += 1e-6
    assert save_model(path, other, some_spectra(), a_card()).digest != card.digest


class Trap:
    """An object whose unpickling makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_not_opened(tmp_path, protocol: int) -> None:
    path, sprung = tmp_path / "model.safetensors", tmp_path / "sprung"
    path.write_bytes(pickle.dumps(Trap(sprung), protocol))
    refused(
        path, "pickle or a PyTorch checkpoint, .* not opened" if protocol > 1 else "is not a .safetensors"
    )
    assert not sprung.exists()
    pickle.loads(path.read_bytes())
    assert sprung.exists(), "the trap works where it is sprung"


@pytest.mark.parametrize("legacy", [False, True])
def test_a_torch_checkpoint_is_not_opened(tmp_path, legacy: bool) -> None:
    path, sprung = tmp_path / "model.ckpt", tmp_path / "sprung"
    torch.save(
        {"state_dict": {"w": torch.zeros(3)}, "trap": Trap(sprung)},
        path,
        _use_new_zipfile_serialization=not legacy,
    )
    assert zipfile.is_zipfile(path) is not legacy
    refused(path, "pickle or a PyTorch checkpoint, which can run any code")
    assert not sprung.exists()


def test_a_real_checkpoint_is_not_opened(shared: Path) -> None:
    checkpoints = sorted((shared / "data" / "enmap_potsdam" / "model").glob("*.ckpt"))
    if not checkpoints:
        pytest.skip("needs the EnMAP checkpoint")
    refused(checkpoints[0], "pickle or a PyTorch checkpoint")


@pytest.mark.parametrize("kept", [0, 1, 8, 9, 100, 0.3, 0.5, 0.9, -1])
def test_a_file_cut_short_is_told(saved, kept: float) -> None:
    path = saved[0]
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    refused(path, "cut short")


def test_a_longer_file_is_told(saved) -> None:
    path = saved[0]
    path.write_bytes(path.read_bytes() + b"\0")
    refused(path, "cut short or damaged")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), in_header=st.booleans())
def test_any_flipped_bit_is_noticed(saved, tmp_path, place: float, bit: int, in_header: bool) -> None:
    content = bytearray(saved[0].read_bytes())
    size = 8 + int.from_bytes(content[:8], "little") if in_header else len(content)
    content[int(place * size)] ^= 1 << bit
    path = tmp_path / "flipped.safetensors"
    path.write_bytes(content)
    try:
        model = read(path)
    except InputError as error:
        assert str(path) in str(error)
    else:
        # White space may change in the header; nothing else may.
        assert model.card == saved[2]
        x = torch.rand(4, BANDS, 1, 1)
        assert torch.equal(model.network(x), saved[1](x))


def test_changed_weights_are_told(saved) -> None:
    path, network, _ = saved
    last = f"network.body.{len(network.body) - 1}.bias"
    rewrite(path, lambda tensors, card: tensors[last].add_(0.5))
    refused(path, "changed after it was written")


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, card: card["classes"][0].update(name="maize"),
        lambda tensors, card: card["classes"].reverse(),
        lambda tensors, card: card["training"].update(overall_accuracy=1.0),
        lambda tensors, card: card["bands"][0].update(wavelength_nm=1.0),
        lambda tensors, card: card.update(task="scene_classification"),
        lambda tensors, card: card.update(digest="0" * 64),
        lambda tensors, card: tensors.pop("spectra.background"),
        lambda tensors, card: tensors.update(more=torch.zeros(2)),
        lambda tensors, card: tensors.update({"spectra.mean": tensors["spectra.mean"].double()}),
    ],
)
def test_an_edited_card_or_tensor_is_told(saved, change: Callable) -> None:
    rewrite(saved[0], change)
    refused(saved[0], "changed after it was written")


def test_a_model_of_another_task_is_told(saved) -> None:
    path, network, _ = saved
    save_model(str(path), network, some_spectra(), replace(a_card(), task="scene_classification"))
    refused(path, "was made for scene classification, not for pixel classification; choose another model")


def test_an_unknown_architecture_is_told(saved) -> None:
    path, network, _ = saved
    save_model(str(path), network, some_spectra(), replace(a_card(), architecture="vision_transformer"))
    refused(path, "is a 'vision_transformer', which this version does not know; update the plugin")


@pytest.mark.parametrize(
    "card",
    [
        a_card("spatial_cnn"),
        a_card(bands=20),
        a_card(classes=2),
        a_card(colour="red"),
        replace(a_card(), options={}),
        replace(a_card(), bands=a_card().bands[1:]),
        replace(a_card(), bands=a_card().bands[2:]),
        replace(a_card(), classes=card_classes(["one", "two"])),
    ],
)
def test_weights_that_do_not_fit_their_card_are_told(saved, card: Card) -> None:
    path, network, _ = saved
    save_model(str(path), network, some_spectra(), card)
    refused(path, "weights in .* do not fit its model card")


def test_spectra_that_do_not_fit_their_card_are_told(saved) -> None:
    path, network, _ = saved
    spectra = some_spectra()
    for change in ({"mean": torch.zeros(4)}, {"class_means": torch.zeros(2, BANDS)}):
        save_model(str(path), network, replace(spectra, **change), a_card())
        refused(path, "do not fit its model card")


def test_weights_without_a_card_are_told(tmp_path) -> None:
    path = tmp_path / "weights.safetensors"
    for metadata in (None, {"format": "pt"}):
        path.write_bytes(save({"weight": torch.zeros(3)}, metadata=metadata))
        refused(path, "holds weights but no model card")


@pytest.mark.parametrize("card", ["", "[]", "{}", "null", '{"bands": 3}', '{"bands": [1], "classes": []}'])
def test_a_card_that_is_none_is_told(tmp_path, card: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(save({"weight": torch.zeros(3)}, metadata={KEY: card}))
    refused(path, "model card in .* can't be read")


def test_other_files_are_told(tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    for content in (b"", b"Hello, this is a text.", b"II*\0" * 100):
        path.write_bytes(content)
        refused(path, "is not a .safetensors file, or is cut short")


def test_what_is_not_there_is_told(tmp_path) -> None:
    refused(tmp_path / "none.safetensors", "There is no model file")
    refused(tmp_path, "There is no model file")
