"""A year of radar over parcels of crops with known evidence: the series, parcels, classes, and the truth."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform_geom
from rasterio.windows import Window

from . import simulate_crops as simulated
from .grid import Grid
from .outputs import Outputs, check_space
from .simulate_crops import CHANNELS, CROPS, DATES, Crop, Growth
from .simulate_parcels import ParcelMap, by_share
from .tiles import plan_tiles
from .wavelengths import Band
from .writers import RasterWriter

FILES = {
    "raster": "series.tif",
    "labels": "parcels.geojson",
    "label_raster": "labels.tif",
    "truth": "truth.json",
}
BANDS = [Band(f"{day} {channel}", date=day) for day in DATES for channel in CHANNELS]
GAPS = 4  # dates that miss a block of the scene
GAP_SIDES = (0.25, 0.5)  # of the scene's side
LEAST_PARCELS = 2  # of a crop
TILE = 128
EPSG = 32630
PIXEL_M = 20.0
CORNER = (220_000.0, 4_110_000.0)  # easting and northing of the upper left corner


def write_sar_series(
    folder: str, size: int, seed: int, job_id: str, on_progress: Callable[[float], None]
) -> dict[str, str]:
    """Write `FILES` into `folder`, replacing those of an earlier run; see `simulate.SceneMaker`.

    Memory grows with a tile, and with the number of parcels, which is about 150, and in scenes of more than
    `simulate_parcels.PER_SIDE` times 64 pixels a side one per 4096 pixels.
    """
    paths = {name: os.path.join(folder, file) for name, file in FILES.items()}
    outputs = Outputs(job_id, list(paths.values()))
    check_space({paths["raster"]: 4 * len(BANDS) * size**2, paths["label_raster"]: size**2})
    with outputs:
        staged = {name: outputs.stage(path) for name, path in paths.items()}
        scene = SeriesScene(size, seed)
        pixels = _write_rasters(staged, scene, on_progress)
        _write_json(staged["labels"], _labels(scene))
        _write_json(staged["truth"], _truth(scene, pixels))
    return paths


class SeriesScene:
    """The scene before it is written: everything that is drawn once, and tiles made from it.

    Attributes: `parcels`, the crop of each in `growth`; `weather_db` (date, channel); `gaps`, the windows
    that dates miss, by the date's place in `DATES`.
    """

    def __init__(
        self, size: int, seed: int, crops: Sequence[Crop] = CROPS,
        season_db: tuple[float, float] = simulated.SEASON_DB,
    ) -> None:  # fmt: skip
        rng = np.random.default_rng([seed, 0])
        self.size, self.seed, self.crops, self.season_db = size, seed, crops, season_db
        self.parcels = ParcelMap(size, rng)
        shares = [crop.share for crop in crops]
        self.growth = Growth.drawn(by_share(shares, len(self.parcels), LEAST_PARCELS, rng), rng)
        self.weather_db = rng.standard_normal((len(DATES), len(CHANNELS))) * simulated.WEATHER_DB
        missing = sorted(rng.choice(len(DATES), GAPS, replace=False).tolist())
        self.gaps = {place: _block(size, rng) for place in missing}
        place = Affine(PIXEL_M, 0, CORNER[0], 0, -PIXEL_M, CORNER[1])
        self.grid = Grid(size, size, CRS.from_epsg(EPSG).to_wkt(), place)

    def tile(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Return power float32 (band, y, x), date by date, NaN in gaps, and parcels (y, x), -1 for none."""
        parcels = self.parcels.read(window)
        numbers, places = np.unique(parcels, return_inverse=True)
        means = self.growth.decibels(self.crops, numbers, self.season_db) + self.weather_db
        power = np.power(10, means / 10).astype(np.float32).reshape(len(numbers), -1).T
        rng = np.random.default_rng([self.seed, 1, window.row_off, window.col_off])
        values = power[:, places.reshape(parcels.shape)]
        values *= simulated.speckle(values.shape, simulated.LOOKS, rng)
        for place, gap in self.gaps.items():
            rows, columns = (
                slice(max(0, start - offset), max(0, start + length - offset))
                for start, length, offset in (
                    (gap.row_off, gap.height, window.row_off),
                    (gap.col_off, gap.width, window.col_off),
                )
            )
            values[place * len(CHANNELS) : (place + 1) * len(CHANNELS), rows, columns] = np.nan
        return values, parcels

    def classes(self, parcels: np.ndarray) -> np.ndarray:
        """Return the classes uint8, from 1 on, of `parcels`; 0 for none."""
        return np.where(parcels < 0, 0, self.growth.crop[parcels] + 1).astype(np.uint8)


def _block(size: int, rng: np.random.Generator) -> Window:
    """Return a block of the scene."""
    height, width = (int(side) for side in rng.uniform(*GAP_SIDES, 2) * size)
    row, column = int(rng.integers(size - height + 1)), int(rng.integers(size - width + 1))
    return Window(column, row, width, height)


def _write_rasters(
    staged: dict[str, str], scene: SeriesScene, on_progress: Callable[[float], None]
) -> np.ndarray:
    """Write series and classes tile by tile; return the pixels per crop (crop,)."""
    tags = {"DESCRIPTION": f"Simulated SAR intensity in power, seed {scene.seed}"}
    pixels = np.zeros(len(scene.crops) + 1, np.int64)
    tiles = list(plan_tiles(scene.grid.whole, TILE))
    with (
        RasterWriter(
            staged["raster"], scene.grid, len(BANDS), bands=BANDS, tags=tags, block=TILE
        ) as series,
        RasterWriter(
            staged["label_raster"], scene.grid, 1, "uint8", 0, descriptions=["class"], tags=tags, block=TILE,
            class_names=[crop.name for crop in scene.crops],
            class_colours=[crop.colour for crop in scene.crops],
        ) as class_raster,
    ):  # fmt: skip
        for done, tile in enumerate(tiles, start=1):
            power, parcels = scene.tile(tile)
            classes = scene.classes(parcels)
            series.write(tile, power)
            class_raster.write(tile, classes)
            pixels += np.bincount(classes.ravel(), minlength=len(pixels))
            on_progress(done / len(tiles))
    return pixels[1:]


def _labels(scene: SeriesScene) -> dict:
    """Return the parcels as GeoJSON in longitude and latitude, as the format asks."""
    features = []
    for number, crop in enumerate(scene.growth.crop.tolist()):
        ring = [scene.grid.transform * corner for corner in scene.parcels.outline(number)]
        geometry = transform_geom(
            CRS.from_epsg(EPSG), CRS.from_epsg(4326), {"type": "Polygon", "coordinates": [ring]}, precision=9
        )
        properties = {"class": scene.crops[crop].name, "class_id": crop + 1, "parcel": number + 1}
        features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    return {"type": "FeatureCollection", "name": "parcels", "features": features}


def _truth(scene: SeriesScene, pixels: np.ndarray) -> dict:
    """Return what was planted when; `pixels` are those per crop."""
    planted = {place for crop in scene.crops for place in crop.dates}
    return {
        "scene_kind": "sar_series",
        "size": scene.size,
        "seed": scene.seed,
        "note": "Dates and bands count from 0; the bands are the channels of the first date, then those of "
        "the next. A crop departs from what all crops share on the dates of its windows, in their channels, "
        "by change_db times its parcel's strength, and on no other date. Between parcels there is no window.",
        "dates": list(DATES),
        "channels": list(CHANNELS),
        "values": "intensity in power",
        "looks": simulated.LOOKS,
        "classes": [
            {
                "id": number,
                "name": crop.name,
                "dates": crop.dates,
                "windows": [
                    {
                        "dates": list(window.dates),
                        "days": [DATES[place] for place in window.dates],
                        "channels": list(window.channels),
                        "bands": [
                            place * len(CHANNELS) + CHANNELS.index(channel)
                            for place in window.dates
                            for channel in window.channels
                        ],
                        "change_db": dict(zip(CHANNELS, window.change_db)),
                    }
                    for window in crop.windows
                ],
                "parcels": int((scene.growth.crop == number - 1).sum()),
                "pixels": int(pixels[number - 1]),
            }
            for number, crop in enumerate(scene.crops, start=1)
        ],
        "unplanted_dates": [place for place in range(len(DATES)) if place not in planted],
        "gaps": [
            {
                "date": place, "row": gap.row_off, "column": gap.col_off, "height": gap.height,
                "width": gap.width,
            }
            for place, gap in scene.gaps.items()
        ],
        "shared_by_all_classes": {
            "level_db": dict(zip(CHANNELS, simulated.LEVEL_DB)),
            "level_spread_db": simulated.LEVEL_SPREAD_DB,
            "season_db": dict(zip(CHANNELS, scene.season_db)),
            "season_days_of_year": [simulated.START_DAY, simulated.END_DAY],
            "season_time_constants_days": [simulated.START_DAYS, simulated.END_DAYS],
            "season_shift_spread_days": simulated.SHIFT_SPREAD_DAYS,
            "strength": list(simulated.STRENGTHS),
            "weather_db": dict(zip(CHANNELS, scene.weather_db.T.round(4).tolist())),
        },
        "parcels": [
            {"parcel": number, "class": scene.crops[crop].name, "shift_days": round(shift, 3),
             "level_db": round(level, 3), "strength": round(strength, 3)}
            for number, (crop, shift, level, strength) in enumerate(
                zip(*(values.tolist() for values in vars(scene.growth).values())), start=1
            )
        ],
    }  # fmt: skip


def _write_json(path: str, value: dict) -> None:
    Path(path).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8", newline="\n")
