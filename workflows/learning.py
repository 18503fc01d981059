"""What a learner, of whichever kind of network, hands back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..models.epochs import Epoch
from ..models.networks import PatchNetwork
from ..models.segmentation_networks import SegmentationNetwork


class Learnt(NamedTuple):
    """A trained network, its history, and the classes int64 (n,) that it gives the test pixels.

    `shared_share` is the share of test pixels whose field of view shares a pixel with a training pixel's.
    """

    network: PatchNetwork | SegmentationNetwork
    history: list[Epoch]
    predicted: np.ndarray
    shared_share: float
