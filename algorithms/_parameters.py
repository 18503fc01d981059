"""Short ways to declare parameters, and one sentence for a value that does not fit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from qgis.core import (
    Qgis,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFile,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsVariantUtils,
)

from ._text import tr


def described(
    parameter: QgsProcessingParameterDefinition, help_text: str, advanced: bool = False
) -> QgsProcessingParameterDefinition:
    """Give `parameter` its help and, where wanted, move it to the advanced section."""
    parameter.setHelp(help_text)
    if advanced:
        parameter.setFlags(parameter.flags() | Qgis.ProcessingParameterFlag.Advanced)
    return parameter


def choice(
    name: str, title: str, values: Sequence[str], default: str, help_text: str, advanced: bool = False
) -> QgsProcessingParameterDefinition:
    """Declare an enum of static strings."""
    parameter = QgsProcessingParameterEnum(
        name, title, options=list(values), defaultValue=default, usesStaticStrings=True
    )
    return described(parameter, help_text, advanced)


def choices(
    name: str, title: str, values: Sequence[str], defaults: Sequence[str], help_text: str
) -> QgsProcessingParameterDefinition:
    """Declare an enum of static strings of which several can be chosen."""
    parameter = QgsProcessingParameterEnum(
        name, title, list(values), allowMultiple=True, defaultValue=",".join(defaults), usesStaticStrings=True
    )
    return described(parameter, help_text)


def whole(
    name: str, title: str, default: int, low: int, high: int, help_text: str, advanced: bool = False
) -> QgsProcessingParameterDefinition:
    """Declare a whole number between `low` and `high`."""
    kind = Qgis.ProcessingNumberParameterType.Integer
    parameter = QgsProcessingParameterNumber(name, title, kind, default, False, low, high)
    return described(parameter, help_text, advanced)


def real(
    name: str, title: str, default: float, low: float, high: float, help_text: str, advanced: bool = False
) -> QgsProcessingParameterDefinition:
    """Declare a number between `low` and `high`."""
    kind = Qgis.ProcessingNumberParameterType.Double
    parameter = QgsProcessingParameterNumber(name, title, kind, default, False, low, high)
    return described(parameter, help_text, advanced)


def switch(
    name: str, title: str, default: bool, help_text: str, advanced: bool = False
) -> QgsProcessingParameterDefinition:
    """Declare a choice of yes or no."""
    return described(QgsProcessingParameterBoolean(name, title, default), help_text, advanced)


def words(name: str, title: str, help_text: str, advanced: bool = False) -> QgsProcessingParameterDefinition:
    """Declare a text that need not be given."""
    return described(QgsProcessingParameterString(name, title, optional=True), help_text, advanced)


def scene(help_text: str, optional: bool = False) -> QgsProcessingParameterDefinition:
    """Declare INPUT."""
    return described(QgsProcessingParameterRasterLayer("INPUT", tr("Scene"), optional=optional), help_text)


def optional_raster(name: str, title: str, help_text: str) -> QgsProcessingParameterDefinition:
    """Declare a raster beside INPUT that need not be given."""
    return described(QgsProcessingParameterRasterLayer(name, title, optional=True), help_text)


def layers(
    name: str, title: str, kind: Qgis.ProcessingSourceType, help_text: str, optional: bool = False
) -> QgsProcessingParameterDefinition:
    """Declare a list of layers or files of one `kind`."""
    return described(QgsProcessingParameterMultipleLayers(name, title, kind, optional=optional), help_text)


def mask(help_text: str) -> QgsProcessingParameterDefinition:
    """Declare MASK, polygons that need not be given."""
    kinds = [Qgis.ProcessingSourceType.VectorPolygon]
    return described(QgsProcessingParameterFeatureSource("MASK", tr("Mask"), kinds, optional=True), help_text)


def device(advanced: bool = True) -> QgsProcessingParameterDefinition:
    """Declare DEVICE."""
    return choice(
        "DEVICE",
        tr("Device"),
        ("auto", "cpu", "cuda"),
        "auto",
        tr(
            "Where the network runs. 'auto' takes the device of the plugin's settings page, and where "
            "that is 'auto' too, the GPU if the engine finds one."
        ),
        advanced,
    )


def memory() -> QgsProcessingParameterDefinition:
    """Declare MEMORY; empty means the budget of the settings page."""
    parameter = QgsProcessingParameterNumber(
        "MEMORY",
        tr("Memory budget (MB)"),
        Qgis.ProcessingNumberParameterType.Integer,
        optional=True,
        minValue=128,
    )
    return described(
        parameter,
        tr(
            "Megabytes that the tiles in work may take, beside the engine itself. Empty: the budget of the "
            "plugin's settings page."
        ),
        advanced=True,
    )


def model_file() -> QgsProcessingParameterDefinition:
    """Declare MODEL as an input."""
    return described(
        QgsProcessingParameterFile(
            "MODEL", tr("Model file"), Qgis.ProcessingFileParameterBehavior.File, extension="safetensors"
        ),
        tr("The .safetensors file that a training algorithm of this plugin wrote."),
    )


def optional_model(name: str, title: str, help_text: str) -> QgsProcessingParameterDefinition:
    """Declare a model file that need not be given."""
    parameter = QgsProcessingParameterFile(name, title, extension="safetensors", optional=True)
    return described(parameter, help_text)


def folder(name: str, title: str, help_text: str) -> QgsProcessingParameterDefinition:
    """Declare an input folder that need not be given."""
    kind = Qgis.ProcessingFileParameterBehavior.Folder
    return described(QgsProcessingParameterFile(name, title, kind, optional=True), help_text)


def chip_stride(default: int) -> QgsProcessingParameterDefinition:
    """Declare CHIP_STRIDE."""
    return whole(
        "CHIP_STRIDE",
        tr("Chip stride (pixels)"),
        default,
        0,
        4096,
        tr(
            "For scene classifiers: pixels from one chip to the next, counted from the raster's corner; 0: "
            "half a chip."
        ),
        advanced=True,
    )


def merge(default: str) -> QgsProcessingParameterDefinition:
    """Declare MERGE."""
    return choice(
        "MERGE",
        tr("Merge"),
        ("uniform", "centre"),
        default,
        tr(
            "For scene classifiers: how chips that overlap are averaged, 'uniform' or with the more weight "
            "the nearer a pixel is to the 'centre' of its chip."
        ),
        advanced=True,
    )


def extent(help_text: str) -> QgsProcessingParameterDefinition:
    """Declare EXTENT."""
    return described(QgsProcessingParameterExtent("EXTENT", tr("Extent"), optional=True), help_text)


def seed() -> QgsProcessingParameterDefinition:
    """Declare SEED."""
    return whole(
        "SEED",
        tr("Seed"),
        0,
        0,
        2**31 - 1,
        tr("Start of the random numbers: the same inputs and seed give the same data."),
        advanced=True,
    )


def is_empty(value: Any) -> bool:
    """Tell whether a parameter's value stands for 'not given': dialogs pass QGIS's NULL, scripts None."""
    return QgsVariantUtils.isNull(value) or (isinstance(value, str) and not value.strip())


def was_given(definition: QgsProcessingParameterDefinition, parameters: dict[str, Any]) -> bool:
    """Tell whether the user chose a value: dialogs pass the defaults too, so those do not count."""
    value = parameters.get(definition.name())
    return not is_empty(value) and value != definition.defaultValue()


def problem_with(definition: QgsProcessingParameterDefinition, value: Any) -> str | None:
    """Say in a sentence why `value` does not fit an enum, a number or a list of files; None where it does.

    Values that a model or an expression supplies later are not judged here.
    """
    if is_empty(value):
        return None
    name = definition.name()
    if isinstance(definition, QgsProcessingParameterEnum):
        for chosen in _chosen(definition, value):
            if isinstance(chosen, (str, int)) and chosen not in definition.options():
                return tr("{name} is '{value}'; it must be one of: {options}.").format(
                    name=name, value=chosen, options=", ".join(definition.options())
                )
    elif isinstance(definition, QgsProcessingParameterMultipleLayers):
        for layer in value if isinstance(value, list) else [value]:
            if isinstance(layer, str) and os.path.isabs(layer) and not os.path.exists(layer):
                return tr("{name}: there is no file {path}; check its name.").format(name=name, path=layer)
    elif isinstance(definition, QgsProcessingParameterNumber):
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                return tr("{name} is '{value}'; it must be a number.").format(name=name, value=value)
        if isinstance(value, (int, float)) and not definition.minimum() <= value <= definition.maximum():
            return tr("{name} is {value:g}; it must be between {low:g} and {high:g}.").format(
                name=name, value=value, low=definition.minimum(), high=definition.maximum()
            )
    return None


def _chosen(definition: QgsProcessingParameterEnum, value: Any) -> list:
    """Return the values of an enum, of which there may be several: as a list, or between commas."""
    if not definition.allowMultiple():
        return [value]
    return value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
