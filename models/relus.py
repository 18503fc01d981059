"""Networks whose ReLUs and maxima can be followed backward by other rules, and their inner maps looked at.

Rules and looks belong to one run of one thread: other threads run the same network undisturbed.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..rasters.errors import InputError

_FUNCTIONS = (torch.relu, torch.relu_, nn.functional.relu, nn.functional.relu_)
_METHODS = ("relu", "relu_")
# Keeps a segment of no length from a division by zero; far below any difference that float32 can hold.
_TINY = 1e-30
_active = threading.local()


@dataclass
class Rule:
    """The rule that ReLUs and maxima follow backward, by `name`: to be changed between two runs backward.

    `gradient`, `guided` (Springenberg et al. 2015, arXiv:1412.6806) or `deconvolution` (Zeiler & Fergus 2014,
    arXiv:1311.2901). `secant`, to be set before the run forward and kept: rows are points of a path, and
    each stands for the segment from it to the next row; what the last point of a path gets back must be 0.
    """

    name: str = "gradient"


@dataclass
class Record:
    """What a forward run leaves: maps at the taps by name. `rule` is the one that backward runs follow.

    ReLUs hold on to the rule alone: with the maps they would hold themselves, and never be freed.
    """

    rule: Rule = field(default_factory=Rule)
    taps: dict[str, Tensor] = field(default_factory=dict)


@contextmanager
def recording(record: Record) -> Iterator[None]:
    """Let what this thread runs forward be recorded, and go backward by the record's rule of that moment."""
    before = getattr(_active, "record", None)
    _active.record = record
    try:
        yield
    finally:
        _active.record = before


class _FollowedReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rule: Rule) -> Tensor:
        output = torch.relu(x)
        ctx.rule = rule
        ctx.save_for_backward(output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (output,), (gradient,) = ctx.saved_tensors, gradients
        if ctx.rule.name != "gradient":
            gradient = gradient.clamp_min(0)
        if ctx.rule.name != "deconvolution":
            gradient = torch.ops.aten.threshold_backward(gradient, output, 0)
        return gradient, None


def secants(path: Tensor, stride: int = 1) -> Tensor:
    """Secants (n, segment, ...) of a ReLU between every `stride`-th of the points (n, point, ...).

    (max(z1, 0) - max(z0, 0)) / (z1 - z0) is the larger of the two over their distance, held between 0 and
    1: no difference of nearly equal numbers is divided, and where z1 = z0 it is the derivative.
    """
    first, last = path[:, :-1:stride], path[:, stride::stride]
    distance = (last - first).abs_().add_(_TINY)
    return torch.maximum(first, last).div_(distance).clamp_(0, 1)


class _SecantReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.relu(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,), (gradient,) = ctx.saved_tensors, gradients
        # Also between paths: there the gradient is 0.
        slopes = secants(x[None])[0]
        result = torch.zeros_like(x)
        result[:-1] = slopes.mul_(gradient[:-1])
        return result


class _SecantMaxPool(torch.autograd.Function):
    """The share of a change of the maximum that each of the two maxima's places has in it.

    A window's maximum moves from the place k' to k. With a = z1[k] - z1[k'] and b = z0[k'] - z0[k], neither
    below 0, t = a / (a + b) of the gradient goes to k and the rest to k': times the changes there,
    t (z1[k] - z0[k]) + (1 - t) (z1[k'] - z0[k']), that is exactly z1[k] - z0[k'].
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *window: Any) -> Tensor:
        output, places = torch.ops.aten.max_pool2d_with_indices(x, *window)
        ctx.window = window
        ctx.save_for_backward(x, output, places)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x, output, places), (gradient,) = ctx.saved_tensors, gradients

        def values_at(x: Tensor, places: Tensor) -> Tensor:
            return x.flatten(2).gather(2, places.flatten(2)).view(places.shape)

        start = output[:-1] - values_at(x[:-1], places[1:])
        end = output[1:] - values_at(x[1:], places[:-1])
        share = torch.where(start + end > 0, end / (start + end), 1)
        moving, rest = share * gradient[:-1], (1 - share) * gradient[:-1]
        result = torch.zeros_like(x)
        for part, to in ((moving, places[1:]), (rest, places[:-1])):
            result[:-1] += torch.ops.aten.max_pool2d_with_indices_backward(part, x[:-1], *ctx.window, to)
        return result, *[None] * len(ctx.window)


class RuledMaxPool(nn.MaxPool2d):
    """A maximum over windows that is followed backward by secants where the record it ran under says so."""

    def forward(self, x: Tensor) -> Tensor:
        record = getattr(_active, "record", None)
        if record is None or record.rule.name != "secant" or not torch.is_grad_enabled():
            return super().forward(x)
        return _SecantMaxPool.apply(
            x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        )


class RuledReLU(nn.ReLU):
    """A ReLU, never in place, that is followed backward by the rule of the record it ran under."""

    def forward(self, x: Tensor) -> Tensor:
        record = getattr(_active, "record", None)
        if record is None or not torch.is_grad_enabled():
            return nn.functional.relu(x)
        if record.rule.name == "secant":
            return _SecantReLU.apply(x)
        return _FollowedReLU.apply(x, record.rule)


class Tap(nn.Module):
    """Gives on what comes, and keeps it in the record under its name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        if (record := getattr(_active, "record", None)) is not None:
            record.taps[self.name] = x
        return x


def followed(network: nn.Module, taps: Sequence[str] = ()) -> fx.GraphModule:
    """Return an evaluation copy in which every ReLU is a `RuledReLU` of its own, and batch norms are folded.

    Max-pooling modules become `RuledMaxPool`s.
    ReLUs that are functions, in place or used again are thereby made ones that can be followed; hooks on them
    would silently give the plain gradient. After each of the modules `taps` a `Tap` of that name is set.
    Raises InputError where the network can't be followed: its way depends on its values, or it has no ReLU.
    """
    network = copy.deepcopy(network).eval().requires_grad_(False)
    try:
        graph = fx.symbolic_trace(network)
    except Exception as error:  # what tracing meets is whatever the network's own code raises
        raise InputError(
            f"The network {type(network).__name__} can't be followed operation by operation ({error}); "
            "use a network whose operations do not depend on its values."
        ) from error
    _fold_batch_norms(graph)
    _own_max_pools(graph)
    if not _own_relus(graph):
        raise InputError(f"The network {type(network).__name__} has no ReLU to follow; use one that has.")
    for name in taps:
        _tap(graph, name)
    graph.graph.lint()
    graph.recompile()
    return graph


def _own_relus(graph: fx.GraphModule) -> int:
    """Replace every use of a ReLU by one of its own; return how many there are."""
    modules = dict(graph.named_modules())
    count = 0
    for node in list(graph.graph.nodes):
        is_relu = (
            (node.op == "call_function" and node.target in _FUNCTIONS)
            or (node.op == "call_method" and node.target in _METHODS)
            or (node.op == "call_module" and type(modules[node.target]) in (nn.ReLU, RuledReLU))
        )
        if not is_relu:
            continue
        count += 1
        name = f"relu_{count}"
        while hasattr(graph, name):
            name += "_"
        graph.add_submodule(name, RuledReLU())
        with graph.graph.inserting_after(node):
            own = graph.graph.call_module(name, (node.all_input_nodes[0],))
        own.meta = node.meta
        node.replace_all_uses_with(own)
        graph.graph.erase_node(node)
    return count


def _own_max_pools(graph: fx.GraphModule) -> None:
    for name, module in list(graph.named_modules()):
        if type(module) is nn.MaxPool2d and not module.return_indices:
            pool = RuledMaxPool(
                module.kernel_size, module.stride, module.padding, module.dilation, ceil_mode=module.ceil_mode
            )
            parent, _, own = name.rpartition(".")
            setattr(graph.get_submodule(parent), own, pool)


def _fold_batch_norms(graph: fx.GraphModule) -> None:
    """Fold every batch norm that alone follows a convolution into it."""
    modules = dict(graph.named_modules())
    used = [node.target for node in graph.graph.nodes if node.op == "call_module"]
    for node in list(graph.graph.nodes):
        if node.op != "call_module" or not isinstance(modules[node.target], nn.BatchNorm2d):
            continue
        before = node.args[0]
        if before.op != "call_module" or not isinstance(modules[before.target], nn.Conv2d):
            continue
        if len(before.users) > 1 or used.count(before.target) > 1 or used.count(node.target) > 1:
            continue
        conv, norm = modules[before.target], modules[node.target]
        dtype = conv.weight.dtype
        # In float64, as the folded weights are rounded once and for all.
        fused = fuse_conv_bn_eval(conv.double(), norm.double()).to(dtype)
        parent, _, name = before.target.rpartition(".")
        setattr(graph.get_submodule(parent), name, fused.requires_grad_(False))
        node.replace_all_uses_with(before)
        graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()


def _tap(graph: fx.GraphModule, name: str) -> None:
    """Set a tap after the last operation of the module `name`."""
    inside = [
        node
        for node in graph.graph.nodes
        if any(path == name or path.startswith(f"{name}.") for path in node.meta.get("nn_module_stack", {}))
    ]
    if not inside:
        raise ValueError(f"The network has no part '{name}'.")
    tap = f"tap_{name.replace('.', '_')}"
    graph.add_submodule(tap, Tap(name))
    with graph.graph.inserting_after(inside[-1]):
        node = graph.graph.call_module(tap, (inside[-1],))
    inside[-1].replace_all_uses_with(node, delete_user_cb=lambda user: user is not node)
