"""The explainers by name: a new one is one file and one line here."""

from __future__ import annotations

from ..models.files import Network
from ..models.scene_networks import SceneNetwork
from ..models.segmentation_networks import SegmentationNetwork
from ..rasters.errors import InputError
from .base import Explainer, Options
from .chip_gradients import ChipIntegratedGradients
from .chip_occlusion import ChipBandAblation, ChipOcclusion
from .deeplift import DeepLift
from .dense import DenseInputXGradient, SecantContributions, TangentContributions
from .gradient_shap import GradientShap
from .gradients import (
    Deconvolution,
    GradCam,
    GuidedBackpropagation,
    GuidedGradCam,
    InputXGradient,
    Saliency,
)
from .integrated_gradients import IntegratedGradients
from .occlusion import BandAblation, Occlusion
from .shapley import BandShapley
from .tile_ablation import DenseBandAblation

# Methods for pixel and patch classifiers.
PIXEL_EXPLAINERS: dict[str, type[Explainer]] = {
    "saliency": Saliency,
    "input_x_gradient": InputXGradient,
    "integrated_gradients": IntegratedGradients,
    "gradient_shap": GradientShap,
    "deeplift": DeepLift,
    "guided_backpropagation": GuidedBackpropagation,
    "deconvolution": Deconvolution,
    "occlusion": Occlusion,
    "band_ablation": BandAblation,
    "band_shapley": BandShapley,
    "secant_contributions": SecantContributions,
    "tangent_contributions": TangentContributions,
}
# Methods for scene classifiers: the first eight are those of Su et al. 2022.
CHIP_EXPLAINERS: dict[str, type[Explainer]] = {
    "saliency": Saliency,
    "input_x_gradient": InputXGradient,
    "integrated_gradients": ChipIntegratedGradients,
    "guided_backpropagation": GuidedBackpropagation,
    "deconvolution": Deconvolution,
    "grad_cam": GradCam,
    "guided_grad_cam": GuidedGradCam,
    "occlusion": ChipOcclusion,
    "band_ablation": ChipBandAblation,
    "band_shapley": BandShapley,
}
# Methods for segmentation networks, which explain all pixels of a tile at once.
SEGMENTATION_EXPLAINERS: dict[str, type[Explainer]] = {
    "secant_contributions": SecantContributions,
    "tangent_contributions": TangentContributions,
    "input_x_gradient": DenseInputXGradient,
    "band_ablation": DenseBandAblation,
    "band_shapley": BandShapley,
}
EXPLAINERS = tuple(dict.fromkeys((*PIXEL_EXPLAINERS, *CHIP_EXPLAINERS, *SEGMENTATION_EXPLAINERS)))


def explainers_of(network: Network) -> dict[str, type[Explainer]]:
    """Return the methods that a network serves, by name."""
    return _served(network)[1]


def _served(network: Network) -> tuple[str, dict[str, type[Explainer]]]:
    if isinstance(network, SceneNetwork):
        return "scene classifier", CHIP_EXPLAINERS
    if isinstance(network, SegmentationNetwork):
        return "segmentation network", SEGMENTATION_EXPLAINERS
    return "pixel or patch classifier", PIXEL_EXPLAINERS


def check_serves(name: str, network: Network) -> None:
    """Raise InputError where there is no explainer `name`, or the network can't serve it."""
    if name not in EXPLAINERS:
        raise InputError(f"There is no explainer '{name}'; choose one of {', '.join(EXPLAINERS)}.")
    kind, served = _served(network)
    if name not in served:
        raise InputError(f"The explainer '{name}' can't explain a {kind}; choose one of {', '.join(served)}.")


def make_explainer(name: str, network: Network, options: Options) -> Explainer:
    """Make the explainer `name`; KeyError where the network does not serve it."""
    return explainers_of(network)[name](network, options)
