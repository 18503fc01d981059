"""The HTML report of a comparison of sensors: accuracy, shares, band profiles, and what changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..models.card import PALETTE
from ..rasters.scene import Scene
from .report import page
from .sensor_accuracy import NetAccuracy
from .sensor_bootstrap import Interval
from .sensor_nets import Net, Nets
from .sensor_profiles import Change, Sizes, claims
from .sensor_shares import ALL, SensorShare

_WIDTH, _HEIGHT = 640, 150


class Findings(NamedTuple):
    """What a comparison found; `sizes` are of pixels of `classes` (pixel,)."""

    nets: Nets
    scene: Scene
    sizes: Sizes
    classes: np.ndarray
    shares: Sequence[SensorShare]
    changes: Sequence[Change]
    judged: Sequence[NetAccuracy]


class Profile(NamedTuple):
    """A class's curves as points of SVG polylines, a list of pieces for each network."""

    class_name: str
    curves: list[tuple[str, list[str]]]


def sensor_report(found: Findings, record: dict) -> str:
    """Return the report as one HTML page without scripts or outside files."""
    names = [found.nets.sensors[place].name for place in found.nets.joint.sensors]
    classes = list(dict.fromkeys(row.class_name for row in found.shares))
    claimed = claims(found.changes)
    return page(
        "sensor_report.html", found=found, record=record, sensors=names, classes=classes, total=ALL,
        shares={(row.class_name, row.sensor): row for row in found.shares}, claimed=claimed,
        overall=[row for row in found.judged if row.class_name == ALL],
        by_class={(row.network, row.class_name): row for row in found.judged},
        networks=[found.nets.name(net) for net in found.nets.nets], profiles=_profiles(found),
        changes=found.changes, colours=PALETTE, interval=as_text, plot_width=_WIDTH, plot_height=_HEIGHT,
    )  # fmt: skip


def as_text(found: Interval, percent: bool = True) -> str:
    """Return a value with its interval as a person reads it."""
    if found.value is None:
        return "–"
    show = (lambda value: f"{100 * value:.1f}") if percent else (lambda value: f"{value:.3g}")
    unit = " %" if percent else ""
    if found.low is None or found.high is None:
        return f"{show(found.value)}{unit}"
    return f"{show(found.value)}{unit} ({show(found.low)} to {show(found.high)})"


def _profiles(found: Findings) -> list[Profile]:
    """Return curves per class: each network's mean absolute attribution, over its largest value."""
    known = [found.scene.bands[band].wavelength_nm for band in found.nets.joint.bands]
    places = np.arange(len(known), dtype=float) if None in known else np.array(known, float)
    order = dict(zip(found.nets.joint.bands, places.tolist()))
    return [
        Profile(
            found.nets.class_names[number],
            [
                (found.nets.name(net), _curve(found, net, found.classes == number, order))
                for net in found.nets.nets
            ],
        )
        for number in np.unique(found.classes)
    ]


def _curve(found: Findings, net: Net, own: np.ndarray, order: dict[int, float]) -> list[str]:
    """Return a network's profile as points, each sensor's a piece of its own."""
    profile = np.mean([each[own].mean(0) for each in found.sizes[net.sensors]], axis=0)
    top = float(profile.max()) or 1.0
    first, last = min(order.values()), max(order.values())
    pieces = []
    for place in net.sensors:
        members = net.places(found.nets.sensors[place])
        across = np.array([order[net.bands[member]] for member in members])
        points = sorted(zip(across.tolist(), profile[members].tolist()))
        pieces.append(
            " ".join(
                f"{_WIDTH * (x - first) / max(last - first, 1e-9):.1f},{_HEIGHT * (1 - value / top):.1f}"
                for x, value in points
            )
        )
    return pieces
