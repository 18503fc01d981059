from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import pytest

from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.outputs import Outputs, check_space


def _write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def test_outputs_appear_together_at_the_end(tmp_path):
    raster, style = str(tmp_path / "a.tif"), str(tmp_path / "a.qml")
    with Outputs("job", [raster]) as outputs:
        for path in (raster, style):
            staged = outputs.stage(path)
            assert os.path.basename(staged) == f".part-job-{os.path.basename(path)}"
            assert os.path.dirname(staged) == str(tmp_path)
            _write(staged, path)
        assert not os.path.exists(raster)
    assert sorted(os.listdir(tmp_path)) == ["a.qml", "a.tif"]


@pytest.mark.parametrize("problem", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_everything_as_it_was(tmp_path, problem):
    old, new = tmp_path / "old.tif", tmp_path / "fresh" / "new.tif"
    _write(old, "old")
    with pytest.raises(problem), Outputs("job", [str(old), str(new)]) as outputs:
        _write(outputs.stage(str(old)), "half")
        _write(outputs.stage(str(new)), "half")
        _write(outputs.stage(str(new)) + ".aux.xml", "half")
        raise problem
    assert os.listdir(tmp_path) == ["old.tif"]
    assert old.read_text() == "old"


def test_the_files_of_a_folder_take_their_places_one_by_one(tmp_path):
    folder = tmp_path / "chips"
    (folder / "town").mkdir(parents=True)
    for name in ("town/a.tif", "notes.txt"):
        _write(folder / name, "old")
    with Outputs("job", [str(folder)], folders=[str(folder)]) as outputs:
        staged = outputs.stage_folder(str(folder))
        for name in ("town", "field"):
            os.mkdir(os.path.join(staged, name))
            _write(os.path.join(staged, name, "a.tif"), "new")
        assert (folder / "town" / "a.tif").read_text() == "old"
    found = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*.t*")}
    assert found == {"chips/town/a.tif": "new", "chips/field/a.tif": "new", "chips/notes.txt": "old"}
    assert os.listdir(tmp_path) == ["chips"]


def test_a_failure_leaves_no_staged_folder(tmp_path):
    folder = str(tmp_path / "chips")
    with pytest.raises(KeyError), Outputs("job", [folder], folders=[folder]) as outputs:
        _write(os.path.join(outputs.stage_folder(folder), "a.tif"), "half")
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_a_file_where_a_folder_shall_be_is_refused(tmp_path):
    path = str(tmp_path / "chips")
    _write(path, "a file")
    with pytest.raises(InputError, match="chips is a file; give the name of a folder"):
        Outputs("job", [path], folders=[path])


def test_side_files_come_along_and_those_of_a_replaced_raster_go(tmp_path):
    path = str(tmp_path / "a.tif")
    for suffix in ("", ".aux.xml", ".ovr", ".msk"):
        _write(path + suffix, "old")
    with Outputs("job", [path]) as outputs:
        staged = outputs.stage(path)
        _write(staged, "new")
        _write(staged + ".aux.xml", "new")
    assert sorted(os.listdir(tmp_path)) == ["a.tif", "a.tif.aux.xml"]
    assert (tmp_path / "a.tif.aux.xml").read_text() == "new"


def test_a_staged_file_that_was_never_written_is_a_mistake_that_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="never written"), Outputs("job", []) as outputs:
        _write(outputs.stage(str(tmp_path / "a.tif")), "whole")
        outputs.stage(str(tmp_path / "b.tif"))
    assert os.listdir(tmp_path) == []


def test_places_that_can_not_be_written_are_refused_before_any_work(tmp_path):
    place = tmp_path / "a.tif"
    _write(place, "an input")
    (tmp_path / "link.tif").symlink_to(place)
    for paths, inputs, text in (
        ([tmp_path / "no" / "where" / "a.tif"], [], "There is no folder .*no/where"),
        ([tmp_path], [], "is a folder"),
        ([place], [place], "is an input of this job"),
        ([tmp_path / "link.tif"], [place], "is an input of this job"),
        ([tmp_path / "b.tif", tmp_path / "x" / ".." / "b.tif"], [], "another output has the same name"),
        ([tmp_path / "new" / "b.tif", tmp_path], [], "is a folder"),
    ):
        with pytest.raises(InputError, match=text):
            Outputs("job", [str(path) for path in paths], [str(path) for path in inputs])
    assert sorted(os.listdir(tmp_path)) == ["a.tif", "link.tif"]


AS_NOBODY = """
import importlib.util, os, pathlib, sys
spec = importlib.util.spec_from_file_location("launcher", sys.argv[1] + "/engine/launcher.py")
launcher = importlib.util.module_from_spec(spec)
spec.loader.exec_module(launcher)
launcher.register(pathlib.Path(sys.argv[1]))
from explanation_layers.rasters.outputs import InputError, Outputs
if os.getuid() == 0:
    os.setuid(65534)
try:
    Outputs("job", [sys.argv[2] + "/a.tif"])
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of folders are others on Windows")
def test_a_folder_that_is_not_writable_is_named(root):
    # Not under pytest's own folder, into which no other user may look.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        command = [sys.executable, "-c", AS_NOBODY, str(root), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        os.chmod(folder, 0o755)
    assert done.stdout.startswith(f"The folder {folder} is not writable (Permission denied); choose another")


def test_an_output_that_can_not_be_put_in_place_says_so_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.tif"
    outputs = Outputs("job", [str(path)])
    with pytest.raises(InputError, match=r"a\.tif can't be put in place"), outputs:
        _write(outputs.stage(str(path)), "new")
        path.mkdir()
    assert os.listdir(tmp_path) == ["a.tif"]


def test_too_little_space_is_said_with_both_figures(tmp_path, monkeypatch):
    first, second = str(tmp_path / "a.tif"), str(tmp_path / "not" / "there" / "b.tif")
    check_space({first: 1000, second: 1000})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=3 * 10**9))
    check_space({first: 2 * 10**9})
    with pytest.raises(InputError, match=rf"{tmp_path} has 3\.0 GB free and .* need up to 4\.0 GB"):
        check_space({first: 2 * 10**9, second: 2 * 10**9})
