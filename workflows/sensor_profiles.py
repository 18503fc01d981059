"""What changed in the bands of a sensor when others joined, beyond what changes from seed to seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from ..explainers.profiles import Comparison, comparisons, is_distance, jaccard_by_chance
from ..rasters.scene import Scene
from .sensor_bootstrap import Interval, interval, weights
from .sensor_nets import Net, Nets

# Draws of pixels, for intervals and for the noise floor: each is some thousand comparisons.
DRAWS = 200
_FLOOR = 95

# The absolute attributions (pixel, band) of each seed of a network, by its sensors.
Sizes = Mapping[tuple[int, ...], Sequence[np.ndarray]]


class Change(NamedTuple):
    """How alike the profiles of a network and of the joint one are in a sensor's bands, for a class.

    `floor` is what two seeds of one network reach: the 95th percentile of distances, the 5th of likeness.
    `changed`: whether the whole interval lies beyond it, None without two seeds of a network. `chance` is
    the value of bands drawn at random. `gained` and `lost`, of what changed, are the bands whose shares of
    the sensor's attribution rose and fell most: their nm, or their numbers where no wavelengths are known.
    """

    class_name: str
    network: str
    sensor: str
    metric: str
    result: Interval
    floor: float | None
    changed: bool | None
    chance: float | None
    pairs: int
    floor_pairs: int
    gained: float | None
    lost: float | None


def sensor_changes(
    nets: Nets, scene: Scene, classes: np.ndarray, sizes: Sizes, seed: int, check: Callable[[], None]
) -> list[Change]:  # fmt: skip
    """Compare every network with the joint one: per class, sensor and metric.

    `classes` (pixel,) are those of the pixels that `sizes` are of.
    """
    generator = np.random.default_rng(seed)
    found = []
    for number in np.unique(classes):
        own = classes == number
        of_pixels = weights(int(own.sum()), DRAWS, generator)
        of_seeds = np.random.default_rng(generator.integers(2**31))
        for net in nets.nets[:-1]:
            for place in net.sensors:
                check()
                alone, joint = (
                    [
                        of_pixels @ seed[own][:, each.places(nets.sensors[place])]
                        for seed in sizes[each.sensors]
                    ]
                    for each in (net, nets.joint)
                )
                name = nets.class_names[number]
                found += _changes(nets, scene, net, place, name, alone, joint, of_seeds, check)
    return found


def _changes(
    nets: Nets, scene: Scene, net: Net, place: int, class_name: str, alone: list[np.ndarray],
    joint: list[np.ndarray], generator: np.random.Generator, check: Callable[[], None],
) -> list[Change]:  # fmt: skip
    sensor = nets.sensors[place]
    read = np.array(net.bands)[net.places(sensor)]
    known = [scene.bands[band].wavelength_nm for band in read]
    wavelengths = None if None in known else np.array(known, float)
    of_alone, of_joint = (weights(len(each), DRAWS, generator) for each in (alone, joint))
    gained, lost = _moved(alone, joint, read + 1.0 if wavelengths is None else wavelengths)
    found = []
    for metric, compare in comparisons(wavelengths).items():
        pairs = _compared(compare, product(alone, joint), check)
        drawn = np.einsum("ds,dt,std->d", of_alone, of_joint, pairs.reshape(len(alone), len(joint), -1))
        between = [pair for seeds in (alone, joint) for pair in combinations(seeds, 2)]
        value, floor, changed = interval(drawn), None, None
        if between and value.value is not None:
            noise = _compared(compare, between, check)[:, 1:]
            noise = noise[np.isfinite(noise)]
            if noise.size:
                distance = is_distance(metric)
                floor = float(np.percentile(noise, _FLOOR if distance else 100 - _FLOOR))
                changed = _beyond(value, floor, distance)
        chance = jaccard_by_chance(len(read)) if metric == "jaccard" else None
        moved = (gained, lost) if changed else (None, None)
        found.append(
            Change(class_name, nets.name(net), sensor.name, metric, value, floor, changed, chance, len(pairs),
                   len(between), *moved)
        )  # fmt: skip
    return found


def _compared(
    compare: Comparison, pairs: Sequence[tuple[np.ndarray, np.ndarray]] | product, check: Callable[[], None]
) -> np.ndarray:
    """Return (pair, draw) of profiles (draw, band) compared draw by draw."""
    found = []
    for one, other in pairs:
        check()
        found.append(compare(one, other))
    return np.stack(found)


def _beyond(found: Interval, floor: float, distance: bool) -> bool:
    """Tell whether the whole interval lies beyond the floor.

    By the value alone, 32 % of the comparisons of networks that had learnt nothing were claimed; so 11 %.
    """
    end = found.low if distance else found.high
    return end is not None and (end > floor if distance else end < floor)


def _moved(
    alone: Sequence[np.ndarray], joint: Sequence[np.ndarray], places: np.ndarray
) -> tuple[float | None, float | None]:
    """Return where the share rose and fell most, of profiles (draw, band) whose first draw is the sample."""
    shares = []
    for profiles in (alone, joint):
        mean = np.mean([each[0] for each in profiles], axis=0)
        if not mean.sum() > 0:
            return None, None
        shares.append(mean / mean.sum())
    change = shares[1] - shares[0]
    return float(places[change.argmax()]), float(places[change.argmin()])


def claims(changes: Sequence[Change]) -> dict[tuple[str, str], list[Change]]:
    """Return what changed beyond the floor, by class and sensor."""
    found: dict[tuple[str, str], list[Change]] = {}
    for change in changes:
        if change.changed:
            found.setdefault((change.class_name, change.sensor), []).append(change)
    return found


def changes_table(changes: Sequence[Change]) -> dict:
    """Return the table CORRELATION: a row per class, network, sensor and metric."""
    columns = [
        ("class", "string", "Class"), ("network", "string", "Network compared with that of all sensors"),
        ("sensor", "string", "Sensor"), ("metric", "string", "Metric"), ("value", "double", "Value"),
        ("low", "double", "2.5 %"), ("high", "double", "97.5 %"),
        ("floor", "double", "Noise floor between seeds"), ("changed", "string", "Changed"),
        ("chance", "double", "By chance"), ("pairs", "int", "Pairs of networks"),
        ("floor_pairs", "int", "Pairs of seeds"), ("gained", "double", "Band that gained most (nm)"),
        ("lost", "double", "Band that lost most (nm)"),
    ]  # fmt: skip
    said = {True: "yes", False: "no", None: "unknown"}
    rows = [
        [
            row.class_name, row.network, row.sensor, row.metric, *row.result, row.floor, said[row.changed],
            row.chance, row.pairs, row.floor_pairs, row.gained, row.lost,
        ]
        for row in changes
    ]  # fmt: skip
    return {"columns": [dict(zip(("name", "type", "alias"), c)) for c in columns], "rows": rows}
