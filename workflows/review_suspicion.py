"""Why a pixel may be wrong: stated rules, tried in order, each with the numbers that decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .review_neighbours import PERCENTILE, ClassSpace, Mixture, Near, Samples

LABEL_ERROR, MIXED, EDGE = "label error", "mixed pixel", "edge"
DARK_OR_BRIGHT, UNSEEN, CONFUSED = "shadow or cloud", "unseen spectrum", "genuine confusion"
SUSPICIONS = (LABEL_ERROR, MIXED, EDGE, DARK_OR_BRIGHT, UNSEEN, CONFUSED)

# Neighbours of the predicted class that a wrongly labelled pixel has at least: 8 of 10 is beyond what chance
# gives two classes that are equally near (5 %).
_VOTES = 0.8
# Likelier than all other classes together.
_LIKELIER = 0.5
# A wrong label is wrong for a whole parcel. Where the model accepts more than half of the parcel's pixels as
# what they are labelled, it is rather the model that errs on the others.
_OF_PARCEL = 0.5
# Wider than three pixels: of a square of five by five, nine are inside; borders that do not fit are narrower.
_THICK = 0.25
# A mixture that has less of a class than this is hardly told from the other class alone.
_LEAST_SHARE = 0.25
# Two classes that the model finds about equally likely.
_SPLIT = 0.3
# Tukey's outer fences (1977): beyond these lie 2 in a million of a normal distribution.
_FENCE = 3.0

RULES = {
    DARK_OR_BRIGHT: (
        "The mean of the bands lies beyond Tukey's outer fences of the correct samples: "
        f"{_FENCE:g} times the quartiles' distance below the first or above the third, of logarithms where "
        "all are above 0. Not looked for in series."
    ),
    LABEL_ERROR: (
        "The model finds the predicted class likelier than all others together, which is less than confident "
        "learning asks (Northcutt et al. 2021): a wrong label that trained the model holds it back; "
        f"{100 * _VOTES:.0f} % or more of the nearest samples have the "
        "predicted class; the spectrum is within what that class's own samples show, nearer to its mean than "
        "to the labelled class's, and no mixture; and the error takes more than half of the reference's "
        "parcel, or is wider than a border."
    ),
    MIXED: (
        "A mixture of the labelled or the predicted class with another "
        f"({100 * _LEAST_SHARE:.0f} % of each or more) fits the spectrum better than any class, by more than "
        "for 95 % of correct samples; or the model is split between two classes (less than "
        f"{_SPLIT:g} apart) at a border."
    ),
    EDGE: "Within the model's patch of a border of the reference, or of the predictions around a point.",
    UNSEEN: (
        f"Farther from the nearest sample than {PERCENTILE} % of correct samples are from their nearest "
        "other one."
    ),
    CONFUSED: "None of these: the model, or the map, confuses the two classes.",
}


class Facts(NamedTuple):
    """What is known of n wrong pixels; classes int64 (n,), `confidence` and `split` NaN without a model.

    `squared` (n, class): distance from the classes' means, in each class's limit. `brightness`: mean of the
    bands. `parcel_share`: NaN for points; `inner`: the share of the region's pixels whose eight neighbours
    are in it too.
    """

    true: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    split: np.ndarray
    edge: np.ndarray
    parcel_share: np.ndarray
    inner: np.ndarray
    near: Near
    squared: np.ndarray
    mixture: Mixture
    brightness: np.ndarray


@dataclass(frozen=True)
class Known:
    """What errors are compared with: samples and means of the classes, called `names`.

    `fences`: the lowest and highest brightness that is not out of the ordinary.
    """

    samples: Samples
    space: ClassSpace
    fences: tuple[float, float]
    names: Sequence[str]


@dataclass(frozen=True)
class Suspicion:
    """A suspicion and the sentence that says what it rests on."""

    name: str
    rule: str


def fences(brightness: np.ndarray) -> tuple[float, float]:
    """Return Tukey's outer fences of the brightness of correct samples."""
    positive = bool((brightness > 0).all())
    values = np.log(brightness) if positive else brightness
    low, high = np.percentile(values, (25, 75))
    ends = low - _FENCE * (high - low), high + _FENCE * (high - low)
    return (float(np.exp(ends[0])), float(np.exp(ends[1]))) if positive else (float(ends[0]), float(ends[1]))


def suspect(facts: Facts, known: Known) -> Suspicion:
    """Return the first suspicion that more than half of a region's looked-at pixels give reason for."""
    tests = {
        DARK_OR_BRIGHT: _most((facts.brightness < known.fences[0]) | (facts.brightness > known.fences[1])),
        LABEL_ERROR: _like_a_wrong_label(facts, known),
        MIXED: _most(_between(facts, known) | (facts.edge & (facts.split < _SPLIT))),
        EDGE: _most(facts.edge),
        UNSEEN: _most(facts.near.distance > known.samples.limit),
    }
    name = next((name for name, holds in tests.items() if holds), CONFUSED)
    return Suspicion(name, _sentence(name, facts, known))


def _most(holds: np.ndarray) -> bool:
    return bool(2 * np.count_nonzero(holds) > len(holds))


def _like_a_wrong_label(facts: Facts, known: Known) -> bool:
    """Tell whether each sign of a wrong label is there in most of a region's pixels."""
    place = np.arange(len(facts.true))
    own, labelled = facts.squared[place, facts.predicted], facts.squared[place, facts.true]
    signs = (
        np.isnan(facts.confidence) | (facts.confidence > _LIKELIER),
        facts.near.votes[place, facts.predicted] >= _VOTES,
        facts.near.distance <= known.samples.limit,
        own <= 1,
        own < labelled,
        ~_between(facts, known),
        np.isnan(facts.parcel_share) | (facts.parcel_share > _OF_PARCEL) | (facts.inner >= _THICK),
    )
    return all(_most(sign) for sign in signs)


def _between(facts: Facts, known: Known) -> np.ndarray:
    mixed = facts.mixture
    shared = np.minimum(mixed.share, 1 - mixed.share) >= _LEAST_SHARE
    return shared & (known.space.gain(facts.squared, mixed) > known.space.gain_limit)


def _sentence(name: str, facts: Facts, known: Known) -> str:
    """Return what a suspicion rests on, in medians of the region's looked-at pixels."""
    true, predicted = int(facts.true[0]), int(facts.predicted[0])
    names = known.names
    away, limit = float(np.median(facts.near.distance)), known.samples.limit
    votes = 100 * np.median(facts.near.votes, axis=0)
    distance = f"{away:.2f} times the usual distance from the nearest sample"
    if name == DARK_OR_BRIGHT:
        low, high = known.fences
        return f"Mean of the bands {np.median(facts.brightness):.4g}, outside of {low:.4g} to {high:.4g}."
    if name == LABEL_ERROR:
        text = f"{votes[predicted]:.0f} % of the nearest samples are {names[predicted]}, {votes[true]:.0f} % "
        text += f"{names[true]}; {distance}"
        if not np.isnan(facts.confidence).any():
            text += f"; probability {np.median(facts.confidence):.3f}"
        if not np.isnan(facts.parcel_share[0]):
            text += f"; {100 * facts.parcel_share[0]:.0f} % of the parcel"
        return text + "."
    if name == MIXED:
        return _of_mixture(facts, known)
    if name == EDGE:
        return f"Within the model's patch of a border between {names[true]} and others."
    if name == UNSEEN:
        return f"{distance.capitalize()}; {PERCENTILE} % of samples are within {limit:.2f}."
    return (
        f"No other rule holds: {votes[predicted]:.0f} % of the nearest samples are {names[predicted]}, "
        f"{votes[true]:.0f} % {names[true]}; {distance}."
    )


def _of_mixture(facts: Facts, known: Known) -> str:
    mixed, between = facts.mixture, _between(facts, known)
    if not between.any():
        apart = np.median(facts.split)
        return f"At a border, and the two likeliest classes are {apart:.2f} apart in probability."
    pixel = int(np.argmax(between))
    share = 100 * mixed.share[pixel]
    first, second = known.names[mixed.first[pixel]], known.names[mixed.second[pixel]]
    return (
        f"{100 - share:.0f} % {first} and {share:.0f} % {second} fit {mixed.squared[pixel]:.2f}, the nearest "
        f"class {facts.squared[pixel].min():.2f}; of 95 % of correct samples the difference is within "
        f"{known.space.gain_limit:.2f} (1: the limit of a class)."
    )
