"""Setting up the engine: consent first, an interpreter taken as it is, removal; and the settings page."""

from __future__ import annotations

import os

import processing
import pytest
from qgis.core import QgsProcessingException, QgsSettings

from explanation_layers.algorithms import _run, _settings, setup_engine
from explanation_layers.engine.setup import SetupError

VERSIONS = {"python": "3.12.1", "torch": "2.13.0", "captum": "0.9.0", "device": "cpu"}


@pytest.fixture
def folder(provider, no_engine, monkeypatch, tmp_path):
    """An empty profile; what is set is forgotten after the test."""
    monkeypatch.setattr(_settings, "python", lambda: QgsSettings().value("explanation_layers/python", ""))
    monkeypatch.setattr(_run, "probe", lambda python, is_cancelled: VERSIONS)
    yield tmp_path / "nothing"
    QgsSettings().remove("explanation_layers")


def set_up(feedback, **parameters):
    return processing.run("explain:setupengine", parameters, feedback=feedback)


def test_without_consent_size_and_place_are_stated_and_nothing_is_made(folder, feedback, monkeypatch):
    monkeypatch.setattr(setup_engine, "create", lambda *arguments: pytest.fail("made without consent"))
    with pytest.raises(QgsProcessingException) as caught:
        set_up(feedback)
    assert str(folder / "engine-1") in str(caught.value)
    assert "GB on disk. Tick 'I agree' (CONSENT=true) to go on." in str(caught.value)
    assert not folder.exists()


def test_with_consent_it_is_made(folder, feedback, monkeypatch):
    made = []

    def create(plan, on_progress, on_log, is_cancelled):
        on_progress(0.5, "Installing torch")
        on_log("Collecting torch")
        made.append(plan.folder)
        return "/made/python", VERSIONS

    monkeypatch.setattr(setup_engine, "create", create)
    results = set_up(feedback, CONSENT=True)
    assert results == {"PYTHON": "/made/python", "TORCH": "2.13.0", "DEVICE": "cpu"}
    assert made == [folder] and feedback.texts == ["Installing torch"]


def test_an_interpreter_is_taken_as_it_is(folder, feedback, provider):
    results = set_up(feedback, PYTHON="/mine/python", DEVICE="cpu")
    assert results == {"PYTHON": "/mine/python", "TORCH": "2.13.0", "DEVICE": "cpu"}
    assert _run.found_python() == "/mine/python" and _settings.device() == "cpu"
    assert "torch 2.13.0, captum 0.9.0, cpu" in provider.versionInfo()


def test_an_interpreter_that_lacks_torch_is_not_kept(folder, feedback, monkeypatch):
    def refuse(python, is_cancelled):
        raise SetupError(f"{python} can't run the engine: No module named 'torch'.")

    monkeypatch.setattr(_run, "probe", refuse)
    with pytest.raises(QgsProcessingException, match="^/mine/python can't run the engine: No module"):
        set_up(feedback, PYTHON="/mine/python")
    assert _run.found_python() is None


def test_cuda_that_is_not_there_is_an_error(folder, feedback):
    with pytest.raises(QgsProcessingException, match="finds no CUDA device"):
        set_up(feedback, PYTHON="/mine/python", DEVICE="cuda")
    assert _settings.device() == "auto"


def test_the_environment_variable_wins_and_it_is_said(folder, feedback, monkeypatch):
    monkeypatch.setenv("EXPLANATION_LAYERS_PYTHON", "/theirs/python")
    set_up(feedback, PYTHON="/mine/python")
    assert _run.found_python() == "/theirs/python"
    assert "EXPLANATION_LAYERS_PYTHON is set to /theirs/python and wins" in feedback.warnings[0]


def test_remove_forgets_everything(folder, feedback):
    set_up(feedback, PYTHON="/mine/python")
    (folder / "engine-1").mkdir(parents=True)
    assert set_up(feedback, ACTION="remove")["PYTHON"] == ""
    assert os.listdir(folder) == [] and _run.found_python() is None


def test_settings_page_shows_and_keeps(folder, qgis_app):
    from explanation_layers.plugin.settings_page import SettingsPageFactory

    opened = []
    page = SettingsPageFactory(opened.append).createWidget(None)
    assert page.found.text() == "none" and not page.check.isEnabled()
    page.python.setFilePath("/mine/python")
    page.device.setCurrentText("cpu")
    page.memory.setValue(2048)
    page.apply()
    assert (_settings.python(), _settings.device(), _settings.memory_mb()) == ("/mine/python", "cpu", 2048)
    page.set_up.click()
    assert opened == ["setupengine"]
