"""Runs the races: `make bench`, or with the names of some as arguments: architectures, `chips`, `dense`,
`series`, `unmix`.

Those of scenes need the real scene in ../shared.
"""

import importlib
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
runpy.run_path(str(ROOT / "engine" / "launcher.py"))["register"](ROOT)
DATA = ROOT.parent / "shared" / "data"
CHIPS, DENSE, SERIES, UNMIX = "chips", "dense", "series", "unmix"
wanted = sys.argv[1:]
if architectures := [name for name in wanted if name not in (CHIPS, DENSE, SERIES, UNMIX)] or not wanted:
    races = importlib.import_module("explanation_layers.benchmarks.races")
    races.main(DATA / "indian_pines", architectures if wanted else [])
if CHIPS in wanted or not wanted:
    races = importlib.import_module("explanation_layers.benchmarks.chip_races")
    races.main(DATA / "mstar_soc_subset" / "TEST")
if DENSE in wanted or not wanted:
    importlib.import_module("explanation_layers.benchmarks.dense_races").main()
if SERIES in wanted or not wanted:
    importlib.import_module("explanation_layers.benchmarks.series_races").main()
if UNMIX in wanted or not wanted:
    importlib.import_module("explanation_layers.benchmarks.unmix_races").main(DATA / "unmixing_samson")
