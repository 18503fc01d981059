"""What the settings page keeps: interpreter, device, memory budget, and the engine's versions last seen."""

from __future__ import annotations

from pathlib import Path

from qgis.core import QgsApplication, QgsSettings

_KEY = "explanation_layers/"
DEFAULT_MEMORY_MB = 1024
DEVICES = ("auto", "cpu", "cuda")


def profile_folder() -> Path:
    """Return the folder under the QGIS profile that holds the managed engine."""
    return Path(QgsApplication.qgisSettingsDirPath()) / "explanation_layers"


def python() -> str:
    """Return the interpreter that the user configured, or an empty text."""
    return QgsSettings().value(_KEY + "python", "", type=str)


def set_python(path: str) -> None:
    """Keep `path` as the configured interpreter; an empty text means the managed engine."""
    QgsSettings().setValue(_KEY + "python", path)


def device() -> str:
    """Return the device that DEVICE=auto stands for."""
    value = QgsSettings().value(_KEY + "device", "auto", type=str)
    return value if value in DEVICES else "auto"


def set_device(value: str) -> None:
    """Keep the device that DEVICE=auto stands for."""
    QgsSettings().setValue(_KEY + "device", value)


def memory_mb() -> int:
    """Return the memory budget in megabytes."""
    return QgsSettings().value(_KEY + "memory_mb", DEFAULT_MEMORY_MB, type=int)


def set_memory_mb(value: int) -> None:
    """Keep the memory budget in megabytes."""
    QgsSettings().setValue(_KEY + "memory_mb", value)


def versions() -> str:
    """Return the engine's versions as last seen, such as 'torch 2.13.0, captum 0.9.0', or an empty text."""
    return QgsSettings().value(_KEY + "versions", "", type=str)


def set_versions(text: str) -> None:
    """Keep the engine's versions as last seen, so that listing them never starts the engine."""
    QgsSettings().setValue(_KEY + "versions", text)
