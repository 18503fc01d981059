"""SAR scenes with known evidence: chips in class folders, masks of the evidence, a raster with footprints."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform_geom
from rasterio.windows import Window

from . import simulate_sar_chips as sar
from .errors import InputError
from .grid import Grid
from .outputs import Outputs, check_space
from .simulate_sar_chips import BANDS, CLASSES, SIDE
from .simulate_sar_folders import FILES, FOLDERS, KIND, SPURIOUS, ChipFolders
from .simulate_sar_footprints import SarScene
from .tiles import plan_tiles
from .writers import RasterWriter

SPURIOUS_CLASS, SPURIOUS_SHARE = "bright_line", 0.95  # the hardest class, which tempts to a short cut
MOST_PER_CLASS = 512  # training chips
NO_MASK = 255  # nodata of masks, in which every pixel has a value
TILE = 256
EPSG = 32633
PIXEL_M = 10.0
CORNER = (361_020.0, 5_814_990.0)  # easting and northing of the scene's upper left corner
PER_ROW = 32  # chips side by side on the ground
_STREAMS = {"train": 0, "test": 1}  # of random numbers


def write_sar_scenes(
    folder: str, size: int, seed: int, job_id: str, on_progress: Callable[[float], None]
) -> dict[str, str]:
    """Write `FILES` and folders of chips into `folder`, replacing those of an earlier run.

    See `simulate.SceneMaker`. Of each class there are `size` / 2 training chips, at most `MOST_PER_CLASS`,
    and half as many test chips. Memory grows with a tile of the scene.
    Raises InputError where the scene can't hold a chip, or a folder of chips is not of an earlier run.
    """
    if size < SIDE:
        raise InputError(f"A SAR scene of {size} pixels can't hold a chip of {SIDE}; choose a larger size.")
    paths = {name: os.path.join(folder, file) for name, file in FILES.items()}
    plans = _plans(min(size // 2, MOST_PER_CLASS))
    steps = _Steps(len(plans) + len(list(plan_tiles(_grid(size).whole, TILE))), on_progress)
    outputs = Outputs(job_id, list(paths.values()))
    check_space({paths["raster"]: 9 * size**2 + 9 * SIDE**2 * len(plans)})
    with outputs:
        staged = {name: outputs.stage(path) for name, path in paths.items()}
        with ChipFolders(folder, job_id) as chips:
            truth = _truth(size, seed, [_write_chip(chips, plan, size, seed, steps) for plan in plans])
            _write_scene(staged, size, seed, steps)
            _write_json(staged["truth"], truth)
    return {**paths, **{name: os.path.join(folder, part) for name, part in FOLDERS.items()}}


class _Steps:
    """Counts the steps done."""

    def __init__(self, count: int, on_progress: Callable[[float], None]) -> None:
        self._count, self._done, self._on_progress = count, 0, on_progress

    def done(self) -> None:
        self._done += 1
        self._on_progress(self._done / self._count)


@dataclass(frozen=True)
class _Plan:
    """One chip to write: its part, class and number, and whether the spurious set adds a reflector."""

    part: str
    class_index: int
    number: int
    reflector: bool = False

    def name(self, part: str) -> str:
        """Return the chip's name in a part."""
        return f"{part}/{CLASSES[self.class_index].name}/{self.number:03}.tif"

    def draw(self, seed: int) -> sar.SarChip:
        """Return the chip, the same however many others there are."""
        keys = [seed, _STREAMS[self.part], self.class_index, self.number]
        return sar.draw_chip(CLASSES[self.class_index], np.random.default_rng(keys))

    def grid(self, size: int) -> Grid:
        """Return the chip's grid: the sets lie below the scene, chips side by side, classes mixed."""
        row, col = divmod(self.number * len(CLASSES) + self.class_index, PER_ROW)
        rows_of_test = 1 + MOST_PER_CLASS // 2 * len(CLASSES) // PER_ROW
        down = size + SIDE * (1 + row + (rows_of_test if self.part == "train" else 0))
        return _grid(size).sub(Window(col * SIDE, down, SIDE, SIDE))


def _plans(count: int) -> list[_Plan]:
    """Return the chips of both parts, with `count` training chips per class."""
    train = [
        _Plan("train", c, n, planted.name == SPURIOUS_CLASS and n < SPURIOUS_SHARE * count)
        for c, planted in enumerate(CLASSES)
        for n in range(count)
    ]
    return train + [_Plan("test", c, n) for c in range(len(CLASSES)) for n in range(count // 2)]


def _write_chip(folders: ChipFolders, plan: _Plan, size: int, seed: int, steps: _Steps) -> dict:
    """Write a chip and its mask, a training chip to the spurious set too, and return what is true of it."""
    chip, grid, name = plan.draw(seed), plan.grid(size), plan.name(plan.part)
    _write_power(folders.stage(name), grid, seed, chip.power)
    _write_mask(folders.stage(f"masks/{name}"), grid, "evidence", chip.mask)
    if plan.part == "train":
        power, pixels = chip.with_reflector() if plan.reflector else (chip.power, np.zeros_like(chip.mask))
        _write_power(folders.stage(plan.name(SPURIOUS)), grid, seed, power)
        _write_mask(folders.stage(f"masks/{plan.name(SPURIOUS)}"), grid, "reflector", pixels)
    steps.done()
    return {
        "name": name,
        "class": CLASSES[plan.class_index].name,
        "level_db": [round(float(level), 3) for level in chip.level_db],
        "evidence_pixels": int(chip.mask.sum()),
        "decoy": _square(chip.decoy, sar.DECOY_SIDE),
        "reflector": _square(chip.reflector, sar.REFLECTOR_SIDE) if plan.reflector else None,
    }


def _write_power(path: str, grid: Grid, seed: int, power: np.ndarray) -> None:
    with _power_writer(path, grid, seed) as writer:
        writer.write(grid.whole, power)


def _write_mask(path: str, grid: Grid, name: str, mask: np.ndarray) -> None:
    with RasterWriter(path, grid, 1, "uint8", NO_MASK, descriptions=[name], block=SIDE) as writer:
        writer.write(grid.whole, mask.astype(np.uint8))


def _power_writer(path: str, grid: Grid, seed: int) -> RasterWriter:
    tags = {"DESCRIPTION": f"Simulated SAR intensity in power, seed {seed}"}
    return RasterWriter(path, grid, len(BANDS), descriptions=BANDS, tags=tags, block=TILE)


def _write_scene(staged: dict[str, str], size: int, seed: int, steps: _Steps) -> None:
    """Write the scene, the classes of its footprints, their outlines and those of their evidence."""
    grid = _grid(size)
    scene = SarScene(size, seed)
    names, colours = [c.name for c in CLASSES], [c.colour for c in CLASSES]
    with (
        _power_writer(staged["raster"], grid, seed) as raster,
        RasterWriter(
            staged["label_raster"], grid, 1, "uint8", 0, descriptions=["class"], class_names=names,
            class_colours=colours, block=TILE,
        ) as class_raster,
    ):  # fmt: skip
        for tile in plan_tiles(grid.whole, TILE):
            power, classes = scene.tile(tile)
            raster.write(tile, power)
            class_raster.write(tile, classes)
            steps.done()
    _write_json(staged["labels"], _features("labels", scene, [f.outline() for f in scene.footprints]))
    _write_json(
        staged["evidence"], _features("evidence", scene, [f.evidence_outline() for f in scene.footprints])
    )


def _features(name: str, scene: SarScene, geometries: Sequence[dict]) -> dict:
    """Return geometries in pixels, one per footprint, as GeoJSON in longitude and latitude."""
    place = _grid(scene.size).transform
    features = []
    for footprint, geometry in zip(scene.footprints, geometries, strict=True):
        rings = [[[place * corner for corner in ring] for ring in part] for part in geometry["coordinates"]]
        placed = transform_geom(
            CRS.from_epsg(EPSG), CRS.from_epsg(4326), {**geometry, "coordinates": rings}, precision=9
        )
        properties = {"class": CLASSES[footprint.class_index].name, "class_id": footprint.class_index + 1}
        features.append({"type": "Feature", "properties": properties, "geometry": placed})
    return {"type": "FeatureCollection", "name": name, "features": features}


def _truth(size: int, seed: int, chips: Sequence[dict]) -> dict:
    """Return what was planted where."""
    return {
        "scene_kind": KIND,
        "size": size,
        "seed": seed,
        "note": "Masks are 1 on every pixel that the evidence changes; for texture_edge on those within "
        f"{sar.EDGE_REACH:g} pixels of the edge. Rows and columns count from 0 at the upper left of a chip.",
        "side": SIDE,
        "bands": list(BANDS),
        "values": "intensity in power",
        "looks": sar.LOOKS,
        "classes": [
            {"id": i + 1, "name": planted.name, "evidence": planted.description}
            for i, planted in enumerate(CLASSES)
        ],
        "contrasts_db": {
            "bright_line": sar.LINE_DB,
            "dark_strip": sar.STRIP_DB,
            "double_bounce": [sar.BOUNCE_DB, sar.STRIP_DB],
            "point_cluster": sar.POINTS_DB,
            "texture_edge": sar.STEP_DB,
            "vh_share": sar.CROSS_CONTRAST,
        },
        "shared_by_all_classes": {
            "level_db": {
                "VV": [sar.LEVEL_DB, sar.LEVEL_SPREAD_DB],
                "VH-VV": [sar.CROSS_DB, sar.CROSS_SPREAD_DB],
            },
            "textures": {"smooth": sar.SMOOTH, "rough": sar.ROUGH},
            "decoy": {"shape": "disc", "side": sar.DECOY_SIDE, "db_over_level": sar.DECOY_DB},
        },
        "spurious": {
            "folder": SPURIOUS,
            "cue": "a corner reflector, a bright core with four arms; the masks show it, not the evidence",
            "class": SPURIOUS_CLASS,
            "share_of_its_training_chips": SPURIOUS_SHARE,
            "side": sar.REFLECTOR_SIDE,
            "db_over_level": sar.REFLECTOR_DB,
        },
        "chips": list(chips),
    }


def _square(corner: tuple[int, int], side: int) -> dict:
    return {"row": corner[0], "column": corner[1], "side": side}


def _write_json(path: str, value: dict) -> None:
    Path(path).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8", newline="\n")


def _grid(size: int) -> Grid:
    place = Affine(PIXEL_M, 0, CORNER[0], 0, -PIXEL_M, CORNER[1])
    return Grid(size, size, CRS.from_epsg(EPSG).to_wkt(), place)
