"""The environment variables that the engine and its set-up get: a list of what is let through.

QGIS sets PYTHONHOME, PYTHONPATH, GDAL_DATA, PROJ_LIB, LD_LIBRARY_PATH and more for its own libraries;
any of them breaks another interpreter's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

PASSED = (
    # who and where
    *("HOME", "USER", "LOGNAME", "USERNAME", "USERPROFILE", "HOMEDRIVE", "HOMEPATH"),
    *("APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "XDG_CACHE_HOME"),
    *("TEMP", "TMP", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "TZ"),
    # what Windows programs can't start without
    *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC"),
    *("NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE"),
    # how much of the machine to use
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOMP_SPINCOUNT"),
)
# Threads that wait for each other by spinning, as they do by default, stand still where something else
# wants a core: beside one busy program the engine took more than ten times as long.
SHORT_SPIN = {"GOMP_SPINCOUNT": "1000"}
PASSED_PREFIXES = ("CUDA_", "NVIDIA_")
PASSED_TO_PIP = (
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NETRC", "XDG_CONFIG_HOME"),
)


def engine_environment(python: str, source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables for a process of the interpreter `python`."""
    kept = {
        name: value
        for name, value in source.items()
        if name.upper() in PASSED or name.upper().startswith(PASSED_PREFIXES)
    }
    return {**SHORT_SPIN, **kept, "PATH": _minimal_path(python, kept), "PYTHONNOUSERSITE": "1"}


def pip_environment(python: str, source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables for pip: the engine's, proxies, certificates and pip's own settings."""
    extra = {
        name: value
        for name, value in source.items()
        if name.upper() in PASSED_TO_PIP or name.upper().startswith("PIP_")
    }
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    return {**engine_environment(python, source), **extra, **quiet}


def _minimal_path(python: str, variables: Mapping[str, str]) -> str:
    folder = Path(python).parent
    folders = [str(folder)]
    if os.name == "nt":
        if (folder / "conda-meta").is_dir():  # a conda interpreter finds its libraries through PATH
            folders.append(str(folder / "Library" / "bin"))
        system = next((v for n, v in variables.items() if n.upper() == "SYSTEMROOT"), r"C:\Windows")
        folders += [str(Path(system) / "System32"), system]
    else:
        folders += ["/usr/bin", "/bin"]
    return os.pathsep.join(folders)
