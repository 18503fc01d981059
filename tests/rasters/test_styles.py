from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from explanation_layers.rasters.styles import write_classes_qml, write_diverging_qml, write_sequential_qml


def _items(path):
    return [(float(item.get("value")), item.get("color")) for item in ElementTree.parse(path).iter("item")]


def test_signed_values_are_white_at_zero_and_alike_on_both_sides(tmp_path):
    write_diverging_qml(str(tmp_path / "a.qml"), band=3, limit=0.25)
    items = _items(tmp_path / "a.qml")
    assert items[0][0] == -0.25 and items[-1][0] == 0.25
    assert [value for value, colour in items if colour == "#f7f7f7"] == [0]
    assert np.allclose([value for value, _ in items], [-value for value, _ in reversed(items)])


@pytest.mark.parametrize("limit", [0.0, float("nan"), -1.0])
def test_a_limit_that_says_nothing_still_makes_a_style(tmp_path, limit):
    write_diverging_qml(str(tmp_path / "a.qml"), band=1, limit=limit)
    assert _items(tmp_path / "a.qml")[-1][0] == 1


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(2, 6, (2, 6)), (3, 3, (3, 4)), (float("nan"), float("nan"), (0, 1))]
)
def test_values_run_from_low_to_high(tmp_path, low, high, expected):
    write_sequential_qml(str(tmp_path / "a.qml"), 1, low, high)
    items = _items(tmp_path / "a.qml")
    assert (items[0][0], items[-1][0]) == expected


IN_QGIS = """
import json, sys
from qgis.core import QgsApplication, QgsRasterLayer
application = QgsApplication([], False)
application.initQgis()
said = {}
for name in ("diverging", "sequential", "classes"):
    layer = QgsRasterLayer(sys.argv[1] + "/a.tif", name)
    accepted = layer.loadNamedStyle(sys.argv[1] + "/" + name + ".qml")[1]
    renderer = layer.renderer()
    said[name] = [accepted, renderer.type()]
    if name == "classes":
        said[name] += [[c.value, c.label, c.color.name()] for c in renderer.classes()]
    else:
        ramp = renderer.shader().rasterShaderFunction()
        said[name] += [renderer.inputBand(), renderer.classificationMin(), renderer.classificationMax()]
        said[name] += [list(ramp.shade(value))[1:4] for value in (-99.0, 0.0, 99.0)]
        said[name].append(ramp.sourceColorRamp().color(0.5).name())
    del renderer, layer
print(json.dumps(said))
"""


def test_qgis_takes_the_styles(tmp_path, make_raster):
    python = "/usr/bin/python3"
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PATH": "/usr/bin:" + os.environ["PATH"]}
    asked = [python, "-c", "import qgis.core"]
    if not Path(python).exists() or subprocess.run(asked, env=environment, capture_output=True).returncode:
        pytest.skip("needs QGIS")
    make_raster("a.tif", np.zeros((2, 4, 4), np.float32))
    write_diverging_qml(str(tmp_path / "diverging.qml"), 2, 0.3)
    write_sequential_qml(str(tmp_path / "sequential.qml"), 1, 0, 9)
    write_classes_qml(str(tmp_path / "classes.qml"), ['a & "b"', "<c>"], [(255, 0, 0), (0, 9, 0)])
    command = [python, "-c", IN_QGIS, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    blue, white, red = [5, 48, 97], [247, 247, 247], [103, 0, 31]
    assert said["diverging"] == [True, "singlebandpseudocolor", 2, -0.3, 0.3, blue, white, red, "#f7f7f7"]
    dark, bright = [68, 1, 84], [253, 231, 37]
    assert said["sequential"][:8] == [True, "singlebandpseudocolor", 1, 0, 9, dark, dark, bright]
    assert said["classes"] == [True, "paletted", [1, 'a & "b"', "#ff0000"], [2, "<c>", "#000900"]]
