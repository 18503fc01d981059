"""Gated propagation: contributions of parts of the input to all logits of all pixels, in forward passes.

Input and reference are run once, which gives each operation its gate; then the differences that the parts
make are carried through what is left, a linear network. By the rule `secant` a part's share of a change is
that of DeepLIFT's rescale rule (Shrikumar, Greenside & Kundaje 2017, arXiv:1704.02685) in forward form: at
every unit the parts add up to the difference between input and reference, so that at every logit

    logit at the input = logit at the reference + sum over parts.

By the rule `tangent` gates are derivatives at the input and the parts those of the input itself: each is
its input times its gradient, and what they leave of the logit is what the biases give (FullGrad, Srinivas &
Fleuret 2019, arXiv:1905.00780).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.node import Node
from torch.nn import functional

from ..models.networks import BandScaling, PatchNetwork
from .gates import Constant, Operation
from .graphs import DenseNetwork, graph_of
from .rules import operation_of, without_rule

RULES = ("secant", "tangent")
_MEMORY = 64 * 2**20

Check = Callable[[], None]


class Propagation:
    """Contributions to the logits of prepared images `x` (n, band, y, x), from a `baseline`.

    A baseline is one spectrum (band,) or as large as x; the rule `tangent` has none. `logits` (n, class, y,
    x) are those of x, and `reference` (n, class, y, x) is what contributions start from: by the rule `secant`
    the logits of the baseline, by the rule `tangent` what the biases give. `differences` (n, band, y, x) are
    what the parts are parts of. Where a network's convolutions are valid, maps of logits are smaller than x
    by its patch side less 1. `memory`: bytes that the maps of the parts that go `at_once` may take; those of
    one part are always there. `check` is called before every operation and may raise to stop.
    Raises InputError where an operation of the network has no rule, or a layer is in training mode.
    """

    def __init__(
        self, network: DenseNetwork, x: Tensor, baseline: Tensor | None = None, rule: str = "secant",
        memory: int = _MEMORY, check: Check = lambda: None,
    ) -> None:  # fmt: skip
        if rule not in RULES:
            raise ValueError(f"'{rule}' is none of {', '.join(RULES)}.")
        if rule == "secant" and baseline is None:
            raise ValueError("Secants need a baseline.")
        self.network, self.rule, self._check = network, rule, check
        self._graph = graph_of(network)
        last = torch.channels_last
        both = x.contiguous(memory_format=last)
        if baseline is not None and rule == "secant":
            start = (baseline[:, None, None] if baseline.dim() == 1 else baseline).to(x).expand_as(x)
            both, self.differences = torch.cat([both, start]).contiguous(memory_format=last), x - start
        else:
            self.differences = x
        with torch.no_grad():
            self._ends = _Ends(self._graph, rule, check)
            logits = self._as_map(self._ends.run(both), len(both))
        self.logits = logits[: len(x)]
        self._end = logits[len(x) :]
        self._stem = _stem(self._graph)
        self.at_once = max(1, memory * len(both) // (self._ends.peak * len(x)))

    @cached_property
    def reference(self) -> Tensor:
        """What contributions start from (n, class, y, x)."""
        if self.rule == "secant":
            return self._end
        nothing = torch.zeros_like(self.differences, memory_format=torch.channels_last)
        with torch.no_grad():
            return self._as_map(_Biases(self._graph, self._ends, self._check).run(nothing), len(nothing))

    def part(self, differences: Tensor) -> Tensor:
        """Return the contributions (part, n, class, y, x) of parts (part, n, band, y, x) of `differences`."""
        flat = differences.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return self._carried(self._run(flat, {}), len(differences))

    @torch.no_grad()
    def bands(
        self, weights: Tensor | None = None, inside: Tensor | None = None,
        done: Callable[[int], None] = lambda parts: None,
    ) -> Tensor:  # fmt: skip
        """Return the contributions of each band to all logits, (band, n, class, y, x).

        With `weights` (n, class, y, x) of the logits those to their weighed sum, (band, n, y, x). `inside`
        bool (y, x) says which pixels of the image count; `done` gets the number of bands just done.
        """
        count = self.differences.shape[1]
        values = self.differences if inside is None else self.differences * inside

        def chunk(bands: slice) -> Tensor:
            if self._stem is None:
                parts = torch.zeros_like(values).expand(bands.stop - bands.start, *values.shape).clone()
                for place, band in enumerate(range(bands.start, bands.stop)):
                    parts[place, :, band] = values[:, band]
                return self.part(parts)
            return self._carried(self._run(None, self._stem.run(values, bands)), bands.stop - bands.start)

        return self._in_chunks(count, chunk, weights, done)

    @torch.no_grad()
    def regions(
        self, masks: Tensor, weights: Tensor | None = None, done: Callable[[int], None] = lambda parts: None
    ) -> Tensor:
        """Return the contributions of all bands in regions, masks bool (part, y, x); result as of `bands`."""
        return self._in_chunks(
            len(masks), lambda parts: self.part(self.differences * masks[parts, None, None]), weights, done
        )

    def multipliers(self, weights: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield for each target what a unit of the input adds to it, (n, band, y, x), one way back each.

        Each of `weights`, (n, class, y, x), is those of the logits. Times `differences` that is a map of
        contributions, by the same gates as those of parts.
        """
        with torch.enable_grad():
            x = self.differences.detach().requires_grad_(True)
            carried = self.part(x[None])[0]
            for target in weights:
                self._check()
                yield torch.autograd.grad((carried * target).sum(), x, retain_graph=True)[0]

    def _in_chunks(
        self,
        count: int,
        chunk: Callable[[slice], Tensor],
        weights: Tensor | None,
        done: Callable[[int], None],
    ) -> Tensor:
        results = []
        for start in range(0, count, self.at_once):
            parts = slice(start, min(start + self.at_once, count))
            carried = chunk(parts)
            results.append(carried if weights is None else (carried * weights).sum(2))
            done(parts.stop - parts.start)
        return torch.cat(results)

    def _run(self, flat: Tensor | None, known: dict[Node, Any]) -> Tensor:
        return _Carrying(self._graph, self._ends, self._check).run(flat, initial_env=known)

    def _carried(self, output: Tensor, parts: int) -> Tensor:
        return self._as_map(output, parts * len(self.differences)).unflatten(0, (parts, -1))

    def _as_map(self, output: Tensor, n: int) -> Tensor:
        if isinstance(self.network, PatchNetwork):
            return self.network.as_map(output, n, *self.differences.shape[2:])
        return output


class _Ends(fx.Interpreter):
    """Runs input and reference, and keeps each operation's gate.

    `operations` and `gates` by node, of those that the input reaches; `constants`: the values of the others.
    `peak`: the most bytes of maps that are there at once.
    """

    def __init__(self, graph: fx.GraphModule, rule: str, check: Check) -> None:
        super().__init__(graph)
        self._rule, self._check = rule, check
        self.operations: dict[Node, Operation] = {}
        self.gates: dict[Node, Any] = {}
        self.constants: dict[Node, Any] = {}
        self.maps: set[Node] = set()
        self.peak = 1

    def run_node(self, n: Node) -> Any:
        self._check()
        if n.op in ("placeholder", "output"):
            self.maps.add(n)
            return super().run_node(n)
        if n.op == "get_attr" or not any(before in self.maps for before in n.all_input_nodes):
            return self._constant(n, super().run_node(n))
        if (n.op, n.target) in (("call_function", getattr), ("call_method", "size"), ("call_method", "dim")):
            return self._constant(n, super().run_node(n))
        operation = operation_of(n, self._graph_module)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        output = operation.run(args, kwargs)
        first = n.args[0]
        maps = first if isinstance(first, (list, tuple)) else [first]
        if not operation.constants and any(each not in self.maps for each in maps):
            raise without_rule(f"{n.target} of constants", n)
        self.operations[n] = operation
        marked = _marked(operation, n, args, self.maps)
        self.gates[n] = operation.gate(self._rule, marked, kwargs, output)
        self.maps.add(n)
        kept = (value for value in (*self.env.values(), output) if isinstance(value, Tensor))
        self.peak = max(self.peak, sum(value.numel() * value.element_size() for value in kept))
        return output

    @property
    def _graph_module(self) -> fx.GraphModule:
        return cast(fx.GraphModule, self.module)

    def _constant(self, node: Node, value: Any) -> Any:
        self.constants[node] = value
        return value


def _marked(operation: Operation, node: Node, args: tuple, maps: Collection[Node]) -> tuple:
    """Return the arguments of an operation; those that are the same for all parts are marked as constants."""
    if not operation.constants:
        return args
    return tuple(value if given in maps else Constant(value) for given, value in zip(node.args, args))


class _Carrying(fx.Interpreter):
    """Carries differences through the operations that `_Ends` has met."""

    def __init__(self, graph: fx.GraphModule, ends: _Ends, check: Check) -> None:
        super().__init__(graph)
        self._ends, self._check = ends, check

    def run_node(self, n: Node) -> Any:
        self._check()
        if n in self._ends.constants:
            return self._ends.constants[n]
        operation = self._ends.operations.get(n)
        if operation is None:
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        return self._carry(operation, n, _marked(operation, n, args, self._ends.maps), kwargs)

    def _carry(self, operation: Operation, node: Node, args: tuple, kwargs: dict) -> Tensor:
        return operation.carry(self._ends.gates[node], args, kwargs, self._is_own(node))

    def _is_own(self, node: Node) -> bool:
        """Whether an operation alone reads what comes, which a convolution has just made."""
        before = node.args[0]
        if not isinstance(before, Node) or len(before.users) > 1 or before.op != "call_module":
            return False
        layers = cast(fx.GraphModule, self.module)
        return isinstance(layers.get_submodule(str(before.target)), (nn.Conv2d, nn.ConvTranspose2d))


class _Biases(_Carrying):
    """Carries what biases give, from nothing at the input, picking up those of each operation."""

    def _carry(self, operation: Operation, node: Node, args: tuple, kwargs: dict) -> Tensor:
        return operation.carry_biases(self._ends.gates[node], args, kwargs)


@dataclass(frozen=True)
class _Stem:
    """A band scaling and the convolution behind it, which reads one band where the others are 0."""

    known: tuple[Node, ...]
    scaling: BandScaling
    node: Node
    layer: nn.Conv2d

    def run(self, values: Tensor, bands: slice) -> dict[Node, Any]:
        """Return what each of the bands of values (n, band, y, x) alone gives, (band * n, ...), by node."""
        layer, found = self.layer, []
        for band in range(bands.start, bands.stop):
            part = _channels_last(values[:, band, None] / self.scaling.scale[band])
            weight = _channels_last(layer.weight[:, band, None])
            found.append(functional.conv2d(part, weight, None, layer.stride, layer.padding, layer.dilation))
        joined = torch.cat(found).contiguous(memory_format=torch.channels_last)
        return dict.fromkeys(self.known) | {self.node: joined}


def _channels_last(map_of_one: Tensor) -> Tensor:
    """Return a map of one channel with strides that tell convolutions to put theirs last."""
    last = torch.empty(
        map_of_one.shape, dtype=map_of_one.dtype, device=map_of_one.device, memory_format=torch.channels_last
    )
    return last.copy_(map_of_one)


def _stem(graph: fx.GraphModule) -> _Stem | None:
    """Return how the network begins, where that is a scaling and a plain convolution of all bands."""
    start = next(iter(graph.graph.nodes))
    chain = [start]
    for _ in range(2):
        users = list(chain[-1].users)
        if len(users) != 1 or users[0].op != "call_module":
            return None
        chain.append(users[0])
    scaling, layer = (graph.get_submodule(str(node.target)) for node in chain[1:])
    if not isinstance(scaling, BandScaling) or type(layer) is not nn.Conv2d:
        return None
    if layer.groups != 1 or layer.padding_mode != "zeros":
        return None
    return _Stem((chain[0], chain[1]), scaling, chain[2], layer)
