"""The audit's numbers by hand, and the grades that methods earn on a trained U-Net."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from explanation_layers.explainers.audit import (
    Finding,
    audit,
    finding_of_cam,
    finding_of_map,
    findings_of_parts,
)
from explanation_layers.explainers.pixel_maps import PixelMaps
from explanation_layers.explainers.seg_cams import SegmentationCams

PIXELS = [(3, 4), (20, 9), (13, 30), (22, 17), (8, 8), (16, 25)]


def test_numbers_of_targets_by_hand() -> None:
    findings = [
        Finding(output=2.0, parts=1.0, sizes=3.0, reference=1.0, leakage=0.1),
        Finding(output=-4.0, parts=-3.0, sizes=3.0, reference=-0.9),
        Finding(output=0.0, parts=0.1, sizes=0.5, reference=0.0),
    ]
    found = audit(findings)
    assert found.targets == 3 and found.worst == 2
    # Of 0, 0.1 / 4 and 0.1 / (1e-6 + 2).
    assert found.relative.tolist() == pytest.approx([0, 0.025, 0.05], abs=1e-6)
    assert found.median == pytest.approx(0.025) and found.largest == pytest.approx(0.05, abs=1e-6)
    assert found.high == pytest.approx(0.0475, abs=1e-6) and found.exact_share == pytest.approx(1 / 3)
    assert found.largest_residual == pytest.approx(0.1)
    assert found.reference_share == pytest.approx((0.25 + 0.9 / 3.9 + 0) / 3)
    assert found.cancellation == pytest.approx(3) and found.leakage == pytest.approx(0.1)
    assert math.isnan(found.resize_defect) and found.grade == "C"


@pytest.mark.parametrize(("errors", "grade"), [
    ([0, 9e-5], "A"), ([0, 2e-4], "B"), ([5e-3] * 30 + [0.5], "B"), ([0.02, 0.02], "C"),
])  # fmt: skip
def test_grades(errors: list[float], grade: str) -> None:
    assert audit([Finding(1.0, 1.0 - error, 1.0, 0.0) for error in errors]).grade == grade


def test_nothing_to_audit_is_an_error() -> None:
    with pytest.raises(ValueError, match="no target"):
        audit([])


def test_parts_of_several_targets() -> None:
    parts = torch.tensor([[1.0, -2.0], [3.0, 1.0]])
    one, other = findings_of_parts(torch.tensor([5.0, 0.0]), parts, torch.tensor([1.0, 1.0]))
    assert (one.residual, one.sizes, one.cancellation) == (0, 4, 1)
    assert (other.residual, other.sizes, other.cancellation) == (0, 3, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_secants_and_tangents_are_exact_and_the_others_are_not(
    unet: Callable, stripes: Callable, dtype: torch.dtype
) -> None:
    network, image = unet(True, dtype), stripes()[0][0].to(dtype)
    maps = PixelMaps(network, image, image.mean((1, 2)))
    predicted = network.logits(image[None])[0].argmax(0)
    weights = torch.stack([torch.eye(4)[predicted[pixel]] for pixel in PIXELS])
    reach = (network.reach, network.reach)

    def audited(made: object) -> object:
        return audit([finding_of_map(found, reach) for _, found in made])

    secants, tangents = (audited(maps.propagated(PIXELS, weights, rule)) for rule in ("secant", "tangent"))
    assert secants.grade == tangents.grade == "A" and secants.leakage == 0
    assert secants.largest <= (1e-4 if dtype == torch.float32 else 1e-10)
    assert audited(maps.input_x_gradient(PIXELS, weights)).grade == "C"
    integrated = [audited(maps.integrated(PIXELS, weights, steps)) for steps in (3, 60)]
    assert integrated[1].largest < integrated[0].largest

    cams = SegmentationCams(network, image, "bottom")
    targets = torch.zeros(len(PIXELS), *cams.logits.shape, dtype=dtype)
    for target, pixel in zip(targets, PIXELS):
        target[predicted[pixel], pixel[0], pixel[1]] = 1
    outside = torch.ones(24, 32, dtype=torch.bool)
    outside[:, 8:24] = False
    findings = [
        finding_of_cam(float((cams.logits * target).sum()), cam.raw, cam.shown, outside)
        for target, cam in zip(targets, cams.cams(targets))
    ]
    found = audit(findings)
    assert found.grade == "C" and found.leakage > 0 and found.resize_defect > 0
