"""What the algorithms that explain and that judge explanations have in common: methods and their settings."""

from __future__ import annotations

from qgis.core import QgsProcessingParameterDefinition

from ._parameters import choice, whole
from ._text import tr

EXPLAINERS = (
    "saliency", "input_x_gradient", "integrated_gradients", "gradient_shap", "deeplift",
    "guided_backpropagation", "deconvolution", "grad_cam", "guided_grad_cam", "occlusion", "band_ablation",
)  # fmt: skip
# Those that need no other parameter.
OWN_BASELINES = ("zero", "mean", "chip_mean", "speckle")
BASELINES = (*OWN_BASELINES[:2], "class_mean", "spectrum", *OWN_BASELINES[2:])
# The explainers that read a parameter.
READ_BY = {
    "STEPS": ("integrated_gradients",),
    "OCCLUSION_WINDOW": ("occlusion",),
    "OCCLUSION_STRIDE": ("occlusion",),
    "GRAD_CAM_LAYER": ("grad_cam", "guided_grad_cam"),
}


def steps(default: int) -> QgsProcessingParameterDefinition:
    """Declare STEPS."""
    return whole(
        "STEPS",
        tr("Steps"),
        default,
        0,
        4096,
        tr(
            "Steps along the path, for integrated_gradients. 0: added for each pixel or chip until its map "
            "has settled and its residual is small."
        ),
        advanced=True,
    )


def grad_cam_layer(default: str) -> QgsProcessingParameterDefinition:
    """Declare GRAD_CAM_LAYER."""
    return choice(
        "GRAD_CAM_LAYER",
        tr("Layer of Grad-CAM"),
        ("layer1", "layer2", "layer3", "layer4"),
        default,
        tr(
            "Stage of the residual network whose maps grad_cam and guided_grad_cam weigh: later ones are "
            "coarser and closer to the class. Small chips need an early one."
        ),
        advanced=True,
    )
