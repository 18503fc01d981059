"""Several explainers of the same inputs, which share forward and backward passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor

from ..models.files import Network
from .base import Attribution, Options
from .dense import Propagated
from .gradients import PassExplainer
from .graphs import DenseNetwork, graph_of
from .passes import Passes
from .registry import make_explainer


class Several:
    """The explainers `names` of one network; KeyError where it does not serve one.

    Of a segmentation network they explain a single pixel in each crop.
    """

    def __init__(self, names: Sequence[str], network: Network, options: Options) -> None:
        self.network, self.options = network, options
        self.explainers = {name: make_explainer(name, network, options, single=True) for name in names}
        if any(isinstance(each, Propagated) for each in self.explainers.values()):
            # Now, on one thread: while a network is followed, others can't run.
            graph_of(cast(DenseNetwork, network))

    @property
    def batch_size(self) -> int:
        """How many inputs at a time keep within the memory of a batch."""
        return min((explainer.batch_size() for explainer in self.explainers.values()), default=1)

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> dict[str, Attribution]:
        """Explain n inputs by every method; arguments as those of `Explainer.attribute`."""
        read = {name: each for name, each in self.explainers.items() if isinstance(each, PassExplainer)}
        found: dict[str, Attribution] = {}
        if read:
            passes = Passes(self.network, x, weights, self.options.layer)
            # Those that need the gradient at the input first: Grad-CAM's maps are met on the way there.
            for name in sorted(read, key=lambda name: not name.endswith(("saliency", "gradient"))):
                found[name] = read[name].read(passes)
            del passes
        for name, explainer in self.explainers.items():
            if name not in read:
                found[name] = explainer.attribute(x, baseline, weights)
        return {name: found[name] for name in self.explainers}
