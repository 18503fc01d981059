"""explain:unmix: what pixels are made of, and in what shares."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
)

from ..engine.unmix_jobs import UnmixJob as Job
from ._base import EngineAlgorithm
from ._choices import Rules
from ._destinations import check_model, model, raster, table
from ._parameters import (
    choice,
    device,
    extent,
    is_empty,
    memory,
    optional_model,
    real,
    scene,
    seed,
    switch,
    whole,
)
from ._spectra import export_table, spectra_table
from ._text import tr
from ._training import epochs

METHODS = ("idnet", "fcls")
PARTS_OF = ("mean", "bands")
_NUMBERS = ("ENDMEMBERS", "SAMPLE", "EPOCHS", "BUNDLE_SIZE")
# What a trained model has decided already.
_OF_TRAINING = ("ENDMEMBERS", "SPECTRA", "SAMPLE", "EPOCHS", "BUNDLE_SIZE", "ANY_BRIGHTNESS",
                "SCALE")  # fmt: skip


class Unmix(EngineAlgorithm):
    """Divides each pixel among materials."""

    ID = "unmix"
    GROUP = "unmixing"
    FILES = (
        "PARTS", "BRIGHTNESS", "UNCERTAINTY", "ENDMEMBER_SPREAD", "RECONSTRUCTION_ERROR", "NONLINEARITY",
        "ABUNDANCES", "MODEL",
    )  # fmt: skip
    TABLES = ("ENDMEMBERS_TABLE",)
    RULES = Rules(
        used_with={"EPOCHS": ("METHOD", ("idnet",)), "BUNDLE_SIZE": ("METHOD", ("idnet",))},
    )

    def displayName(self) -> str:
        return tr("Unmix")

    def shortDescription(self) -> str:
        return tr(
            "Maps the share of each material in every pixel, its spectrum, and how nonlinear mixing is."
        )

    def tags(self) -> list[str]:
        return ["unmixing", "abundance", "endmember", "hyperspectral", "fcls", "vca", "id-net", "nonlinear",
                "mixed pixels", "spectral library"]  # fmt: skip

    def group_title(self) -> str:
        return tr("Unmixing of {scene}").format(scene=self.raster.name)

    def shortHelpString(self) -> str:
        return tr(
            "Divides each pixel of a hyperspectral scene among materials (endmembers), whose abundances add "
            "up to 1. 'idnet' (Borsoi, Imbiriba & Erdogmus 2023) learns on the scene, without labels, how "
            "each material's spectrum varies and how mixing departs from a sum; 'fcls' is fully constrained "
            "least squares with fixed spectra, exact and fast. Spectra are found in the scene by vertex "
            "component analysis, or given as SPECTRA. Reflectance stored as whole numbers or per cent is "
            "scaled by a rule that the log states.\n"
            "Outputs: The abundances, a band per material; the table of endmembers (mean, 5th and 95th "
            "percentile per band); of 'idnet' also how far each pixel's spectra are from the scene's, how "
            "large the nonlinear part is, and the abundances' standard deviation; the reconstruction error; "
            "on request the parts, which add up to each pixel's reflectance; a model file that unmixes other "
            "scenes of the same sensor.\n"
            "Example: qgis_process run explain:unmix --INPUT=scene.tif --METHOD=idnet --ENDMEMBERS=4 "
            "--ABUNDANCES=abundances.tif --ENDMEMBERS_TABLE=endmembers.csv --MODEL=model.safetensors"
        )

    def _inputs(self) -> list:
        return [
            scene(tr("Raster of reflectance; all its bands are used, except those that its header marks as "
                     "bad, that are constant, or that have no data at most pixels.")),
            choice("METHOD", tr("Method"), METHODS, Job.method,
                   tr("'idnet': a network with spectra that vary and nonlinear mixing; 'fcls': fully "
                      "constrained least squares with fixed spectra.")),
            whole("ENDMEMBERS", tr("Endmembers"), Job.endmembers, 0, 62,
                  tr("How many materials there are; 0: as many as the scene shows, or as SPECTRA has.")),
            spectra_table(
                tr("Table of the materials' spectra, in place of those found in the scene: a CSV file or "
                   "table layer with a column of wavelengths (wavelength_nm or wavelength_um) and a column "
                   "per material; or a row per spectrum with the material's name and columns named after "
                   "wavelengths, where several rows of one name are its bundle; or ENDMEMBERS_TABLE of "
                   "another run. They must cover the scene's wavelengths.")
            ),
            optional_model("TRAINED_MODEL", tr("Trained model"),
                           tr("MODEL of another run of the same METHOD on the same sensor: unmixes with it "
                              "and learns nothing.")),
            extent(tr("Part of the scene to learn from and to unmix, in any CRS; empty: all of it.")),
            switch("ANY_BRIGHTNESS", tr("Any brightness"), Job.any_brightness,
                   tr("Let each pixel be any times darker or brighter than its mixture, as shade, slopes "
                      "and the sun make it: only the shape of its spectrum decides (scaled least squares). "
                      "Off: a dark pixel holds dark materials.")),
            seed(),
        ]  # fmt: skip

    def _advanced(self) -> list:
        return [
            epochs(Job.epochs, tr("Passes over the sample that idnet is trained for."), advanced=True),
            whole("SAMPLE", tr("Sample (pixels)"), Job.sample, 1, 10_000_000,
                  tr("Pixels in which endmembers are looked for and idnet is trained, drawn evenly over the "
                     "scene."), True),
            whole("BUNDLE_SIZE", tr("Bundle size (pixels)"), Job.bundle_size, 1, 100000,
                  tr("Most pure pixels of a material, from which idnet learns how it varies."), True),
            real("SCALE", tr("Scale"), Job.scale, 0, 1e9,
                 tr("What stored values are divided by to be reflectance, such as 10000; 0: told from their "
                    "type and size."), True),
            choice("PARTS_OF", tr("Parts of"), PARTS_OF, Job.parts_of,
                   tr("Whether PARTS has each part's 'mean' over the bands, or all of its 'bands', which is "
                      "a large raster: best for a small EXTENT."), True),
            device(),
            memory(),
        ]  # fmt: skip

    def _destinations(self) -> list:
        return [
            raster("ABUNDANCES", tr("Abundances"),
                   tr("GeoTIFF with a band per material: its share of the pixel. The bands add up to 1.")),
            table("ENDMEMBERS_TABLE", tr("Endmembers"),
                  tr("Table per material and band: mean, 5th and 95th percentile of the reflectance, over "
                     "the pixels with 10 % or more of the material.")),
            raster("ENDMEMBER_SPREAD", tr("Endmember spread"),
                   tr("GeoTIFF with a band per material: root mean square over the bands of how far the "
                      "pixel's spectrum of it is from the scene's, in reflectance.")),
            raster("NONLINEARITY", tr("Nonlinearity"),
                   tr("GeoTIFF of two shares, 0 to 1: of the nonlinear part in the mixture, and of the "
                      "nonlinear stream in the way to the abundances.")),
            raster("UNCERTAINTY", tr("Uncertainty of the abundances"),
                   tr("GeoTIFF with a band per material: the standard deviation of its abundance."),
                   by_default=False),
            raster("RECONSTRUCTION_ERROR", tr("Reconstruction error"),
                   tr("GeoTIFF of the root mean square over the bands of what the model leaves unexplained, "
                      "in reflectance.")),
            raster("BRIGHTNESS", tr("Brightness"),
                   tr("With ANY_BRIGHTNESS: GeoTIFF of how many times brighter than its mixture each pixel "
                      "is."), by_default=False),
            raster("PARTS", tr("Parts"),
                   tr("GeoTIFF of what each material, the nonlinear mixing, the clipping at 0 and the "
                      "residual give of the pixel's reflectance; they add up to it."), by_default=False),
            model(tr("The model, one file: unmixes other scenes of the same sensor as TRAINED_MODEL, and "
                     "attribution explains it."), optional=True),
        ]  # fmt: skip

    def _results(self) -> list:
        return [
            QgsProcessingOutputNumber("MATERIALS", tr("Number of materials")),
            QgsProcessingOutputNumber("PIXELS", tr("Unmixed pixels")),
            QgsProcessingOutputNumber("MEAN_RECONSTRUCTION_ERROR", tr("Mean reconstruction error")),
            QgsProcessingOutputNumber("MEAN_NONLINEARITY", tr("Mean nonlinear share of the mixing")),
            QgsProcessingOutputNumber("OUTSIDE_SHARE", tr("Share of pixels outside of the model")),
        ]

    def job(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        outputs: dict[str, Any],
    ) -> Job:
        trained = self.path("TRAINED_MODEL", parameters, context)
        if trained:
            for name in _OF_TRAINING:
                self.warn_unused(name, "TRAINED_MODEL", parameters, feedback)
        if outputs["model"]:
            check_model(outputs["model"])
        return Job(
            scene=self.scene(context, feedback),
            spectra=None if trained else self._spectra_path(parameters, context, feedback),
            trained_model=trained,
            extent=self.extent(parameters, context),
            **self.choices("METHOD", "PARTS_OF"),
            **self.switches(("ANY_BRIGHTNESS",), parameters, context),
            **self.fractions(("SCALE",), parameters, context),
            **self.numbers(_NUMBERS, parameters, context),
            **self.common(parameters, context),
            **outputs,
        )

    def _spectra_path(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> str | None:
        if is_empty(parameters.get("SPECTRA")):
            return None
        table = self.sources["SPECTRA"]
        if table is None:
            raise QgsProcessingException(
                tr("SPECTRA is not a table that QGIS can open; choose a CSV file or a table layer.")
            )
        return export_table(table, context, feedback)
