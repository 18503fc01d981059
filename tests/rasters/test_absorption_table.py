"""The table of named features: what it holds, what a user adds, what it takes a wavelength for."""

from __future__ import annotations

from pathlib import Path

import pytest

from explanation_layers.rasters.absorption_table import ATMOSPHERE, BUILT_IN, COLUMNS, load_table, match
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.simulate_spectra import CLASSES

TITLES = ",".join(COLUMNS)


@pytest.fixture
def own(tmp_path: Path):
    def write(*lines: str) -> str:
        path = tmp_path / "own.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(path)

    return write


def test_the_built_in_table_is_whole() -> None:
    table = load_table()
    assert len(table) >= 50 and all(feature.source for feature in table)
    assert {feature.kind for feature in table} == {
        "vegetation", "water", "mineral", "organic", "atmosphere", "edge",
    }  # fmt: skip
    by_name = {feature.name: feature for feature in table}
    red = by_name["Chlorophyll red"]
    assert (red.centres, red.window, red.left, red.right) == (
        ((660, 680),), (640, 700), (522, 552), (737, 767),
    )  # fmt: skip
    assert by_name["Kaolinite Al-OH"].centres == ((2160, 2160), (2206, 2206))


def test_planted_features_are_named() -> None:
    names = {
        "chlorophyll red": "Chlorophyll red", "ferric iron": "Hematite 870",
        "liquid water 975": "Leaf water 975", "liquid water 1190": "Leaf water 1180",
        "C-H overtone": "Organics and plastics C-H 1725", "Al-OH": "Muscovite and illite Al-OH",
        "CO3": "Calcite CO3",
    }  # fmt: skip
    table = load_table()
    planted = [feature for each in CLASSES for feature in each.features]
    assert {feature.name: match(feature.centre_nm, table).name for feature in planted} == names


def test_the_nearest_centre_comes_first_and_traps_are_told() -> None:
    table = load_table()
    found = match(2206, table)
    names = [feature.name for feature in found.candidates]
    # All three have it at their centre: the one whose centre is known best comes first.
    assert names[:3] == ["Kaolinite Al-OH", "Montmorillonite Al-OH", "Muscovite and illite Al-OH"]
    distances = [feature.distance(2206) for feature in found.candidates]
    assert distances == sorted(distances) and not found.atmospheric
    assert match(762, table).atmospheric and match(762, table).name == "Neodymium 740"
    assert (match(1835, table).name, match(1835, table).candidates) == ("atmospheric", ())
    assert (match(1600, table).name, match(1600, table).atmospheric) == ("unnamed", False)
    assert all(feature.kind != ATMOSPHERE for feature in match(940, table).candidates)


def test_a_users_rows_are_added_and_replace(own) -> None:
    path = own(
        # Columns in another order, one more, spaces, an empty line, no width and a dash as typeset.
        "source,name,kind,centre_nm,window_nm,left_continuum_nm,right_continuum_nm,note",
        "mine, Buddingtonite ,Mineral, 2115 ,2100-2140,,,rare",
        "",
        "mine,Calcite CO3,mineral,2340; 2500.5,2300–2510,2200-2210,2515-2520,",
    )
    table = {feature.name: feature for feature in load_table(path)}
    assert len(table) == len(load_table()) + 1
    assert (table["Buddingtonite"].kind, table["Buddingtonite"].centres) == ("mineral", ((2115, 2115),))
    assert table["Calcite CO3"].centres == ((2340, 2340), (2500.5, 2500.5))
    assert table["Calcite CO3"].window == (2300, 2510)
    assert match(2115, list(table.values())).name == "Buddingtonite"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["name,kind"], "no column centre_nm; its first line must name the columns name, kind, centre_nm"),
        ([], "no column name"),
        ([TITLES, "a,mineral,2200,2100-2300,,"], "Line 2 of .* has 6 values for 7 columns"),
        ([TITLES, ",mineral,2200,2100-2300,,,x"], "Line 2 of .* has no name"),
        ([TITLES, "a,,2200,2100-2300,,,x"], "Line 2 of .* has no kind"),
        ([TITLES, "a,mineral,,2100-2300,,,x"], "needs a centre and one window"),
        ([TITLES, "a,mineral,2200,2100-2300; 2400-2500,,,x"], "needs a centre and one window"),
        ([TITLES, "a,mineral,2200,2200,,,x"], "window without width"),
        ([TITLES, "a,mineral,2.2,2100-2300,,,x"], "'2.2' as centre_nm; .* between 100 and 20000"),
        ([TITLES, "a,mineral,2200,2300-2100,,,x"], "'2300-2100' as window_nm; .* the shorter one first"),
        ([TITLES, "a,mineral,red,2100-2300,,,x"], "'red' as centre_nm; write wavelengths in nm"),
        ([TITLES, "a,mineral,2400,2100-2300,,,x"], "centre outside of its window"),
        ([TITLES, "a,mineral,2200,2100-2300,2000-2010,,x"], "continuum on either side"),
        ([TITLES, "a,mineral,2200,2100-2300,2400-2410,2000-2010,x"], "exchange them"),
        ([TITLES, *["a,mineral,2200,2100-2300,,,x"] * 2], "Line 3 of .* names 'a' a second time"),
    ],
)
def test_a_malformed_row_is_a_sentence(own, lines: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_table(own(*lines))


def test_what_is_no_csv_file_is_a_sentence(tmp_path: Path) -> None:
    binary = tmp_path / "table.csv"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    for path in (str(tmp_path / "none.csv"), str(binary), str(tmp_path)):
        with pytest.raises(InputError, match="can't be read as a CSV file"):
            load_table(path)


def test_it_is_shipped() -> None:
    assert BUILT_IN.parent.name == "resources" and BUILT_IN.is_file()
