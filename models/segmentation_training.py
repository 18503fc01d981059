"""Training of segmentation networks on crops of a scene, some of whose pixels are labelled."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from .epochs import Epoch, TrainingSettings, class_weights_of, held_out_of, run_epochs
from .segmentation_networks import SegmentationNetwork
from .segmentation_samples import SegmentationSamples

_UNLABELLED = -1
# A step learns little of a network's many weights: an epoch has at least so many.
_LEAST_BATCHES = 8


def fit_segmentation(
    network: SegmentationNetwork, samples: SegmentationSamples, train: np.ndarray, settings: TrainingSettings,
    on_epoch: Callable[[Epoch], None], on_batch: Callable[[float], None],
) -> list[Epoch]:  # fmt: skip
    """Train in place, keep the weights of the best epoch, and return the history, as `run_epochs` says.

    An epoch shows every page with a training pixel in a crop that holds it, at random places and flipped at
    random, and more than once where that would be few steps. The loss counts training pixels only. A tenth of
    them (none of a class with fewer than ten) is held out for validation.
    """
    torch.manual_seed(settings.seed)
    generator = np.random.default_rng(settings.seed)
    held_out = held_out_of(samples.classes.numpy(), train, generator)
    fitted = np.setdiff1d(train, held_out)
    device = torch.device(settings.device)
    network.to(device)
    # All classes count alike, as in Gutierrez-Zaballa et al.: by the root of their numbers, small objects
    # in large surroundings were not learnt.
    weights = class_weights_of(samples.classes[torch.from_numpy(fitted)], settings, network.classes, power=1)
    loss_of = nn.CrossEntropyLoss(weight=weights.to(device), ignore_index=_UNLABELLED)
    truth, pages = samples.truth(fitted), samples.pages_with(fitted)
    held_truth, held_pages = samples.truth(held_out), samples.pages_with(held_out)
    batches = max(_LEAST_BATCHES, round(len(pages) / settings.batch_size))
    shown = max(len(pages), batches * settings.batch_size)

    def losses() -> Iterator[tuple[Tensor, int]]:
        rounds = [generator.permutation(len(pages)) for _ in range(-(-shown // len(pages)))]
        for batch in np.array_split(np.concatenate(rounds)[:shown], batches):
            corners = samples.corners(pages[batch], generator.random((len(batch), 2)))
            axes = [axis for axis in (-2, -1) if generator.random() < 0.5]
            crops = samples.crops(samples.pages, corners).flip(axes).to(device)
            classes = samples.crops(truth, corners).flip(axes).long().to(device)
            yield loss_of(network(crops), classes), int((classes != _UNLABELLED).sum())

    def validate(average: SegmentationNetwork) -> tuple[float, float]:
        if not len(held_out):
            return float("nan"), float("nan")
        return _validate(average, samples, held_truth, held_pages, loss_of, settings)

    return run_epochs(network, settings, batches, losses, validate, len(held_out) > 0, on_epoch, on_batch)


@torch.no_grad()
def _validate(
    network: SegmentationNetwork, samples: SegmentationSamples, truth: Tensor, pages: np.ndarray,
    loss_of: nn.CrossEntropyLoss, settings: TrainingSettings,
) -> tuple[float, float]:  # fmt: skip
    """Return mean loss and accuracy of the pixels of `truth`, each page in the middle of its crop.

    Where classes are weighted, the accuracy is the mean of theirs.
    """
    device = network.scaling.offset.device
    corners = samples.corners(pages, np.full(pages.shape, 0.5))
    loss, hits, counts = 0.0, torch.zeros(network.classes), torch.zeros(network.classes)
    for some in np.array_split(np.unique(corners, axis=0), -(-len(corners) // settings.batch_size)):
        if not len(some):
            continue
        logits = network(samples.crops(samples.pages, some).to(device))
        classes = samples.crops(truth, some).long().to(device)
        judged = classes != _UNLABELLED
        true = classes[judged].cpu()
        counts += torch.bincount(true, minlength=len(counts))
        right = (logits.argmax(1) == classes)[judged].cpu()
        hits += torch.bincount(true[right], minlength=len(counts))
        loss += float(loss_of(logits, classes)) * len(true)
    total = float(counts.sum())
    known = counts > 0
    accuracy = (hits[known] / counts[known]).mean() if settings.class_weights else hits.sum() / total
    return loss / total, float(accuracy)
