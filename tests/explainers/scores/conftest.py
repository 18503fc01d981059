"""What tests of scores share: inputs, and the weights of a model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

SIDE = 10


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.rand(3, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def weight() -> Tensor:
    return torch.randn(2, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
