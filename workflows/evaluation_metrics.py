"""The scores of an evaluation: how they are called, what they mean, which end is good."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A score: `name` is its column. Only `ranked` ones count in the ranking, with their `family`.

    `lower_is_better` is None where neither end is.
    """

    name: str
    title: str
    family: str
    lower_is_better: bool | None
    ranked: bool
    meaning: str


METRICS = (
    Metric("max_sensitivity", "Max-Sensitivity", "robustness", True, True,
           "Largest relative change of the map (Frobenius norm) over random changes of every pixel by up to "
           "the radius; Yeh et al. 2019."),
    Metric("average_sensitivity", "Average sensitivity", "robustness", True, False,
           "Mean of the same changes instead of the largest."),
    Metric("speckle_sensitivity", "Speckle sensitivity", "robustness", True, True,
           "Largest relative change of the map over draws of more speckle, of the stated looks, on the "
           "stored values."),
    Metric("infidelity", "Infidelity", "faithfulness", True, False,
           "Mean squared error of the map as a forecast of how the logit changes when squares (of pixel "
           "classifiers: spans of bands) are set to the baseline; depends on the map's unit."),
    Metric("infidelity_scaled", "Infidelity, scaled", "faithfulness", True, True,
           "The same with each map multiplied by the number that suits it best, so that methods compare."),
    Metric("deletion", "Deletion", "faithfulness", True, True,
           "Area under the softmax probability of the target while blocks of 5 x 5 pixels (of pixel "
           "classifiers: bands) are set to the baseline, the highest first; Petsiuk et al. 2018."),
    Metric("insertion", "Insertion", "faithfulness", False, True,
           "The same while they are put back onto the baseline."),
    Metric("residual", "Completeness residual", "completeness", True, False,
           "Mean |output - baseline output - sum of the map| over the mean |output - baseline output|; only "
           "of methods whose values are contributions, of tangents from their own reference."),
    Metric("randomised_similarity", "Similarity after randomisation", "randomisation", True, True,
           "Mean |Spearman| of the map with that of networks whose weights were permuted from the output "
           "down (of U-Nets: of the bands' sums); near 1 the map does not depend on what was learnt; Adebayo "
           "et al. 2018."),
    Metric("png_kb", "Gray PNG (KB)", "complexity", True, True,
           "XAI entropy: size of the map as 8-bit gray PNG of its own size, zlib level 9, no metadata."),
    Metric("figure_kb", "Colour PNG (KB)", "complexity", True, False,
           "Size of the map in colours, enlarged to 400 x 400, as in a figure."),
    Metric("shuffled_ratio", "PNG over shuffled", "complexity", True, False,
           "Gray PNG over that of the same pixels shuffled: 1 means no arrangement at all."),
    Metric("entropy_bits", "Entropy (bits per pixel)", "complexity", True, False,
           "Shannon's entropy of the gray levels; arrangement plays no part."),
    Metric("gini", "Gini index", "complexity", False, True,
           "0 where all pixels have the same share of the map, near 1 where few hold all of it."),
    Metric("mass_in_mask", "Mass in the mask", "localisation", False, True,
           "Share of the map's absolute values inside the mask."),
    Metric("rank_in_mask", "Rank in the mask", "localisation", False, True,
           "Share of the highest pixels, as many as the mask has, that lie inside."),
    Metric("pointing_game", "Pointing game", "localisation", False, True,
           "Share of chips whose highest pixel lies in the mask."),
    Metric("auc_in_mask", "AUC in the mask", "localisation", False, True,
           "Chance that a pixel inside the mask is higher than one outside."),
    Metric("bright_share", "Share on the bright return", "bright return", None, False,
           "Share of the map's absolute values on the chip's brightest pixels, averaged over 3 x 3; by "
           "chance it would be the share of these pixels."),
)  # fmt: skip
# Those of how a map is arranged: of one that has a value for a band and no place in it they say nothing.
OF_PLACES = frozenset(metric.name for metric in METRICS if metric.family in ("complexity", "localisation"))
BY_NAME = {metric.name: metric for metric in METRICS}

_READABLE = {
    "grad_cam": "Grad-CAM", "guided_grad_cam": "Guided Grad-CAM", "input_x_gradient": "Input × gradient",
    "deeplift": "DeepLIFT", "gradient_shap": "Gradient SHAP",
}  # fmt: skip


def readable(name: str) -> str:
    """Return the name of an explainer as in a text."""
    return _READABLE.get(name, name.replace("_", " ").capitalize())
