"""explain:absorptionfeatures: the absorptions of classes by name, and which of them a network looks at."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFile,
)

from ..engine.jobs import AbsorptionFeaturesJob as Job
from ._base import EngineAlgorithm
from ._destinations import picture, raster, table
from ._labels import unlabelled_value
from ._parameters import (
    choice,
    described,
    device,
    extent,
    mask,
    memory,
    optional_model,
    optional_raster,
    scene,
    seed,
    whole,
    words,
)
from ._text import tr

EXPLAINERS = ("integrated_gradients", "deeplift", "occlusion", "band_ablation")
BASELINES = ("auto", "zero", "mean", "continuum")


class AbsorptionFeatures(EngineAlgorithm):
    """Finds and names the absorptions of classes, and says which of them a network follows."""

    ID = "absorptionfeatures"
    GROUP = "explanation"
    FILES = ("DOMINANT", "PLOT")
    TABLES = ("FEATURES", "OVERLAP")

    def displayName(self) -> str:
        return tr("Absorption features")

    def shortDescription(self) -> str:
        return tr("Names the absorptions in the spectra of classes, and says which a network looks at.")

    def tags(self) -> list[str]:
        return [
            "explain", "explainability", "xai", "absorption", "hyperspectral", "spectroscopy", "continuum",
            "minerals", "vegetation", "chlorophyll", "water",
        ]  # fmt: skip

    def group_title(self) -> str:
        return tr("Absorption features of {scene}").format(scene=self.raster.name)

    def shortHelpString(self) -> str:
        return tr(
            "Does the network look at real absorption features? For each class: the mean spectrum, its "
            "continuum (upper hull), the absorptions below it with centre, depth, width, area and asymmetry, "
            "named after a table of known features; and the share of the attributions on each of them, "
            "compared with chance. A feature is 'used and present', 'present, not used', or 'used, not "
            "present (spurious)'. What lies where the atmosphere takes the light is flagged.\n"
            "Attributions come from the raster ATTRIBUTION, made by 'Explain a classifier', or MODEL is "
            "explained on the way. Chance is what the same attributions would put there if they were shifted "
            "along the spectrum, with what the pixels differ by from the baseline left in place.\n"
            "Outputs: A table with a row per class and feature; a table of how far attributions and "
            "absorptions overlap by class; a plot with spectrum, continuum-removed spectrum and attribution "
            "on one axis; on request a raster of the feature that holds most of each pixel's attribution. "
            "FEATURE_SHARE and ATMOSPHERE_SHARE are means over the classes.\n"
            "Example: qgis_process run explain:absorptionfeatures --INPUT=scene.tif "
            "--MODEL=model.safetensors --FEATURES=features.csv --OVERLAP=overlap.csv --PLOT=features.png"
        )

    def _inputs(self) -> list:
        return [
            scene(tr("Raster with the bands that the model was trained with, and their wavelengths.")),
            optional_raster("CLASSES", tr("Classes"),
                            tr("Raster of class numbers, predicted or reference; where it is on another "
                               "grid, each pixel gets the nearest. Empty: the classes that MODEL sees.")),
            optional_raster("ATTRIBUTION", tr("Attribution"),
                            tr("Raster that 'Explain a classifier' made of this scene, or of a part of it. "
                               "Empty: MODEL is explained on the way.")),
            optional_model("MODEL", tr("Model file"),
                           tr("A classifier of pixels or patches. Needed without ATTRIBUTION, and without "
                              "CLASSES.")),
            choice("EXPLAINER", tr("Explainer"), EXPLAINERS, Job.explainer,
                   tr("Without ATTRIBUTION: the method that explains MODEL for the predicted class of each "
                      "pixel.")),
            choice("BASELINE", tr("Baseline"), BASELINES, Job.baseline,
                   tr("Without ATTRIBUTION: the spectrum that stands for 'no evidence'. 'auto' is the "
                      "'continuum'.")),
            extent(tr("Part of the scene to look at, in any CRS; empty: all of it.")),
            mask(tr("Polygons, in any CRS: only pixels whose centre lies inside one count.")),
        ]  # fmt: skip

    def _advanced(self) -> list:
        return [
            words("WAVELENGTHS", tr("Wavelengths"),
                  tr("Where neither the scene nor the model tells them: wavelengths in nm or µm between "
                     "commas, one per band; or the path of a text or CSV file with one per line."), True),
            described(
                QgsProcessingParameterFile("FEATURES_TABLE", tr("Table of features"), optional=True),
                tr("CSV file of more named features, with the columns name, kind, centre_nm, window_nm, "
                   "left_continuum_nm, right_continuum_nm and source; a row whose name is known takes that "
                   "one's place."),
                advanced=True,
            ),
            whole("SHIFTS", tr("Shifts"), Job.shifts, 1, 1_000_000,
                  tr("Random shifts that stand for chance; no p is below one over this."), True),
            unlabelled_value(Job.unlabelled_value),
            seed(),
            device(),
            memory(),
        ]  # fmt: skip

    def _destinations(self) -> list:
        return [
            table("FEATURES", tr("Features"),
                  tr("Table with a row per class and absorption, or peak of attributions in none.")),
            table("OVERLAP", tr("Overlap"),
                  tr("Table with a row per class: how far its attributions lie on its absorptions.")),
            picture("PLOT", tr("Plot of features"),
                    tr("PNG with a panel per class: spectrum, continuum-removed spectrum, attribution.")),
            raster("DOMINANT", tr("Dominant feature"),
                   tr("GeoTIFF of the named feature that holds most of each pixel's attribution, with "
                      "legend."), by_default=False),
        ]  # fmt: skip

    def _results(self) -> list:
        return [
            QgsProcessingOutputNumber("PIXELS", tr("Pixels")),
            QgsProcessingOutputNumber("FEATURE_SHARE", tr("Share of the attributions on absorptions")),
            QgsProcessingOutputNumber("ATMOSPHERE_SHARE", tr("Share in atmospheric windows")),
            QgsProcessingOutputNumber("ABSORPTION_SHARE", tr("Share that absorptions have in the output")),
            QgsProcessingOutputNumber("USED_FEATURES", tr("Features used and present")),
            QgsProcessingOutputNumber("SPURIOUS_FEATURES", tr("Features used, not present")),
        ]

    def job(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        outputs: dict[str, Any],
    ) -> Job:
        classes = self.raster_path("CLASSES", parameters, context, feedback)
        attribution = self.raster_path("ATTRIBUTION", parameters, context, feedback)
        if attribution:
            for name in ("EXPLAINER", "BASELINE"):
                self.warn_unused(name, "ATTRIBUTION", parameters, feedback)
        if not classes:
            self.warn_unused("UNLABELLED_VALUE", tr("no CLASSES"), parameters, feedback)
        return Job(
            scene=self.scene(context, feedback),
            class_raster=classes,
            attribution=attribution,
            model=self.path("MODEL", parameters, context),
            wavelengths=self.spectrum("WAVELENGTHS", parameters, context),
            features_table=self.path("FEATURES_TABLE", parameters, context),
            extent=self.extent(parameters, context),
            mask_features=self.mask_features(context, feedback),
            **self.choices("EXPLAINER", "BASELINE"),
            **self.numbers(("UNLABELLED_VALUE", "SHIFTS"), parameters, context),
            **self.common(parameters, context),
            **outputs,
        )
