"""The explainers by name: a new one is one file and one line here."""

from __future__ import annotations

from ..models.networks import PatchNetwork
from .base import Explainer, Options
from .deeplift import DeepLift
from .gradient_shap import GradientShap
from .gradients import InputXGradient, Saliency
from .integrated_gradients import IntegratedGradients
from .occlusion import BandAblation, Occlusion

EXPLAINERS: dict[str, type[Explainer]] = {
    "saliency": Saliency,
    "input_x_gradient": InputXGradient,
    "integrated_gradients": IntegratedGradients,
    "gradient_shap": GradientShap,
    "deeplift": DeepLift,
    "occlusion": Occlusion,
    "band_ablation": BandAblation,
}


def make_explainer(name: str, network: PatchNetwork, options: Options) -> Explainer:
    """Make the explainer `name`; KeyError where it is unknown."""
    return EXPLAINERS[name](network, options)
