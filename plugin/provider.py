"""The Processing provider: lists all algorithms, whether or not an engine is set up."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from ..algorithms import _settings
from ..algorithms.absorption_features import AbsorptionFeatures
from ..algorithms.attribution import Attribution
from ..algorithms.classify import Classify
from ..algorithms.cluster_series import ClusterSeries
from ..algorithms.compare_sensors import CompareSensors
from ..algorithms.demo_data import DemoData
from ..algorithms.evaluate_explainers import EvaluateExplainers
from ..algorithms.grad_slam import GradSlam
from ..algorithms.misclassifications import Misclassifications
from ..algorithms.segmentation_contributions import SegmentationContributions
from ..algorithms.setup_engine import SetupEngine
from ..algorithms.train_autoencoder import TrainAutoencoder
from ..algorithms.train_classifier import TrainClassifier
from ..algorithms.train_scene_classifier import TrainSceneClassifier
from ..algorithms.unmix import Unmix

ROOT = Path(__file__).resolve().parents[1]
ICON = str(ROOT / "resources" / "icons" / "explain.svg")
ALGORITHMS = (
    SetupEngine, DemoData, TrainClassifier, TrainSceneClassifier, Classify, Attribution, EvaluateExplainers,
    SegmentationContributions, AbsorptionFeatures, TrainAutoencoder, ClusterSeries, GradSlam, CompareSensors,
    Unmix, Misclassifications,
)  # fmt: skip


def plugin_version() -> str:
    """Return the version that metadata.txt states."""
    metadata = ConfigParser(interpolation=None)
    metadata.read(ROOT / "metadata.txt", encoding="utf-8")
    return metadata.get("general", "version", fallback="")


class ExplanationLayersProvider(QgsProcessingProvider):
    """Provider `explain`."""

    def id(self) -> str:
        """Return the permanent id."""
        return "explain"

    def name(self) -> str:
        """Return the name, which is not translated."""
        return "Explanation Layers"

    def icon(self) -> QIcon:
        """Return the icon."""
        return QIcon(ICON)

    def svgIconPath(self) -> str:
        """Return the icon's path."""
        return ICON

    def versionInfo(self) -> str:
        """Return the plugin's version and the engine's as last seen; no engine is started for it."""
        engine = _settings.versions()
        return f"{plugin_version()} ({engine})" if engine else plugin_version()

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        """Rasters are written as GeoTIFF only."""
        return ["tif", "tiff"]

    def loadAlgorithms(self) -> None:
        """Add every algorithm; those that need the engine say so when they run."""
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm())
