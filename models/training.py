"""Training of pixel and patch classifiers on the CPU or a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from .epochs import Epoch, TrainingSettings, class_weights_of, held_out_of, run_epochs
from .networks import PatchNetwork
from .samples import PatchSamples
from .segmentation_networks import SegmentationNetwork

_PREDICTION_BATCH = 256


def set_scaling(network: PatchNetwork | SegmentationNetwork, spectra: Tensor) -> None:
    """Set the scaling of the prepared bands from training spectra (n, band), in the raster's values.

    `standard` and `per_pixel` centre and scale each band of the prepared spectra; `none` divides all
    bands by one number, their root mean square.
    """
    prepared = network.prepare(spectra[:, :, None, None])[:, :, 0, 0].double()
    if network.normalisation == "none":
        network.scaling.scale.fill_(float(prepared.square().mean().sqrt().clamp_min(1e-12)))
    else:
        network.scaling.offset.copy_(prepared.mean(0))
        deviation = prepared.std(0, correction=0)
        network.scaling.scale.copy_(torch.where(deviation > 1e-12, deviation, 1.0))


def set_statistics(network: PatchNetwork, samples: PatchSamples, train: np.ndarray) -> None:
    """Set band scaling, and the projection where there is one, from the training pixels alone.

    The scaling is that of `set_scaling`. The projection is whitened PCA (of the training patches).
    """
    chosen = torch.from_numpy(train)
    set_scaling(network, samples.centres(chosen))
    if (projection := network.projection) is not None:
        around = torch.unique(samples.index[chosen].long())
        step = max(1, len(around) // 20_000)
        pixels = network.prepare(samples.spectra[around[::step]][:, :, None, None])
        scaled = network.scaling(pixels)[:, :, 0, 0].double()
        _, values, directions = torch.linalg.svd(scaled - scaled.mean(0), full_matrices=False)
        count = min(len(projection.matrix), len(values))
        values = values.clamp_min(max(1e-6 * float(values[0]), 1e-12)) / len(scaled) ** 0.5
        # The sign of a singular vector is arbitrary: fix it, so that the same data give the same weights.
        signs = torch.sign(directions.gather(1, directions.abs().argmax(1, keepdim=True)))
        projection.matrix.zero_()
        projection.matrix[:count] = (directions * signs / values[:, None])[:count].float()


def fit(
    network: PatchNetwork, samples: PatchSamples, train: np.ndarray, settings: TrainingSettings,
    on_epoch: Callable[[Epoch], None], on_batch: Callable[[float], None],
) -> list[Epoch]:  # fmt: skip
    """Train in place, keep the weights of the best epoch, and return the history, as `run_epochs` says.

    A tenth of the training samples of each class (none of a class with fewer than ten) is held out for
    validation: the last epoch of highest accuracy is kept; without any, that of lowest training loss.
    Patches are flipped at random.
    """
    torch.manual_seed(settings.seed)
    generator = np.random.default_rng(settings.seed)
    held_out = held_out_of(samples.classes.numpy(), train, generator)
    fitted = np.setdiff1d(train, held_out)
    device = torch.device(settings.device)
    network.to(device)
    weights = class_weights_of(samples.classes[torch.from_numpy(fitted)], settings, network.classes)
    loss_of = nn.CrossEntropyLoss(weight=weights.to(device))
    batches = max(1, round(len(fitted) / settings.batch_size))

    def losses() -> Iterator[tuple[Tensor, int]]:
        order = generator.permutation(fitted)
        for batch in np.array_split(order, batches):
            chosen = torch.from_numpy(batch)
            patches = _flipped(samples.patches(chosen), generator).to(device)
            yield loss_of(network(patches).flatten(1), samples.classes[chosen].to(device)), len(batch)

    def validate(average: PatchNetwork) -> tuple[float, float]:
        return _validate(average, samples, held_out, loss_of, device)

    return run_epochs(network, settings, batches, losses, validate, len(held_out) > 0, on_epoch, on_batch)


def predict(
    network: PatchNetwork, samples: PatchSamples, chosen: np.ndarray, check: Callable[[], None]
) -> np.ndarray:
    """Return the predicted class of each chosen sample, int64 (n,); `check` may raise to stop."""
    predicted = []
    with torch.no_grad():
        for start in range(0, len(chosen), _PREDICTION_BATCH):
            check()
            batch = torch.from_numpy(chosen[start : start + _PREDICTION_BATCH])
            predicted.append(network(samples.patches(batch)).flatten(1).argmax(1).numpy())
    return np.concatenate(predicted)


def _flipped(patches: Tensor, generator: np.random.Generator) -> Tensor:
    """Flip a batch left-right, top-bottom, both or not at all."""
    if patches.shape[-1] > 1:
        axes = [axis for axis in (2, 3) if generator.random() < 0.5]
        return patches.flip(axes) if axes else patches
    return patches


def _validate(
    network: PatchNetwork, samples: PatchSamples, chosen: np.ndarray, loss_of: nn.Module, device: torch.device
) -> tuple[float, float]:
    if not len(chosen):
        return float("nan"), float("nan")
    loss = hits = 0.0
    with torch.no_grad():
        for start in range(0, len(chosen), _PREDICTION_BATCH):
            batch = torch.from_numpy(chosen[start : start + _PREDICTION_BATCH])
            logits = network(samples.patches(batch).to(device)).flatten(1)
            truth = samples.classes[batch].to(device)
            loss += float(loss_of(logits, truth)) * len(batch)
            hits += float((logits.argmax(1) == truth).sum())
    return loss / len(chosen), hits / len(chosen)
