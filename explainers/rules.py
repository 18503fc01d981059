"""Which operation of a network passes differences on in which way: one line for each that is known."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ..models.networks import BandScaling, Projection
from ..models.relus import Tap
from ..rasters.errors import InputError
from .gates import Activation, MaxPool, Operation, Product, ReLU, Sum
from .graphs import INSTEAD, RESHAPING

# Layers that are linear, have no bias and keep the rows of a batch apart.
_LINEAR_LAYERS = (
    *RESHAPING, Projection, Tap, nn.Identity, _DropoutNd, nn.Upsample, nn.PixelShuffle, nn.ZeroPad2d,
    nn.ReflectionPad2d, nn.ReplicationPad2d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
)  # fmt: skip
_ACTIVATION_LAYERS = (
    nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardswish, nn.Hardsigmoid,
    nn.ReLU6, nn.Mish,
)  # fmt: skip
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_DECONVOLUTIONS = {
    nn.ConvTranspose1d: functional.conv_transpose1d,
    nn.ConvTranspose2d: functional.conv_transpose2d,
    nn.ConvTranspose3d: functional.conv_transpose3d,
}

_LINEAR = (
    functional.interpolate, functional.avg_pool2d, functional.adaptive_avg_pool2d, functional.pixel_shuffle,
    operator.neg,
)  # fmt: skip
_RELUS = (torch.relu, functional.relu)
_ACTIVATIONS = (
    functional.leaky_relu, functional.elu, functional.gelu, functional.silu, functional.softplus,
    functional.hardswish, functional.hardsigmoid, functional.relu6, functional.mish, torch.sigmoid,
    torch.tanh, functional.sigmoid, functional.tanh,
)  # fmt: skip
_SUMS = (operator.add, operator.sub, torch.add, torch.sub)
_PRODUCTS = (operator.mul, torch.mul)
_METHODS: dict[str, Callable[[], Operation]] = {
    "relu": lambda: ReLU(torch.relu),
    "sigmoid": lambda: Activation(torch.sigmoid),
    "tanh": lambda: Activation(torch.tanh),
    "contiguous": lambda: Operation(Tensor.contiguous),
    "add": lambda: Sum(torch.add),
    "sub": lambda: Sum(torch.sub),
    "mul": lambda: Product(torch.mul),
}


def operation_of(node: fx.Node, graph: fx.GraphModule) -> Operation:
    """Return how differences pass an operation of a network.

    Raises InputError, which names it, where that isn't known or a layer is in training mode.
    """
    if node.op == "call_module":
        layer = graph.get_submodule(str(node.target))
        found = _of_layer(layer, str(node.target))
        name = type(layer).__name__
    else:
        name = str(getattr(node.target, "__name__", node.target))
        found = _METHODS.get(name, lambda: None)() if node.op == "call_method" else _of_function(node)
    if found is None:
        raise without_rule(name, node)
    return found


def without_rule(name: str, node: fx.Node) -> InputError:
    """Return the error that an operation has no rule."""
    return InputError(
        f"Contributions can't be carried through the operation '{name}' of the network (at '{node.name}'); "
        + INSTEAD
    )


def _of_layer(layer: nn.Module, name: str) -> Operation | None:
    random = isinstance(layer, _DropoutNd) and layer.p > 0
    if layer.training and (random or isinstance(layer, _BatchNorm)):
        kind = "dropout" if random else "batch norm"
        raise InputError(
            f"The network's layer '{name}' ({kind}) is in training mode, in which its outputs depend on "
            "chance or on the other inputs; call eval() on the network first."
        )
    if isinstance(layer, nn.ReLU):
        return ReLU(torch.relu)
    if isinstance(layer, nn.MaxPool2d) and not layer.return_indices:
        return MaxPool(layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)
    if isinstance(layer, _ACTIVATION_LAYERS):
        return Activation(layer)
    if isinstance(layer, _LINEAR_LAYERS) or (isinstance(layer, nn.Flatten) and layer.start_dim == 1):
        return Operation(layer)
    without_bias = _without_bias(layer)
    return None if without_bias is None else _Biased(layer, without_bias)


class _Biased(Operation):
    """A layer that is linear but for what it adds."""

    def __init__(self, layer: nn.Module, without_bias: Callable[[Tensor], Tensor]) -> None:
        super().__init__(layer)
        self._without_bias = without_bias

    def carry(self, gate: Any, args: Any, kwargs: Any, own: bool) -> Tensor:
        return self._without_bias(args[0])

    def carry_biases(self, gate: Any, args: Any, kwargs: Any) -> Tensor:
        return self.call(args[0])


def _without_bias(layer: nn.Module) -> Callable[[Tensor], Tensor] | None:
    if isinstance(layer, BandScaling):
        return lambda x: x / layer.scale[:, None, None]
    if isinstance(layer, nn.Linear):
        return lambda x: functional.linear(x, layer.weight)
    if isinstance(layer, _CONVOLUTIONS):
        return lambda x: layer._conv_forward(x, layer.weight, None)
    for kind, function in _DECONVOLUTIONS.items():
        if isinstance(layer, kind) and layer.padding_mode == "zeros":
            return lambda x: function(
                x, layer.weight, None, layer.stride, layer.padding,  # type: ignore[arg-type]
                layer.output_padding, layer.groups, layer.dilation,
            )  # fmt: skip
    if isinstance(layer, _BatchNorm) and layer.running_var is not None:
        return partial(_scaled, layer)
    return None


def _scaled(norm: _BatchNorm, x: Tensor) -> Tensor:
    slope = torch.rsqrt(cast(Tensor, norm.running_var) + norm.eps)
    slope = slope if norm.weight is None else slope * norm.weight
    return x * slope.view(-1, *[1] * (x.dim() - 2))


def _of_function(node: fx.Node) -> Operation | None:
    target: Any = node.target
    if target in _RELUS:
        return ReLU(torch.relu)
    if target in _ACTIVATIONS:
        return Activation(target)
    if target in _SUMS:
        return Sum(target)
    if target in _PRODUCTS:
        return Product(target)
    if target in _LINEAR:
        return Operation(target)
    if target is operator.truediv and not isinstance(node.args[1], fx.Node):
        return Operation(target)
    if target is torch.cat and (*node.args[1:], node.kwargs.get("dim", 0))[0] != 0:
        return Operation(target)
    if target is torch.flatten and node.args[1:] == (1,):
        return Operation(target)
    if target is functional.dropout and node.kwargs.get("training") is False:
        return Operation(target)
    if target is functional.max_pool2d:
        return _pool(*node.args, **node.kwargs)  # type: ignore[arg-type]
    return None


def _pool(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Operation | None:  # fmt: skip
    return None if return_indices else MaxPool(kernel_size, stride, padding, dilation, ceil_mode)
