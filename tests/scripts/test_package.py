"""The zip for QGIS's plugin manager holds what a user needs, and no more."""

from __future__ import annotations

import configparser
import importlib.util
import zipfile

import pytest


@pytest.fixture
def package(root):
    spec = importlib.util.spec_from_file_location("package", root / "scripts" / "package.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_folder_with_the_plugin_and_nothing_else(package, tmp_path):
    target = tmp_path / "plugin.zip"
    package.write(target)
    paths = zipfile.ZipFile(target).namelist()
    assert {path.split("/")[0] for path in paths} == {"explanation_layers"}
    inside = {path.split("/", 1)[1] for path in paths}
    assert {"__init__.py", "metadata.txt", "LICENSE", "engine/launcher.py"} <= inside
    assert "resources/engine-requirements.txt" in inside
    assert not {path.split("/")[0] for path in inside} & {
        "tests",
        "docs",
        "benchmarks",
        "scripts",
        "Makefile",
    }


def test_the_same_commit_gives_the_same_bytes(package, tmp_path):
    for name in ("a.zip", "b.zip"):
        package.write(tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_metadata_says_what_qgis_asks_for(root):
    metadata = configparser.ConfigParser()
    metadata.read(root / "metadata.txt", encoding="utf-8")
    general = metadata["general"]
    for field in ("name", "description", "about", "version", "author", "email", "tracker", "repository"):
        assert general[field]
    assert (general["qgisMinimumVersion"], general["qgisMaximumVersion"]) == ("3.40", "4.99")
    assert general["hasProcessingProvider"] == "yes"
    assert general["license"] == "GPL-2.0-or-later"
    assert (root / general["icon"]).is_file()
