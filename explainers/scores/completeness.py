"""Whether contributions add up to the change of the output that they share out."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Completeness(NamedTuple):
    """Absolute residual and absolute difference of the output, each (n,)."""

    residual: Tensor
    difference: Tensor


def completeness(values: Tensor, output: Tensor, baseline_output: Tensor) -> Completeness:
    """Compare the sums of maps (n, band, y, x) with the outputs (n,) of the inputs and of their baselines.

    The residual over the difference is the relative one; over many inputs divide the means, since an
    input whose output is that of its baseline has no ratio of its own.
    """
    difference = (output - baseline_output).double()
    residual = values.double().sum((1, 2, 3)) - difference
    return Completeness(residual.abs(), difference.abs())
