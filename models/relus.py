"""Networks whose ReLUs can be followed backward by other rules, and whose inner maps can be looked at.

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
_active = threading.local()


@dataclass
class Rule:
    """The rule that ReLUs follow backward, by `name`: to be changed between two runs backward.

    `gradient`, `guided` (Springenberg et al. 2015, arXiv:1412.6806) or `deconvolution` (Zeiler & Fergus 2014,
    arXiv:1311.2901).
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


class RuledReLU(nn.ReLU):
    """A ReLU, never in place, that is followed backward by the rule of the record it ran under."""

    def forward(self, x: Tensor) -> Tensor:
        record = getattr(_active, "record", None)
        if record is None or not torch.is_grad_enabled():
            return nn.functional.relu(x)
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
