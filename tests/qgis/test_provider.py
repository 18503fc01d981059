"""The provider lists in full without an engine, with the ids and names of the contract."""

from __future__ import annotations

from unittest.mock import MagicMock

import pytest
from qgis.core import (
    Qgis,
    QgsApplication,
    QgsProcessingOutputHtml,
    QgsProcessingOutputNumber,
    QgsProcessingParameterEnum,
    QgsProcessingParameterVectorDestination,
)
from qgis.PyQt.QtWidgets import QMainWindow

from explanation_layers.plugin.main import ExplanationLayersPlugin

PARAMETERS = {
    "setupengine": "PYTHON WHEELS DEVICE ACTION CONSENT",
    "demodata": "SCENE SIZE SEED FOLDER",
    "trainclassifier": "INPUT SERIES SERIES_FOLDER DATES DATE_PATTERN LABELS LABEL_FIELD ARCHITECTURE"
    " PATCH_SIZE NORMALISATION EPOCHS TEST_SHARE SEED CHANNELS START_DATE END_DATE VALUES CALIBRATION"
    " UNLABELLED_VALUE COMPONENTS DEPTH FILTERS TILE_SIZE BRIGHTNESS NORMALISATION_STRENGTH PATIENCE"
    " LEARNING_RATE BATCH_SIZE CLASS_WEIGHTS SPLIT BLOCK_SIZE TEST_LABELS TEST_LABEL_FIELD COMPARE_SPLITS"
    " DEVICE MEMORY MODEL CONFUSION REPORT",
    "trainsceneclassifier": "PATCHES TEST_PATCHES INPUT LABELS LABEL_FIELD BAND ARCHITECTURE PATCH_SIZE"
    " VALUES EPOCHS TEST_SHARE SEED UNLABELLED_VALUE CLIP SPECKLE_FILTER LOOKS AUGMENTATION LEARNING_RATE"
    " SCHEDULE BATCH_SIZE CLASS_WEIGHTS SKIP_UNREADABLE DEVICE MEMORY MODEL CONFUSION REPORT",
    "classify": "INPUT SERIES SERIES_FOLDER DATES DATE_PATTERN MODEL EXTENT CHIP_STRIDE MERGE DEVICE MEMORY"
    " CLASSES CONFIDENCE PROBABILITIES",
    "attribution": "INPUT SERIES SERIES_FOLDER DATES DATE_PATTERN PATCHES MODEL"
    " EXPLAINER TARGET CLASS CONTRAST_CLASS REFERENCE REFERENCE_FIELD BASELINE BASELINE_CLASS "
    "BASELINE_SPECTRUM EXTENT MASK UNLABELLED_VALUE STEPS WAVELENGTHS MAX_STEPS TOLERANCE SAMPLES "
    "OCCLUSION_WINDOW OCCLUSION_BANDS OCCLUSION_STRIDE PARTS RING_LIMITS REGIONS REGION_FIELD "
    "GRAD_CAM_LAYER CHIP_STRIDE MERGE SKIP_UNREADABLE SEED DEVICE MEMORY "
    "ATTRIBUTION SALIENCY CONTINUUM_PART BAND_TABLE CHIP_TABLE CHIP_FOLDER",
    "evaluateexplainers": "PATCHES INPUT LABELS LABEL_FIELD MODEL EXPLAINERS MASKS MASK CHIPS RADIUS SAMPLES"
    " SEED UNLABELLED_VALUE SPECKLE_LOOKS STEPS SEGMENTS BASELINE GRAD_CAM_LAYER OCCLUSION_WINDOW"
    " OCCLUSION_STRIDE"
    " BRIGHT_SHARE RANDOMISED_CHIPS SKIP_UNREADABLE DEVICE MEMORY METRICS MONTAGE REPORT",
    "segmentationcontributions": "INPUT MODEL TARGET CLASS CONTRAST_CLASS LABELS LABEL_FIELD OTHER_MODEL"
    " METHODS BASELINE BASELINE_CLASS BASELINE_SPECTRUM EXTENT UNLABELLED_VALUE CAM_LAYER AUDIT_PIXELS"
    " AUDIT_ERRORS STEPS SAMPLES SEED DEVICE MEMORY CONTRIBUTIONS EVIDENCE CAMS AUDIT CHANNELS"
    " EVIDENCE_TABLE CORRELATION WORST_PIXELS",
    "absorptionfeatures": "INPUT CLASSES ATTRIBUTION MODEL EXPLAINER BASELINE EXTENT MASK WAVELENGTHS"
    " FEATURES_TABLE SHIFTS UNLABELLED_VALUE SEED DEVICE MEMORY FEATURES OVERLAP PLOT DOMINANT",
    "trainautoencoder": "SERIES SERIES_FOLDER DATES DATE_PATTERN CHANNELS START_DATE END_DATE VALUES"
    " CALIBRATION EMBEDDING_DIMENSIONS EPOCHS LABELS LABEL_FIELD EXTENT SEED UNLABELLED_VALUE TEST_SHARE"
    " SAMPLE STRIDE PATIENCE LEARNING_RATE BATCH_SIZE DEVICE MEMORY MODEL ERRORS REPORT",
    "clusterseries": "SERIES SERIES_FOLDER DATES DATE_PATTERN MODEL CLUSTERS LABELS LABEL_FIELD VOTE EXTENT"
    " SEED UNLABELLED_VALUE TEST_SHARE SAMPLE DEVICE MEMORY EMBEDDING CLUSTERS_RASTER CLASSES CONFUSION"
    " SCORES REPORT",
    "gradslam": "SERIES SERIES_FOLDER DATES DATE_PATTERN MODEL TARGET DIMENSIONS CLASS CONTRAST_CLASS LABELS"
    " LABEL_FIELD VARIANT EXTENT SCALING LAYERS UNTRAINED ANOMALY_STEPS PLOT_CHANNEL UNLABELLED_VALUE"
    " SEED DEVICE MEMORY"
    " DATE_IMPORTANCE TOP_DATE DIMENSION_IMPORTANCE SIGNED BEYOND_UNTRAINED CHANNEL_SHARE ANOMALY"
    " ANOMALY_DATES PROFILES DEPENDENCE PLOT",
    "unmix": "INPUT METHOD ENDMEMBERS SPECTRA TRAINED_MODEL EXTENT ANY_BRIGHTNESS SEED EPOCHS SAMPLE"
    " BUNDLE_SIZE SCALE PARTS_OF DEVICE MEMORY ABUNDANCES ENDMEMBERS_TABLE ENDMEMBER_SPREAD NONLINEARITY"
    " UNCERTAINTY RECONSTRUCTION_ERROR BRIGHTNESS PARTS MODEL",
    "comparesensors": "INPUT SENSOR_BANDS LABELS LABEL_FIELD MODELS ARCHITECTURE EPOCHS SEEDS SAMPLE EXTENT"
    " SEED RESAMPLING GRID UNLABELLED_VALUE PATCH_SIZE NORMALISATION TEST_SHARE BLOCK_SIZE DEVICE MEMORY"
    " SHARES SHARES_RASTER ACCURACY CORRELATION REPORT MODEL_FOLDER",
    "misclassifications": "INPUT SERIES SERIES_FOLDER DATES DATE_PATTERN MODEL CLASSES REFERENCE"
    " REFERENCE_FIELD EXPLAINER TRAINING TRAINING_FIELD EXTENT UNLABELLED_VALUE SAMPLE EXPLAINED SEED DEVICE"
    " MEMORY ERRORS CONFUSION REPORT",
}
OUTPUTS = {
    "setupengine": "PYTHON TORCH DEVICE",
    "demodata": "FOLDER RASTER VNIR SWIR LABELS LABEL_RASTER TRUTH EVIDENCE PATCHES TEST_PATCHES MASKS STRATA"
    " TEST_RASTER TEST_LABEL_RASTER TEST_STRATA ABUNDANCES NONLINEARITY MIXING SPECTRA",
    "trainclassifier": "MODEL CONFUSION REPORT OVERALL_ACCURACY KAPPA MEAN_IOU GLOBAL_IOU WEIGHTED_IOU",
    "trainsceneclassifier": "MODEL MODELS CONFUSION REPORT OVERALL_ACCURACY BALANCED_ACCURACY KAPPA",
    "classify": "CLASSES CONFIDENCE PROBABILITIES",
    "attribution": "ATTRIBUTION SALIENCY CONTINUUM_PART BAND_TABLE CHIP_TABLE CHIP_FOLDER MEAN_RESIDUAL"
    " PIXELS CHIPS UNSETTLED ABSORPTION_SHARE",
    "evaluateexplainers": "METRICS MONTAGE REPORT",
    "segmentationcontributions": "CONTRIBUTIONS EVIDENCE CAMS AUDIT CHANNELS EVIDENCE_TABLE CORRELATION"
    " WORST_PIXELS MAX_RESIDUAL PIXELS SPURIOUS_SHARE",
    "absorptionfeatures": "FEATURES OVERLAP PLOT DOMINANT PIXELS FEATURE_SHARE ATMOSPHERE_SHARE"
    " ABSORPTION_SHARE USED_FEATURES SPURIOUS_FEATURES",
    "trainautoencoder": "MODEL ERRORS REPORT RECONSTRUCTION_ERROR DATES",
    "clusterseries": "EMBEDDING CLUSTERS_RASTER CLASSES CONFUSION SCORES REPORT OVERALL_ACCURACY"
    " BALANCED_ACCURACY KAPPA ARI NMI PURITY SUPERVISED_ACCURACY CLUSTERS",
    "gradslam": "DATE_IMPORTANCE TOP_DATE DIMENSION_IMPORTANCE SIGNED BEYOND_UNTRAINED CHANNEL_SHARE ANOMALY"
    " ANOMALY_DATES PROFILES DEPENDENCE PLOT TOP_DATES PIXELS UNTRAINED_CORRELATION ANOMALY_THRESHOLD",
    "comparesensors": "SHARES SHARES_RASTER ACCURACY CORRELATION REPORT MODEL_FOLDER OVERALL_ACCURACY"
    " BEST_SINGLE_ACCURACY ACCURACY_GAIN FIRST_SENSOR_SHARE PIXELS CHANGES",
    "misclassifications": "ERRORS CONFUSION REPORT ERROR_SHARE ERROR_PIXELS ERROR_COUNT PIXELS"
    " OVERALL_ACCURACY KAPPA NEW_ERROR_SHARE TRAINED_SHARE LABEL_ERROR_COUNT MIXED_PIXEL_COUNT EDGE_COUNT"
    " SHADOW_OR_CLOUD_COUNT UNSEEN_SPECTRUM_COUNT GENUINE_CONFUSION_COUNT",
    "unmix": "ABUNDANCES ENDMEMBERS_TABLE ENDMEMBER_SPREAD NONLINEARITY UNCERTAINTY RECONSTRUCTION_ERROR"
    " BRIGHTNESS PARTS MODEL MATERIALS PIXELS MEAN_RECONSTRUCTION_ERROR MEAN_NONLINEARITY OUTSIDE_SHARE",
}


def test_lists_in_full_without_an_engine(provider, no_engine):
    assert {algorithm.name() for algorithm in provider.algorithms()} == set(PARAMETERS)
    assert provider.id() == "explain" and provider.name() == "Explanation Layers"
    assert not provider.icon().isNull()


@pytest.mark.parametrize("name", PARAMETERS)
def test_contract_of(provider, name):
    algorithm = provider.algorithm(name)
    assert {parameter.name() for parameter in algorithm.parameterDefinitions()} == set(
        PARAMETERS[name].split()
    )
    assert {output.name() for output in algorithm.outputDefinitions()} == set(OUTPUTS[name].split())
    assert not Qgis.ProcessingAlgorithmFlag.NoThreading & algorithm.flags()
    assert "Example: qgis_process run" in algorithm.shortHelpString()
    assert algorithm.group() and algorithm.shortDescription()
    for parameter in algorithm.parameterDefinitions():
        assert parameter.help(), f"{parameter.name()} has no help"
        if isinstance(parameter, QgsProcessingParameterEnum):
            assert parameter.usesStaticStrings()


def test_enum_values_of_attribution(provider):
    algorithm = provider.algorithm("attribution")
    options = {
        name: algorithm.parameterDefinition(name).options() for name in ("EXPLAINER", "TARGET", "BASELINE")
    }
    assert options["EXPLAINER"] == [
        "saliency", "input_x_gradient", "integrated_gradients", "gradient_shap", "deeplift",
        "guided_backpropagation", "deconvolution", "grad_cam", "guided_grad_cam", "occlusion",
        "band_ablation", "band_shapley", "secant_contributions", "tangent_contributions",
    ]  # fmt: skip
    assert options["TARGET"] == ["predicted", "class", "reference", "contrast"]
    others = provider.algorithm("segmentationcontributions").parameterDefinition("TARGET").options()
    assert others == ["predicted", "class", "contrast"]
    assert options["BASELINE"] == [
        "auto", "zero", "mean", "class_mean", "spectrum", "continuum", "chip_mean", "speckle",
    ]  # fmt: skip


def test_kinds_of_outputs(provider):
    train = provider.algorithm("trainclassifier")
    assert isinstance(train.outputDefinition("REPORT"), QgsProcessingOutputHtml)
    assert isinstance(train.outputDefinition("OVERALL_ACCURACY"), QgsProcessingOutputNumber)
    table = provider.algorithm("attribution").parameterDefinition("BAND_TABLE")
    assert not isinstance(table, QgsProcessingParameterVectorDestination)
    assert table.dataType() == Qgis.ProcessingSourceType.Vector


def test_plugin_without_a_window_adds_and_removes_its_provider(processing):
    registry = QgsApplication.processingRegistry()
    plugin = ExplanationLayersPlugin(None)
    plugin.initProcessing()
    assert registry.providerById("explain")
    plugin.unload()
    assert registry.providerById("explain") is None


def test_plugin_with_a_window_adds_menu_and_settings_page_and_takes_them_back(processing):
    window = QMainWindow()
    iface = MagicMock()
    iface.mainWindow.return_value = window
    plugin = ExplanationLayersPlugin(iface)
    plugin.initGui()
    entries = [call.args[1].text() for call in iface.addPluginToMenu.call_args_list]
    assert entries == [
        "Train a classifier…",
        "Train a scene classifier…",
        "Classify…",
        "Explain a classifier (attribution)…",
        "Evaluate explainers…",
        "Audit a segmentation (contributions)…",
        "Absorption features…",
        "Train an autoencoder of a series…",
        "Cluster a series…",
        "Explain a series (Grad-SLAM)…",
        "Compare sensors…",
        "Unmix…",
        "Find mistakes…",
        "Set up the engine…",
        "Review mistakes",
        "Explain at a click",
        "Settings…",
    ]
    (factory,) = iface.registerOptionsWidgetFactory.call_args.args
    assert factory.createWidget(window).objectName() == "explanation_layers"
    plugin.actions[-1].trigger()
    iface.showOptionsDialog.assert_called_once_with(window, "explanation_layers")
    plugin.unload()
    assert iface.removePluginMenu.call_count == len(entries)
    iface.unregisterOptionsWidgetFactory.assert_called_once_with(factory)
