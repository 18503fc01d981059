"""SPECTRA: a table of spectra, a CSV file or any table that QGIS opens, written as CSV for the engine."""

from __future__ import annotations

import csv
from pathlib import Path

from qgis.core import (
    Qgis,
    QgsFeatureRequest,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSource,
    QgsProcessingFeedback,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFeatureSource,
    QgsProcessingUtils,
    QgsVariantUtils,
)

from ._parameters import described
from ._text import tr


def spectra_table(help_text: str) -> QgsProcessingParameterDefinition:
    """Declare SPECTRA, which need not be given."""
    kinds = [Qgis.ProcessingSourceType.Vector]
    parameter = QgsProcessingParameterFeatureSource("SPECTRA", tr("Spectra"), kinds, optional=True)
    return described(parameter, help_text)


def export_table(
    source: QgsProcessingFeatureSource, context: QgsProcessingContext, feedback: QgsProcessingFeedback
) -> str:
    """Write the fields of a table, without geometry, to a temporary CSV file and return its path."""
    path = Path(QgsProcessingUtils.generateTempFilename("spectra.csv", context))
    request = QgsFeatureRequest()
    request.setFlags(Qgis.FeatureRequestFlag.NoGeometry)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(source.fields().names())
        for feature in source.getFeatures(request):
            if feedback.isCanceled():
                raise QgsProcessingException(tr("Cancelled."))
            writer.writerow("" if QgsVariantUtils.isNull(value) else value for value in feature.attributes())
    return str(path)
