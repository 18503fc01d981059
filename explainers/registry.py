"""The explainers by name: a new one is one file and one line here."""

from __future__ import annotations

from ..models.files import Network
from ..models.scene_networks import SceneNetwork
from ..models.segmentation_networks import SegmentationNetwork
from ..models.unmixers import AbundanceNetwork
from ..rasters.errors import InputError
from .abundance_gradients import AbundanceGradients
from .base import Explainer, Options
from .chip_gradients import ChipIntegratedGradients
from .chip_occlusion import ChipBandAblation, ChipOcclusion
from .crop_gradients import CropIntegratedGradients
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
# Methods for unmixing models, which ask for outputs and gradients alone.
ABUNDANCE_EXPLAINERS: dict[str, type[Explainer]] = {
    "saliency": Saliency,
    "input_x_gradient": InputXGradient,
    "integrated_gradients": AbundanceGradients,
    "gradient_shap": GradientShap,
    "occlusion": Occlusion,
    "band_ablation": BandAblation,
    "band_shapley": BandShapley,
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
# Methods for a single pixel of a segmentation network, in a crop around it: also those that take a pass each.
SINGLE_PIXEL_EXPLAINERS: dict[str, type[Explainer]] = {
    "saliency": Saliency,
    "integrated_gradients": CropIntegratedGradients,
    "guided_backpropagation": GuidedBackpropagation,
    "deconvolution": Deconvolution,
    **SEGMENTATION_EXPLAINERS,
    "input_x_gradient": InputXGradient,
}
EXPLAINERS = tuple(dict.fromkeys((*PIXEL_EXPLAINERS, *CHIP_EXPLAINERS, *SEGMENTATION_EXPLAINERS)))


def explainers_of(network: Network, single: bool = False) -> dict[str, type[Explainer]]:
    """Return the methods that a network serves, by name.

    `single`: of a segmentation network those that make the map of one pixel, else those of all of a tile's.
    """
    return _served(network, single)[1]


def _served(network: Network, single: bool) -> tuple[str, dict[str, type[Explainer]]]:
    if isinstance(network, SceneNetwork):
        return "scene classifier", CHIP_EXPLAINERS
    if isinstance(network, SegmentationNetwork):
        return "segmentation network", SINGLE_PIXEL_EXPLAINERS if single else SEGMENTATION_EXPLAINERS
    if isinstance(network, AbundanceNetwork):
        return "model of unmixing", ABUNDANCE_EXPLAINERS
    return "pixel or patch classifier", PIXEL_EXPLAINERS


def check_serves(name: str, network: Network, single: bool = False) -> None:
    """Raise InputError where there is no explainer `name`, or the network can't serve it."""
    if name not in EXPLAINERS:
        raise InputError(f"There is no explainer '{name}'; choose one of {', '.join(EXPLAINERS)}.")
    kind, served = _served(network, single)
    if name not in served:
        raise InputError(f"The explainer '{name}' can't explain a {kind}; choose one of {', '.join(served)}.")


def make_explainer(name: str, network: Network, options: Options, single: bool = False) -> Explainer:
    """Make the explainer `name`; KeyError where the network does not serve it."""
    return explainers_of(network, single)[name](network, options)
