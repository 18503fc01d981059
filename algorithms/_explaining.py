"""What the algorithms that explain and that judge explanations have in common: methods and their settings."""

from __future__ import annotations

from collections.abc import Sequence

from qgis.core import QgsProcessingParameterDefinition

from ._choices import Rules
from ._parameters import choice, whole, words
from ._text import tr

EXPLAINERS = (
    "saliency", "input_x_gradient", "integrated_gradients", "gradient_shap", "deeplift",
    "guided_backpropagation", "deconvolution", "grad_cam", "guided_grad_cam", "occlusion", "band_ablation",
    "band_shapley", "secant_contributions", "tangent_contributions",
)  # fmt: skip
# Those that need no other parameter.
OWN_BASELINES = ("zero", "mean", "chip_mean", "speckle")
# Those that are one spectrum for all pixels.
SPECTRA = ("zero", "mean", "class_mean", "spectrum")
BASELINES = ("auto", *SPECTRA, "continuum", *OWN_BASELINES[2:])
# The explainers that read a parameter.
READ_BY = {
    "STEPS": ("integrated_gradients",),
    "OCCLUSION_WINDOW": ("occlusion",),
    "OCCLUSION_STRIDE": ("occlusion",),
    "GRAD_CAM_LAYER": ("grad_cam", "guided_grad_cam"),
}

TARGETS = ("predicted", "class", "contrast")
# What TARGET and BASELINE need of other parameters.
TARGET_AND_BASELINE = Rules(
    used_with={
        "BASELINE_CLASS": ("BASELINE", ("class_mean",)),
        "BASELINE_SPECTRUM": ("BASELINE", ("spectrum",)),
        "CLASS": ("TARGET", ("class", "contrast")),
        "CONTRAST_CLASS": ("TARGET", ("contrast",)),
    },
    needed_with={
        "CLASS": ("TARGET", "class"),
        "BASELINE_CLASS": ("BASELINE", "class_mean"),
        "BASELINE_SPECTRUM": ("BASELINE", "spectrum"),
    },
)


def target(default: str) -> list[QgsProcessingParameterDefinition]:
    """Declare TARGET, CLASS and CONTRAST_CLASS."""
    help_text = tr(
        "What is explained: the 'predicted' class of each pixel, one 'class', or the 'contrast' of two "
        "classes, which is the output of the one minus that of the other."
    )
    return target_among(TARGETS, default, help_text)


def target_among(
    values: Sequence[str], default: str, help_text: str
) -> list[QgsProcessingParameterDefinition]:
    """Declare TARGET with these values, CLASS and CONTRAST_CLASS."""
    return [
        choice("TARGET", tr("Target"), values, default, help_text),
        words("CLASS", tr("Class"),
              tr("Name or number of the class, for TARGET class; for TARGET contrast the first class, "
                 "empty for the predicted one.")),
        words("CONTRAST_CLASS", tr("Contrast class"),
              tr("For TARGET contrast: name or number of the class to compare with, empty for the "
                 "runner-up.")),
    ]  # fmt: skip


def baseline(values: Sequence[str], default: str, help_text: str) -> list[QgsProcessingParameterDefinition]:
    """Declare BASELINE, BASELINE_CLASS and BASELINE_SPECTRUM."""
    return [
        choice("BASELINE", tr("Baseline"), values, default, help_text),
        words("BASELINE_CLASS", tr("Baseline class"),
              tr("For BASELINE class_mean: name or number of the class.")),
        words("BASELINE_SPECTRUM", tr("Baseline spectrum"),
              tr("For BASELINE spectrum: values between commas, one per band, in the unit of the scene; "
                 "or the path of a text or CSV file with one value per line.")),
    ]  # fmt: skip


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
