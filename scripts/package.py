"""Make build/explanation_layers.zip, the file that QGIS's plugin manager installs.

One folder of the plugin's name holds what a user needs, as git knows it. The same commit gives the
same bytes.
"""

from __future__ import annotations

import subprocess  # nosec B404
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = "explanation_layers"
SHIPPED_FILES = {"__init__.py", "metadata.txt", "LICENSE", "README.md"}
SHIPPED_FOLDERS = {
    "plugin",
    "algorithms",
    "engine",
    "workflows",
    "explainers",
    "models",
    "rasters",
    "resources",
}
LEFT_OUT = {"resources/dev-requirements.txt", "resources/qgis-requirements.txt"}
BINARIES = {".so", ".dll", ".dylib", ".pyd", ".exe", ".pyc", ".whl", ".zip", ".safetensors"}
MOST_BYTES = 25_000_000  # what plugins.qgis.org takes
TIMESTAMP = (2026, 1, 1, 0, 0, 0)


def shipped() -> list[str]:
    """Return the paths, relative to the repository's root, of what belongs into the zip."""
    command = ["git", "ls-files", "-z"]  # fixed arguments, no shell, hence nosec
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)  # nosec B603
    return sorted(
        path
        for path in listed.stdout.split("\0")
        if path and path not in LEFT_OUT and (path in SHIPPED_FILES or path.split("/")[0] in SHIPPED_FOLDERS)
    )


def write(target: Path) -> list[str]:
    """Write the zip to `target` and return what it holds; ValueError if QGIS's repository would refuse it."""
    paths = shipped()
    if binaries := [path for path in paths if Path(path).suffix in BINARIES]:
        raise ValueError(f"Binaries do not belong into a plugin: {', '.join(binaries)}")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            entry = zipfile.ZipInfo(f"{NAME}/{path}", TIMESTAMP)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, (ROOT / path).read_bytes())
    if target.stat().st_size > MOST_BYTES:
        raise ValueError(f"The zip is larger than {MOST_BYTES / 1e6:.0f} MB")
    return paths


def main() -> int:
    """Write the zip and say what it holds; 1 if it can't be published."""
    target = ROOT / "build" / f"{NAME}.zip"
    target.parent.mkdir(exist_ok=True)
    try:
        paths = write(target)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{target.relative_to(ROOT)}: {len(paths)} files, {target.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
