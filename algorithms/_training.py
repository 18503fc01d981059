"""What the algorithms that train networks ask alike."""

from __future__ import annotations

from qgis.core import QgsProcessingParameterDefinition

from ._parameters import real, whole
from ._text import tr

# Networks that read a pixel or a patch around it.
PIXEL_ARCHITECTURES = ("spectral_cnn", "spatial_cnn", "hybrid_cnn")
NORMALISATIONS = ("none", "standard", "per_pixel")


def epochs(default: int, help_text: str = "", advanced: bool = False) -> QgsProcessingParameterDefinition:
    """Declare EPOCHS."""
    help_text = help_text or tr("Most passes over the training pixels.")
    return whole("EPOCHS", tr("Epochs"), default, 1, 100000, help_text, advanced)


def patience(default: int) -> QgsProcessingParameterDefinition:
    """Declare PATIENCE."""
    help_text = tr("Training stops after this many epochs in a row without a better validation.")
    return whole("PATIENCE", tr("Patience (epochs)"), default, 1, 100000, help_text, advanced=True)


def test_share(default: float, help_text: str, advanced: bool = True) -> QgsProcessingParameterDefinition:
    """Declare TEST_SHARE."""
    return real("TEST_SHARE", tr("Test share"), default, 0.01, 0.99, help_text, advanced)


def block_size(default: int) -> QgsProcessingParameterDefinition:
    """Declare BLOCK_SIZE."""
    help_text = tr("Side of the blocks that part training from test; 0: chosen from where the labels lie.")
    return whole("BLOCK_SIZE", tr("Block size (pixels)"), default, 0, 100000, help_text, advanced=True)


def patch_size(default: int, advanced: bool = False) -> QgsProcessingParameterDefinition:
    """Declare PATCH_SIZE."""
    help_text = tr(
        "Side of the patch of spatial_cnn and hybrid_cnn, an odd number; hybrid_cnn needs 9 or more."
    )
    return whole("PATCH_SIZE", tr("Patch size (pixels)"), default, 1, 99, help_text, advanced)
