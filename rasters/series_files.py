"""The rasters of a series as they lie on the disk: files, a folder of them, variables of netCDF files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import rasterio

from .datasets import open_dataset
from .dates import acquisition_date, netcdf_date, parse_date
from .errors import InputError, first_of
from .scene import Scene, open_scene
from .wavelengths import source_files

POLARISATIONS = ("VV", "VH", "HV", "HH")
_NO_RASTERS = tuple(
    ".json .geojson .xml .qml .txt .csv .md .html .hdr .prj .wld .tfw .jgw .pgw .ovr .msk .db .ini .dates "
    ".shp .shx .dbf .cpg .gpkg .zip .gz .pdf".split()
)
_SUBDATASET = re.compile(
    r'netcdf:(?:"(?P<quoted>[^"]+)"|(?P<plain>.+?)):(?P<variable>[^:"/\\]+)', re.IGNORECASE
)
_UNNAMED = re.compile(r"Band \d+")
# What netCDF itself fills such variables with, where they declare no value of their own.
_UNSIGNED_FILL = {"uint16": 65535.0, "uint32": 4294967295.0}


@dataclass(frozen=True)
class Raster:
    """One raster of a series. Per band: its description (may be empty) and its variable of a netCDF file.

    `file` is the file on the disk, `index` its place among the paths given. `date` is that of the whole
    raster's metadata, `tiff_date` that of TIFFTAG_DATETIME, `layer_dates` what QGIS's layer told.
    `sources` are the names of the files that the bands of a virtual raster come from, "" for other rasters.
    `scales` and `offsets` are those of the file's bands.
    """

    scene: Scene
    file: str
    index: int
    descriptions: tuple[str, ...]
    variables: tuple[str, ...]
    date: str | None
    tiff_date: str | None
    layer_dates: tuple[str, ...]
    sources: tuple[str, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return _stem(self.file)

    @property
    def bands(self) -> list[int]:
        """The bands, from 0, that hold values (an alpha band doesn't)."""
        return [i for i, band in enumerate(self.scene.bands) if band.good]


def open_rasters(
    paths: Sequence[str], layer_dates: Sequence[Sequence[str]], channels: Sequence[str]
) -> list[Raster]:
    """Open all rasters of a series; of netCDF files the variables that `channels` name, or all along time.

    Raises InputError where one can't be read, or their grids differ.
    """
    listed = _listed(paths)
    # A folder has no layer that tells dates.
    told: Sequence[Sequence[str]] = layer_dates if listed == list(paths) else ()
    told = told or [()] * len(listed)
    rasters = []
    for index, (path, dates) in enumerate(zip(listed, told, strict=True)):
        rasters += _open_path(path, index, tuple(dates), channels)
    for raster in rasters[1:]:
        _check_grid(rasters[0].scene, raster.scene)
    return rasters


def polarisation(text: str) -> str | None:
    """Return the one polarisation that a name tells ("VV", "VH", "HV" or "HH"), or None."""
    found = {word for word in re.split(r"[^A-Z]+", text.upper()) if word in POLARISATIONS}
    return found.pop() if len(found) == 1 else None


def place_of(name: str, names: Sequence[str]) -> int | None:
    """Return where `name` is among `names`, in any case of letters, else the only one of its polarisation."""
    same = [i for i, other in enumerate(names) if other.lower() == name.lower()]
    if not same and (wanted := polarisation(name)):
        same = [i for i, other in enumerate(names) if polarisation(other) == wanted]
    return same[0] if len(same) == 1 else None


def _listed(paths: Sequence[str]) -> list[str]:
    if len(paths) != 1 or not os.path.isdir(paths[0]):
        return list(paths)
    folder = paths[0]
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise InputError(f"The folder {folder} can't be read ({error.strerror}).") from error
    files = [os.path.join(folder, name) for name in names if not name.lower().endswith(_NO_RASTERS)]
    files = [path for path in files if os.path.isfile(path)]
    if not files:
        raise InputError(f"The folder {folder} holds no raster; choose the folder of the series.")
    return files


def _open_path(path: str, index: int, dates: tuple[str, ...], channels: Sequence[str]) -> list[Raster]:
    with open_dataset(path) as dataset:
        parts = dataset.subdatasets if dataset.count == 0 and dataset.driver == "netCDF" else []
    if not parts:
        return [_open_one(path, index, dates)]
    variables = [_split(part)[1] for part in parts]
    if channels:
        places = {place for name in channels if (place := place_of(name, variables)) is not None}
        if not places:
            raise InputError(
                f"{path} holds none of the channels {', '.join(channels)}; it holds {first_of(variables)}."
            )
        return [_open_one(parts[place], index, dates) for place in sorted(places)]
    rasters = [_open_one(part, index, dates) for part in parts]
    along_time = [raster for raster in rasters if any(band.date for band in raster.scene.bands)]
    return along_time or rasters


def _open_one(path: str, index: int, layer_dates: tuple[str, ...]) -> Raster:
    scene = open_scene(path)
    with open_dataset(path) as dataset:
        items, descriptions, variables = dataset.tags(), [], []
        for band, description in zip(range(1, dataset.count + 1), dataset.descriptions):
            band_items = dataset.tags(band)
            others = netcdf_date(items, band_items)[1]
            descriptions.append(" ".join([description or "", *others]).strip())
            variables.append(band_items.get("NETCDF_VARNAME", ""))
        descriptions = [
            "" if _UNNAMED.fullmatch(text) else text
            for text in (
                description or band.name for description, band in zip(descriptions, scene.bands, strict=True)
            )
        ]
        return Raster(
            scene=replace(scene, nodata=_nodata(dataset)),
            file=_split(path)[0],
            index=index,
            descriptions=tuple(descriptions),
            variables=tuple(variables),
            date=acquisition_date({**items, **dataset.tags(ns="IMAGERY"), **dataset.tags(ns="ENVI")}),
            tiff_date=parse_date(items.get("TIFFTAG_DATETIME", "")),
            layer_dates=layer_dates,
            sources=tuple(_stem(source) for source in source_files(dataset)),
            scales=dataset.scales,
            offsets=dataset.offsets,
        )


def _nodata(dataset: rasterio.DatasetReader) -> tuple[float | None, ...]:
    """Return nodata per band, for unsigned netCDF variables that declare none what netCDF fills them with.

    GDAL takes that of signed numbers, 32769 of 16 bits, which is a value like any other.
    """
    values = list(dataset.nodatavals)
    for i, dtype in enumerate(dataset.dtypes):
        items = dataset.tags(i + 1)
        declared = {"_FillValue", "missing_value"} & set(items)
        if items.get("_Unsigned") == "true" and not declared and dtype in _UNSIGNED_FILL:
            values[i] = _UNSIGNED_FILL[dtype]
    return tuple(values)


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _split(path: str) -> tuple[str, str]:
    """Return the file of a path or of GDAL's name of a netCDF variable, and the variable's name."""
    found = _SUBDATASET.fullmatch(path)
    return (found["quoted"] or found["plain"], found["variable"]) if found else (path, "")


def _check_grid(first: Scene, other: Scene) -> None:
    if first.grid.same_as(other.grid):
        return
    a, b = first.grid, other.grid
    if (a.width, a.height) != (b.width, b.height):
        how = f"{a.width} x {a.height} pixels against {b.width} x {b.height}"
    elif not a.same_crs_as(b):
        how = f"the coordinate system {_crs_name(first)} against {_crs_name(other)}"
    elif any(abs(x - y) > 1e-3 * abs(x) for x, y in zip(_pixel(first), _pixel(other))):
        how = "pixels of {:g} x {:g} against {:g} x {:g}".format(*_pixel(first), *_pixel(other))
    else:
        corners = (a.transform.c, a.transform.f, b.transform.c, b.transform.f)
        how = "the upper left corner at ({:.10g}, {:.10g}) against ({:.10g}, {:.10g})".format(*corners)
    raise InputError(
        f"The rasters of a series need one grid, but {first.path} and {other.path} differ: {how}; "
        "warp one to the grid of the other."
    )


def _crs_name(scene: Scene) -> str:
    if scene.grid.crs is None:
        return "none"
    crs = rasterio.crs.CRS.from_wkt(scene.grid.crs)
    return crs.to_string() if crs.to_epsg() else scene.grid.crs.split('"')[1]


def _pixel(scene: Scene) -> tuple[float, float]:
    transform = scene.grid.transform
    return (transform.a**2 + transform.d**2) ** 0.5, (transform.b**2 + transform.e**2) ** 0.5
