"""Whether contributions add up to the logits that they explain: what every method must report.

    residual rho = y - (sum of parts + reference),  relative eps = |rho| / max(|y|, 1e-6 + median of |y|)

Bias terms of tangent contributions are their reference. Grades: A exact (largest eps below 1e-4, in float32),
B approximate (95th percentile below 1e-2), C not conservative.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .pixel_maps import PixelMap, leakage

EXACT, NEARLY = 1e-4, 1e-2
_TINY = 1e-30


@dataclass(frozen=True)
class Finding:
    """What one target says of a method: the terms that should add up, and how they are spread.

    `output`: the target's output y; `parts`: sum of the contributions, `sizes`: of their absolute values;
    `reference`: what they start from. `leakage`: share of the absolute values where nothing can reach the
    target, NaN where there is no map. `resize_defect`: what enlarging a coarse map changes of its mean.
    """

    output: float
    parts: float
    sizes: float
    reference: float
    leakage: float = float("nan")
    resize_defect: float = float("nan")

    @property
    def residual(self) -> float:
        """What parts and reference leave of the output."""
        return self.output - self.parts - self.reference

    @property
    def reference_share(self) -> float:
        """|reference| in the sum of the absolute values of all terms; of tangents, the biases' share."""
        return abs(self.reference) / max(self.sizes + abs(self.reference), _TINY)

    @property
    def cancellation(self) -> float:
        """Sum of the parts' absolute values over the absolute value of their sum: large is unstable."""
        return self.sizes / max(abs(self.parts), _TINY) if self.sizes else float("nan")


def finding_of_map(found: PixelMap, reach: tuple[int, int]) -> Finding:
    """Return what a map at the input's resolution says; `reach` (rows, columns) as that of `leakage`.

    Summed in float64, so that the sum adds no rounding of its own.
    """
    values = found.values.double()
    return Finding(
        float(found.output), float(values.sum()), float(values.abs().sum()), float(found.reference),
        leakage(found, reach),
    )  # fmt: skip


def findings_of_parts(output: Tensor, parts: Tensor, reference: Tensor) -> list[Finding]:
    """Return what n targets with contributions of parts (part, n) say; `output` and `reference` (n,)."""
    sums, sizes = parts.double().sum(0), parts.double().abs().sum(0)
    rows = zip(output.tolist(), sums.tolist(), sizes.tolist(), reference.tolist())
    return [Finding(*row) for row in rows]


def finding_of_cam(output: float, raw: Tensor, shown: Tensor, outside: Tensor) -> Finding:
    """Return what a class activation map says.

    `raw` (y, x) are its coarse cells, `shown` (Y, X) what is displayed, enlarged; `outside` bool (Y, X):
    pixels that can't reach the target. Its reference is 0.
    """
    cells, display = raw.double(), shown.double()
    scale = display.numel() / cells.numel()
    size = display.abs().sum()
    return Finding(
        output, float(cells.sum()), float(cells.abs().sum()), 0.0,
        float(display[outside].abs().sum() / size.clamp_min(_TINY)),
        float(display.sum() / scale - cells.sum()),
    )  # fmt: skip


@dataclass(frozen=True)
class Audit:
    """What the targets together say of a method: numbers over all of them.

    `relative` (n,): eps of each target. `median`, `high` (95th percentile) and `largest` are its quantiles,
    `exact_share` the share below 1e-4, `worst` the number of the target with the largest. The others are
    means (`cancellation`: a median) over the targets where they are known, NaN where they are for none.
    """

    targets: int
    relative: Tensor = field(repr=False)
    median: float
    high: float
    largest: float
    exact_share: float
    worst: int
    largest_residual: float
    reference_share: float
    cancellation: float
    leakage: float
    resize_defect: float

    @property
    def grade(self) -> str:
        """A: exact; B: approximate; C: not conservative."""
        if self.largest < EXACT:
            return "A"
        return "B" if self.high < NEARLY else "C"


def audit(findings: Sequence[Finding]) -> Audit:
    """Return what findings together say; ValueError where there is none."""
    if not findings:
        raise ValueError("There is no target to audit.")
    output = torch.tensor([each.output for each in findings], dtype=torch.float64).abs()
    residual = torch.tensor([each.residual for each in findings], dtype=torch.float64).abs()
    floor = 1e-6 + float(output.quantile(0.5))
    relative = residual / output.clamp_min(floor)
    return Audit(
        targets=len(findings),
        relative=relative,
        median=float(relative.quantile(0.5)),
        high=float(relative.quantile(0.95)),
        largest=float(relative.max()),
        exact_share=float((relative < EXACT).double().mean()),
        worst=int(relative.argmax()),
        largest_residual=float(residual.max()),
        reference_share=_mean(each.reference_share for each in findings),
        cancellation=float(_known(each.cancellation for each in findings).nanquantile(0.5)),
        leakage=_mean(each.leakage for each in findings),
        resize_defect=_mean(abs(each.resize_defect) for each in findings),
    )


def _known(values: Iterable[float]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.float64)


def _mean(values: Iterable[float]) -> float:
    return float(_known(values).nanmean())
