"""Tables of spectra: three forms, and the rules by which they come to a scene's bands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.spectra_tables import SpectraTable, read_spectra_table, resampled
from explanation_layers.rasters.wavelengths import Band


def written(folder: Path, text: str) -> str:
    path = folder / "spectra.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


FORMS = {
    "columns": "wavelength_nm,soil,tree\n450,0.1,0.2\n550,0.3,0.4\n",
    "micrometres": "wavelength (um);soil;tree\n0.45;0.1;0.2\n0.55;0.3;0.4\n",
    "no unit": "Wavelength,fwhm,soil,tree\n0.45,0.01,0.1,0.2\n0.55,0.01,0.3,0.4\n",
    "rows": "name,450 nm,550 nm\nsoil,0.1,0.3\ntree,0.2,0.4\n",
    "numbered": "id,source,w450,w550\n1,soil,0.1,0.3\n2,tree,0.2,0.4\n",
    "long": "material,band,wavelength_nm,mean,p5,p95,pixels\n"
    "soil,1,450,0.1,0,1,9\nsoil,2,550,0.3,0,1,9\ntree,1,450,0.2,0,1,9\ntree,2,550,0.4,0,1,9\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_spectra(tmp_path: Path, form: str) -> None:
    table = read_spectra_table(written(tmp_path, FORMS[form]))
    assert table.names == table.materials == ("soil", "tree")
    assert table.wavelengths is not None and table.wavelengths.tolist() == pytest.approx([450, 550])
    assert table.values.tolist() == [[0.1, 0.3], [0.2, 0.4]]


def test_rows_of_one_name_are_a_bundle_and_band_numbers_tell_no_wavelengths(tmp_path: Path) -> None:
    table = read_spectra_table(written(tmp_path, "material,450,550\nsoil,1,2\ntree,3,4\nsoil,5,6\n"))
    assert table.names == ("soil", "tree", "soil") and table.materials == ("soil", "tree")
    bands = read_spectra_table(written(tmp_path, "band,soil\n1,0.1\n2,0.3\n"))
    assert bands.wavelengths is None and bands.values.tolist() == [[0.1, 0.3]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("wavelength_nm,soil\n", "has no rows"),
        ("wavelength_nm,soil\n450\n", "Row 2 of .* has 1 cells and the header 2"),
        ("wavelength_nm,soil\n450,0.1\n550,\n", "spectrum of 'soil' in .* has gaps"),
        ("wavelength_nm,soil\n450,0.1\n450,0.2\n", "has a wavelength twice"),
        ("wavelength_nm,soil\nblue,0.1\n550,0.2\n", "has a value that is none"),
        ("wavelength_nm,note\n450,x\n", "no column of numbers beside it"),
        ("soil,tree\n0.1,0.2\n", "is no table of spectra: give a column 'wavelength_nm'"),
        ("material,wavelength_nm,mean\na,450,1\na,550,1\nb,450,1\n", "different numbers of rows"),
        ("material,wavelength_nm,mean\na,450,1\na,550,1\nb,450,1\nb,650,1\n", "other wavelengths than 'a'"),
    ],
)
def test_what_is_no_table_of_spectra_is_said(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_spectra_table(written(tmp_path, text))


def test_a_table_that_is_not_text_is_said(tmp_path: Path) -> None:
    (tmp_path / "spectra.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="can't be read as text"):
        read_spectra_table(str(tmp_path / "spectra.csv"))


def test_without_widths_values_lie_on_straight_lines() -> None:
    table = SpectraTable("t.csv", ("a",), np.array([500.0, 400.0]), np.array([[1.0, 0.0]]))
    bands = [Band("x", 400.0), Band("y", 425.0), Band("z", 501.0)]
    assert resampled(table, bands, "s.tif")[0] == pytest.approx([0, 0.25, 1])


def test_a_known_width_takes_a_gaussian_mean() -> None:
    known = np.linspace(400, 700, 3001)
    line = SpectraTable("t.csv", ("a",), known, 0.1 + (known[None] - 400) / 1000)
    band = Band("x", 550.0, 20.0)
    # A mean that is weighed alike on both sides leaves a straight line as it is.
    assert resampled(line, [band], "s.tif")[0, 0] == pytest.approx(0.25, abs=1e-6)
    # Of a Gaussian dip, a Gaussian band sees the convolution: widths add up as squares, depths fall.
    sigma, width = 8.0, 20 / (2 * np.sqrt(2 * np.log(2)))
    dip = SpectraTable("t.csv", ("a",), known, np.exp(-(((known[None] - 550) / sigma) ** 2) / 2))
    # The weights end one width from the centre, 2.35 deviations.
    assert resampled(dip, [band], "s.tif")[0, 0] == pytest.approx(sigma / np.hypot(sigma, width), rel=0.02)
    # With too few values inside there is a line.
    coarse = SpectraTable("t.csv", ("a",), np.array([400.0, 700.0]), np.array([[0.0, 3.0]]))
    with pytest.raises(InputError, match="no value near 1 band"):
        resampled(coarse, [band], "s.tif")
    near = SpectraTable("t.csv", ("a",), np.array([545.0, 557.0]), np.array([[0.0, 12.0]]))
    assert resampled(near, [band], "s.tif")[0, 0] == pytest.approx(5)


@pytest.mark.parametrize(
    ("centres", "sentence"),
    [
        (
            (380.0, 450.0),
            r"cover 400 to 700 nm, s.tif has 1 band\(s\) outside of that \(380 nm\); give spectra",
        ),
        ((450.0, 702.0, 900.0), r"2 band\(s\) outside of that \(702 nm, 900 nm\)"),
        ((450.0, None), "tells no wavelength of b1; add it"),
    ],
)
def test_bands_that_the_table_does_not_cover_are_refused(centres: tuple, sentence: str) -> None:
    table = SpectraTable("t.csv", ("a",), np.linspace(400, 700, 31), np.zeros((1, 31)))
    bands = [Band(f"b{i}", centre) for i, centre in enumerate(centres)]
    with pytest.raises(InputError, match=sentence):
        resampled(table, bands, "s.tif")
