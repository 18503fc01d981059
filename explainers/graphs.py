"""The operations of a network from its prepared input to its logits, in the order in which they run."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from torch import Tensor, fx, nn

from ..models.networks import (
    BandsAsDepth,
    BandScaling,
    DepthAsChannels,
    PatchNetwork,
    Projection,
    SeriesAsRows,
    SpectraAsRows,
)
from ..models.relus import RuledMaxPool, RuledReLU, Tap
from ..models.segmentation_networks import SegmentationNetwork
from ..rasters.errors import InputError

DenseNetwork = PatchNetwork | SegmentationNetwork

RESHAPING = (BandsAsDepth, DepthAsChannels, SeriesAsRows, SpectraAsRows)
# What is followed as one operation, whatever it is made of.
_WHOLE = (*RESHAPING, BandScaling, Projection, RuledMaxPool, RuledReLU, Tap)
INSTEAD = "use band_shapley, which needs the network's outputs only."

_known: WeakKeyDictionary[nn.Module, fx.GraphModule] = WeakKeyDictionary()


class _Parts(nn.Module):
    """Front and body of a network, one after the other."""

    def __init__(self, network: DenseNetwork) -> None:
        super().__init__()
        self.front, self.body = network.front, network.body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.front(x))


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _WHOLE) or super().is_leaf_module(m, module_qualified_name)


def graph_of(network: DenseNetwork) -> fx.GraphModule:
    """Return the operations of a network's front and body, with the network's own layers.

    Made once for each network. Raises InputError where the network's way depends on its values.
    """
    if network not in _known:
        parts = _Parts(network)
        try:
            graph = _Tracer().trace(parts)
        except Exception as error:  # what tracing meets is whatever the network's own code raises
            raise InputError(
                f"The network {type(network.body).__name__} can't be followed operation by operation "
                f"({error}); {INSTEAD}"
            ) from error
        _known[network] = fx.GraphModule(parts, graph)
    return _known[network]
