from __future__ import annotations

import numpy as np
import pytest
import rasterio.shutil

from explanation_layers.rasters.scene import Band, describe_band, open_scene
from explanation_layers.rasters.wavelengths import to_nanometres

TWO_BANDS = np.zeros((2, 3, 4), dtype=np.uint16)


@pytest.mark.parametrize(
    ("value", "units", "nanometres"),
    [
        (842, "Nanometers", 842),
        (0.842, "Micrometers", 842),
        (0.842, "µm", 842),
        (842, "", 842),
        (0.842, "", 842),
        (10.9, None, 10900),
        (842, "Unknown", 842),
        (12.5, "Index", None),
        (94, "GHz", None),
        (0, "nm", None),
        (None, "nm", None),
    ],
)
def test_wavelengths_become_nanometres_by_unit_or_by_magnitude(value, units, nanometres):
    assert to_nanometres(value, units) == nanometres


@pytest.mark.parametrize(
    ("description", "nanometres"),
    [
        ("band 1 (418.24 Nanometers)", 418.24),
        ("B42 842 nm", 842),
        ("0.842 um", 842),
        ("0.842 (µm)", 842),
        ("2017-06-12 VV", None),
        ("NDVI 3 nmads", None),
    ],
)
def test_wavelengths_are_read_from_descriptions(make_raster, description, nanometres):
    path = make_raster("a.tif", TWO_BANDS, finish=lambda file: file.set_band_description(1, description))
    band = open_scene(path).bands[0]
    assert band == Band(description, nanometres)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ({"wavelength": "842", "wavelength_units": "Nanometers", "fwhm": "6"}, (842, 6, True)),
        ({"wavelength": "0.842", "wavelength_unit": "um", "fwhm": "0.006"}, (842, 6, True)),
        ({"Wavelength": "0.842", "FWHM": "0.006"}, (842, 6, True)),
        ({"wavelength": "842 nm", "bbl": "0"}, (842, None, False)),
        ({"bbl": "1"}, (None, None, True)),
    ],
)
def test_wavelengths_are_read_from_items_of_the_band(make_raster, items, expected):
    path = make_raster("a.tif", TWO_BANDS, finish=lambda file: file.update_tags(1, **items))
    first, second = open_scene(path).bands
    assert (first.wavelength_nm, first.fwhm_nm, first.good) == expected
    assert second == Band("Band 2")


def test_wavelengths_are_read_from_the_imagery_domain(make_raster):
    items = {"CENTRAL_WAVELENGTH_UM": "0.842", "FWHM_UM": "0.006"}
    path = make_raster("a.tif", TWO_BANDS, finish=lambda file: file.update_tags(1, ns="IMAGERY", **items))
    assert open_scene(path).bands[0] == Band("Band 1", 842, 6)


@pytest.mark.parametrize(
    ("items", "domain"),
    [
        ({"date": "2017-06-12"}, None),
        ({"Date": "20170612"}, None),
        ({"ACQUISITIONDATETIME": "2017-06-12 10:05:00"}, "IMAGERY"),
        ({"NETCDF_DIM_time": "417366"}, None),
    ],
)
def test_dates_are_read_from_items_of_the_band(make_raster, tmp_path, items, domain):
    def finish(file):
        file.update_tags(**{"time#units": "minutes since 2016-08-26 12:00"})
        file.update_tags(1, ns=domain, **items)

    path = make_raster("a.tif", TWO_BANDS, finish=finish)
    assert [band.date for band in open_scene(path).bands] == ["2017-06-12", None]
    virtual = tmp_path / "virtual.vrt"
    rasterio.shutil.copy(path, virtual, driver="VRT")
    virtual.write_text("".join(line for line in virtual.read_text().splitlines(True) if "<MDI" not in line))
    assert [band.date for band in open_scene(str(virtual)).bands] == ["2017-06-12", None]


def test_an_envi_header_gives_full_precision_widths_and_bad_bands(tmp_path):
    TWO_BANDS.tofile(tmp_path / "scene.dat")
    (tmp_path / "scene.hdr").write_text(
        "ENVI\nsamples = 4\nlines = 3\nbands = 2\ndata type = 12\ninterleave = bsq\nbyte order = 0\n"
        "wavelength units = Micrometers\nwavelength = {0.40002,\n 0.41053}\n"
        "fwhm = {0.005, 0.006}\nbbl = {1, 0}\n"
    )
    scene = open_scene(str(tmp_path / "scene.dat"))
    assert scene.wavelengths_nm == [400.02, 410.53]
    assert [band.fwhm_nm for band in scene.bands] == [5, 6]
    assert [band.good for band in scene.bands] == [True, False]


def test_a_virtual_raster_takes_wavelengths_from_the_bands_of_its_sources(make_raster, tmp_path):
    def name(file):
        for i, wavelength in enumerate(("418", "424"), start=1):
            file.update_tags(i, wavelength=wavelength, wavelength_units="nm")

    source = make_raster("a & b.tif", TWO_BANDS, finish=name)
    path = tmp_path / "virtual.vrt"
    rasterio.shutil.copy(source, path, driver="VRT")
    bare = "".join(line for line in path.read_text().splitlines(True) if "<MDI" not in line)
    bare = bare.replace("<SourceBand>1<", "<SourceBand>X<").replace("<SourceBand>2<", "<SourceBand>1<")
    path.write_text(bare.replace("<SourceBand>X<", "<SourceBand>2<"))
    assert open_scene(str(path)).wavelengths_nm == [424, 418]


@pytest.mark.parametrize(
    ("band", "text"),
    [
        (Band("anything", 841.6), "B42 842 nm"),
        (Band("2017-06-12 VV"), "B42 2017-06-12 VV"),
        (Band("Band 42"), "Band 42"),
        (Band("2017-06-12 VV", date="2017-06-12"), "2017-06-12 VV"),
        (Band("2017-06-12 B08", 841.6, date="2017-06-12"), "2017-06-12 B08"),
        (Band("anything", 841.6, date="2017-06-12"), "B42 842 nm"),
        (Band("VV", date="2017-06-12"), "2017-06-12 VV"),
    ],
)
def test_a_band_is_described_for_people(band, text):
    assert describe_band(41, band) == text
