"""Runs a function beside the window, as one of QGIS's tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qgis.core import QgsApplication, QgsTask

_running: set[QgsTask] = set()  # QGIS keeps no Python reference


def in_background(
    title: str,
    function: Callable[[Callable[[], bool]], Any],
    done: Callable[[Any], None],
    failed: Callable[[str], None],
) -> QgsTask:
    """Call `function` with a way to ask whether it is cancelled.

    On the thread of the window, `done` then gets its value, or `failed` a sentence.
    """

    def work(task: QgsTask) -> Any:
        return function(task.isCanceled)

    def ended(error: Exception | None, value: Any = None) -> None:
        _running.discard(task)
        if error is None:
            done(value)
        else:
            failed(str(error))

    task = QgsTask.fromFunction(title, work, on_finished=ended)
    _running.add(task)
    QgsApplication.taskManager().addTask(task)
    return task
