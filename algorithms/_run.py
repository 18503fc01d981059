"""Hand a job to the warm engine and pass its progress, log, cancel and errors through to Processing."""

from __future__ import annotations

import time

from qgis.core import QgsProcessingException, QgsProcessingFeedback

from ..engine.client import EngineError, engine_for
from ..engine.jobs import Job, ProbeJob
from . import _settings
from ._text import tr

# A line of progress text is repeated, with the time left, no more often than this.
_SECONDS_BETWEEN_TEXTS = 10.0


def found_python() -> str | None:
    """Return the engine's interpreter, None where there is none."""
    from ..engine.locate import find_python

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
        return engine_for(python).run(job, progress, _logger(feedback), feedback.isCanceled)
    except EngineError as error:
        if error.detail:
            feedback.pushDebugInfo(error.detail)
        raise QgsProcessingException(str(error)) from None


def probe(python: str, feedback: QgsProcessingFeedback) -> dict[str, str]:
    """Return what the engine says of its versions and devices, and keep the versions for the provider."""
    strings = run_job(python, ProbeJob(), feedback)["strings"]
    _settings.set_versions(f"torch {strings['TORCH']}, {strings['DEVICE']}")
    return strings


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


def _logger(feedback: QgsProcessingFeedback):
    def log(level: str, text: str) -> None:
        if level == "warning":
            feedback.pushWarning(text)
        else:
            feedback.pushInfo(text)

    return log
