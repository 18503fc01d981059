"""Networks run on inputs of which a rectangle was changed: early layers only where the change reaches."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor, fx, nn
from torch.fx.node import Argument, Node, map_aggregate

from ..models.relus import RuledMaxPool, RuledReLU, Tap

# Cutting and pasting costs more than it saves where the change has reached this share of a map.
_MOST_OF_A_MAP = 0.65
_ADDITIONS = (operator.add, torch.add)


@dataclass
class Reach:
    """What a change reaches on one axis of a map, for each of several changes.

    `starts` and `stops` say which cells differ from the unchanged map; `origins` where a piece of `size`
    cells begins that holds them: pieces of all changes have one size, and none stands out of the map.
    """

    starts: list[int]
    stops: list[int]
    length: int

    def __post_init__(self) -> None:
        # At least one cell: a stride can skip the change.
        wide = max(1, *(stop - start for start, stop in zip(self.starts, self.stops)))
        self.size = wide
        self.origins = [max(0, min(start, self.length - wide)) for start in self.starts]

    def behind(self, kernel: int, stride: int, padding: int, length: int) -> Reach:
        """Return the reach in a map of `length` behind windows of `kernel` cells."""
        starts = [max(0, -(-(start + padding - kernel + 1) // stride)) for start in self.starts]
        stops = [min(length, (stop - 1 + padding) // stride + 1) for stop in self.stops]
        return Reach(starts, stops, length)

    def joined(self, other: Reach) -> Reach:
        """Return the reach of either of two changes of a map."""
        return Reach(
            [*map(min, self.starts, other.starts)], [*map(max, self.stops, other.stops)], self.length
        )


@dataclass
class Patched:
    """Maps that differ from `base` (n, channel, y, x) in a piece each.

    `pieces` (change * n, channel, h, w), all maps of the first change first, lie where `rows` and `cols` say.
    """

    base: Tensor
    pieces: Tensor
    rows: Reach
    cols: Reach

    def whole(self) -> Tensor:
        """Return the changed maps (change * n, channel, y, x)."""
        height, width = self.base.shape[2:]
        origins = [0] * len(self.rows.origins)
        return self.cut(origins, origins, (height, width), 0)

    def cut(self, rows: Sequence[int], cols: Sequence[int], size: tuple[int, int], beyond: float) -> Tensor:
        """Return pieces (change * n, channel, *size) of the changed maps that begin at `rows` and `cols`.

        What they hold from beyond the map's edge is the number `beyond`.
        """
        n, channels, height, width = self.base.shape
        last = self.base.is_contiguous(memory_format=torch.channels_last)
        result = torch.empty(
            (len(rows) * n, channels, *size), dtype=self.base.dtype, device=self.base.device,
            memory_format=torch.channels_last if last else torch.contiguous_format,
        )  # fmt: skip
        places = zip(
            result.split(n), self.pieces.split(n), rows, cols, self.rows.origins, self.cols.origins
        )  # fmt: skip
        for part, piece, row, col, piece_row, piece_col in places:
            if row < 0 or col < 0 or row + size[0] > height or col + size[1] > width:
                part.fill_(beyond)
            _paste(part, self.base, -row, -col)
            _paste(part, piece, piece_row - row, piece_col - col)
        return result


def _paste(onto: Tensor, piece: Tensor, row: int, col: int) -> None:
    """Copy that part of a piece, which begins at (row, col), that lies on a map (n, channel, y, x)."""
    (height, width), (high, wide) = onto.shape[2:], piece.shape[2:]
    top, left, bottom, right = max(row, 0), max(col, 0), min(row + high, height), min(col + wide, width)
    if top < bottom and left < right:
        onto[:, :, top:bottom, left:right] = piece[:, :, top - row : bottom - row, left - col : right - col]


class LocalChanges:
    """A followed network at inputs `x` (n, band, y, x), ready to be run with parts of them replaced.

    All maps of the unchanged inputs are kept; `output` is the network's output of them. What it gives
    differs from plain runs by rounding alone.
    """

    def __init__(self, graph: fx.GraphModule, x: Tensor) -> None:
        self._graph, self._x = graph, x
        kept = _Kept(graph)
        self.output: Tensor = kept.run(x)
        self._maps = kept.maps

    def replaced(self, baseline: Tensor, masks: Tensor) -> Tensor:
        """Return the outputs (change * n, ...), those of the first change first.

        `masks` (change, 1 or band, y, x) say which cells each change takes from `baseline`, as large as x.
        """
        rows, cols = (_reach(masks.any(1).any(axis)) for axis in (2, 1))
        pieces = []
        for mask, row, col in zip(masks, rows.origins, cols.origins):
            cells = (..., slice(row, row + rows.size), slice(col, col + cols.size))
            pieces.append(torch.where(mask[cells], baseline[cells], self._x[cells]))
        return _Local(self._graph, self._maps).run(Patched(self._x, torch.cat(pieces), rows, cols))


def _reach(changed: Tensor) -> Reach:
    """Return the reach of changes on one axis, bool (change, cell)."""
    length = changed.shape[1]
    first = changed.int().argmax(1)
    last = length - changed.flip(1).int().argmax(1)
    return Reach(first.tolist(), last.tolist(), length)


def can_run_locally(network: nn.Module) -> TypeGuard[fx.GraphModule]:
    """Whether a network was traced and changes no map in place."""
    if not isinstance(network, fx.GraphModule):
        return False
    return not any(
        getattr(network.get_submodule(str(node.target)), "inplace", False)
        if node.op == "call_module"
        # Functions and methods say so in their names, as `relu_` does, or in an argument.
        else str(getattr(node.target, "__name__", node.target)).endswith("_")
        or node.kwargs.get("inplace")
        or "out" in node.kwargs
        for node in network.graph.nodes
        if node.op.startswith("call")
    )


class _Kept(fx.Interpreter):
    """Runs a network and keeps its maps."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.maps: dict[Node, Tensor] = {}

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor) and result.dim() == 4:
            self.maps[n] = result
        return result


class _Local(fx.Interpreter):
    """Runs a network on `Patched` maps while little of them has changed, and on whole ones from there."""

    def __init__(self, graph: fx.GraphModule, maps: dict[Node, Tensor]) -> None:
        super().__init__(graph)
        self._maps = maps

    def run_node(self, n: Node) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        patched = [each for each in args if isinstance(each, Patched)]
        if n.op == "placeholder":
            return super().run_node(n)
        if patched and n in self._maps and not kwargs:
            local = self._way(n, args)
            if local is not None:
                return local
        args, kwargs = map_aggregate(args, _made_whole), map_aggregate(kwargs, _made_whole)
        return getattr(self, n.op)(n.target, args, kwargs)

    def _way(self, node: Node, args: tuple) -> Patched | None:
        """Return what an operation makes of patched maps where it can be had from their pieces."""
        base, value = self._maps[node], args[0]
        if node.op == "call_function" and node.target in _ADDITIONS:
            return _added(base, *args) if all(isinstance(each, Patched) for each in args) else None
        if node.op != "call_module":
            return None
        layer = self.fetch_attr(str(node.target))
        if isinstance(layer, Tap):
            return value
        if isinstance(layer, RuledReLU):
            return Patched(base, torch.relu(value.pieces), value.rows, value.cols)
        if type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
            return _windowed(base, value, layer, 0, lambda cut: nn.functional.conv2d(
                cut, layer.weight, layer.bias, layer.stride, 0, layer.dilation, layer.groups
            ))  # fmt: skip
        if type(layer) is RuledMaxPool and not layer.ceil_mode:
            return _windowed(base, value, layer, -torch.inf, lambda cut: nn.functional.max_pool2d(
                cut, layer.kernel_size, layer.stride, 0, layer.dilation
            ))  # fmt: skip
        return None


def _made_whole(value: Argument | Patched) -> Any:
    return value.whole() if isinstance(value, Patched) else value


def _added(base: Tensor, one: Patched, other: Patched) -> Patched | None:
    if one.base.shape != other.base.shape:
        return None
    rows, cols = one.rows.joined(other.rows), one.cols.joined(other.cols)
    if _too_much(base, rows, cols):
        return None
    parts = [
        each.pieces
        if (each.rows, each.cols) == (rows, cols)
        else each.cut(rows.origins, cols.origins, (rows.size, cols.size), 0)
        for each in (one, other)
    ]
    return Patched(base, parts[0] + parts[1], rows, cols)


def _windowed(
    base: Tensor, value: Patched, layer: nn.Conv2d | RuledMaxPool, beyond: float,
    run: Callable[[Tensor], Tensor],
) -> Patched | None:  # fmt: skip
    """Return what a layer that slides a window makes of the pieces; `run` is the layer without padding."""
    reaches, starts, sizes = [], [], []
    settings: tuple[Any, ...] = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    for axis, before in enumerate((value.rows, value.cols)):
        kernel, stride, padding, dilation = (
            pair if isinstance(pair, int) else pair[axis] for pair in settings
        )  # fmt: skip
        wide = dilation * (kernel - 1) + 1
        reach = before.behind(wide, stride, padding, base.shape[2 + axis])
        reaches.append(reach)
        starts.append([origin * stride - padding for origin in reach.origins])
        sizes.append((reach.size - 1) * stride + wide)
    rows, cols = reaches
    if _too_much(base, rows, cols):
        return None
    return Patched(base, run(value.cut(starts[0], starts[1], (sizes[0], sizes[1]), beyond)), rows, cols)


def _too_much(base: Tensor, rows: Reach, cols: Reach) -> bool:
    return rows.size * cols.size > _MOST_OF_A_MAP * base.shape[2] * base.shape[3]
