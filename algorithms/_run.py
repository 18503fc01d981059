"""Hand a job to the warm engine and pass its progress, log, cancel and errors through to Processing."""

from __future__ import annotations

import time
from collections.abc import Callable

from qgis.core import QgsProcessingException, QgsProcessingFeedback

from ..engine.client import EngineError, engine_for
from ..engine.jobs import Job
from ..engine.locate import find_python
from ..engine.setup import SetupError, probe
from . import _settings
from ._text import tr

# A line of progress text is repeated, with the time left, no more often than this.
_SECONDS_BETWEEN_TEXTS = 10.0


def found_python() -> str | None:
    """Return the engine's interpreter, None where there is none."""
    return find_python(_settings.python(), _settings.profile_folder())


def required_python() -> str:
    """Return the engine's interpreter; one sentence that says what to do where there is none."""
    found = found_python()
    if not found:
        raise QgsProcessingException(
            tr(
                "No engine is set up: run 'Set up the engine' (explain:setupengine) or set "
                "EXPLANATION_LAYERS_PYTHON to a Python with torch, captum and rasterio."
            )
        )
    return found


def run_job(python: str, job: Job, feedback: QgsProcessingFeedback) -> dict:
    """Run `job` and return the engine's result; its errors become Processing's, with the same sentence."""
    progress = _Progress(feedback)
    try:
        return engine_for(python, _settings.profile_folder()).run(
            job, progress, _logger(feedback), feedback.isCanceled
        )
    except EngineError as error:
        if error.detail:
            feedback.pushDebugInfo(error.detail)
        raise QgsProcessingException(str(error)) from None


def versions_of(python: str, is_cancelled: Callable[[], bool] = lambda: False) -> dict[str, str]:
    """Return the versions and the device that `python` has, and keep them for the provider."""
    try:
        versions = probe(python, is_cancelled)
    except SetupError as error:
        raise QgsProcessingException(str(error)) from None
    keep_versions(versions)
    return versions


def keep_versions(versions: dict[str, str]) -> None:
    """Keep a line of the engine's versions, so that the provider can show it."""
    _settings.set_versions(f"torch {versions['torch']}, captum {versions['captum']}, {versions['device']}")


def duration(seconds: float) -> str:
    """Return a length of time as a person would say it."""
    if seconds < 60:
        return tr("{n} s").format(n=max(1, round(seconds)))
    if seconds < 3600:
        return tr("{n} min").format(n=round(seconds / 60))
    return tr("{n:.1f} h").format(n=seconds / 3600)


class _Progress:
    """Shows the engine's progress: the bar always, the text when it changes or some seconds have passed."""

    def __init__(self, feedback: QgsProcessingFeedback) -> None:
        self._feedback = feedback
        self._text = ""
        self._shown = 0.0

    def __call__(self, fraction: float, text: str, seconds_left: float | None) -> None:
        self._feedback.setProgress(100 * fraction)
        now = time.monotonic()
        if not text or (text == self._text and now - self._shown < _SECONDS_BETWEEN_TEXTS):
            return
        self._text, self._shown = text, now
        if seconds_left is not None:
            text = tr("{text}, about {time} left").format(text=text, time=duration(seconds_left))
        self._feedback.setProgressText(text)


def _logger(feedback: QgsProcessingFeedback) -> Callable[[str, str], None]:
    def log(level: str, text: str) -> None:
        if level == "warning":
            feedback.pushWarning(text)
        else:
            feedback.pushInfo(text)

    return log
