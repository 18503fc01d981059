"""Runs the races: `make bench`, or with the architectures to race as arguments.

They need the real scene in ../shared.
"""

import importlib
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
runpy.run_path(str(ROOT / "engine" / "launcher.py"))["register"](ROOT)
importlib.import_module("explanation_layers.benchmarks.races").main(
    ROOT.parent / "shared" / "data" / "indian_pines", sys.argv[1:]
)
