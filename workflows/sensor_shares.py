"""Which sensor decided, per class: shares of attribution, and Shapley values of whole sensors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..rasters.scene import Scene
from ..rasters.sensors import covered_nm
from .sensor_bootstrap import DRAWS, Interval, interval, means, weights
from .sensor_nets import Nets

ALL = "(all)"


class SensorShare(NamedTuple):
    """What a sensor did for a class (`ALL`: the mean of the classes) in the joint networks.

    `share` is that of the sum of absolute attributions, the mean over pixels; `per_band` and `per_nm` are it
    where each sensor's sum is divided by its number of bands, or by the nm that they cover. `shapley` is in
    the unit of the logit, `shapley_share` its size's share.
    """

    class_name: str
    sensor: str
    pixels: int
    seeds: int
    bands: int
    width_nm: float | None
    share: Interval
    per_band: Interval
    per_nm: Interval
    shapley: Interval
    shapley_share: Interval


def sensor_shares(
    nets: Nets, scene: Scene, classes: np.ndarray, sizes: np.ndarray, shapley: np.ndarray, seed: int
) -> list[SensorShare]:
    """Return what each sensor did for each class that has pixels, and for all.

    `classes` (pixel,); `sizes` (seed, pixel, sensor) are sums of absolute attributions over the sensor's
    bands and `shapley` (seed, pixel, sensor) its Shapley values, both of the joint networks.
    """
    generator = np.random.default_rng(seed)
    members = [nets.sensors[place] for place in nets.joint.sensors]
    bands = [nets.joint.places(sensor).size for sensor in members]
    read = nets.joint.bands
    widths = [
        covered_nm([scene.bands[read[place]] for place in nets.joint.places(sensor)]) for sensor in members
    ]
    per_nm = None if None in widths else np.array(widths, float)
    found: dict[str, dict[str, np.ndarray]] = {}
    pixels = {}
    for number in np.unique(classes):
        name, own = nets.class_names[number], classes == number
        pixels[name] = int(own.sum())
        of_seeds = weights(len(sizes), DRAWS, generator)
        of_pixels = weights(pixels[name], DRAWS, generator)
        shares = means(shares_of_sizes(sizes[:, own]), of_seeds, of_pixels)
        found[name] = {
            "share": shares,
            "per_band": _normalised(shares / np.array(bands)),
            "per_nm": np.full_like(shares, np.nan) if per_nm is None else _normalised(shares / per_nm),
            "shapley": means(shapley[:, own], of_seeds, of_pixels),
            "shapley_share": means(shares_of_sizes(np.abs(shapley[:, own])), of_seeds, of_pixels),
        }
    found[ALL] = {kind: np.mean([each[kind] for each in found.values()], axis=0) for kind in _KINDS}
    pixels[ALL] = len(classes)
    return [
        SensorShare(
            name, sensor.name, pixels[name], len(sizes), bands[place], widths[place],
            *(interval(draws[kind][:, place]) for kind in _KINDS),
        )
        for name, draws in found.items()
        for place, sensor in enumerate(members)
    ]  # fmt: skip


_KINDS = ("share", "per_band", "per_nm", "shapley", "shapley_share")


def shares_of_sizes(sizes: np.ndarray) -> np.ndarray:
    """Return each sensor's share of sizes (..., sensor), all alike where the sum is 0."""
    total = sizes.sum(-1, keepdims=True)
    return np.where(total > 0, sizes / np.where(total > 0, total, 1), 1 / sizes.shape[-1])


def _normalised(draws: np.ndarray) -> np.ndarray:
    return draws / draws.sum(1, keepdims=True)


def shares_table(shares: list[SensorShare]) -> dict:
    """Return the table SHARES: a row per class and sensor."""
    columns = [
        ("class", "string", "Class"), ("sensor", "string", "Sensor"), ("pixels", "int", "Pixels"),
        ("seeds", "int", "Networks"), ("bands", "int", "Bands"), ("width_nm", "double", "Width (nm)"),
    ]  # fmt: skip
    titles = (
        ("share", "Share of attribution"), ("share_per_band", "Share, per band"),
        ("share_per_nm", "Share, per nm"), ("shapley", "Shapley value (logit)"),
        ("shapley_share", "Share of Shapley values"),
    )  # fmt: skip
    for name, title in titles:
        columns += [
            (name, "double", title), (f"{name}_low", "double", f"{title}, 2.5 %"),
            (f"{name}_high", "double", f"{title}, 97.5 %"),
        ]  # fmt: skip
    rows = [
        [*row[:6], *row.share, *row.per_band, *row.per_nm, *row.shapley, *row.shapley_share] for row in shares
    ]
    return {"columns": [dict(zip(("name", "type", "alias"), c)) for c in columns], "rows": rows}
