"""Where the files of SAR scenes lie, and folders of chips that appear whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import TracebackType

from .errors import InputError
from .simulate_sar_chips import CLASSES

KIND = "sar_scenes"
FILES = {
    "raster": "scene.tif",
    "labels": "labels.geojson",
    "label_raster": "classes.tif",
    "evidence": "evidence.geojson",
    "truth": "truth.json",
}
# The mask of a chip has the chip's name below "masks".
FOLDERS = {"patches": "train", "test_patches": "test", "masks": os.path.join("masks", "test")}
SPURIOUS = "train_spurious"
PARTS = ("train", "test", SPURIOUS, "masks/train", "masks/test", f"masks/{SPURIOUS}")


class ChipFolders:
    """Folders of chips written aside and moved into place as a whole, as a context manager.

    Chips of an earlier run give way; other files stay.
    """

    def __init__(self, folder: str, job_id: str) -> None:
        self._folder = Path(folder)
        self._staged = self._folder / f".part-{job_id}-chips"
        self._again = _holds_earlier_run(self._folder)
        for part in PARTS:
            if (self._folder / part).exists() and not self._again:
                raise InputError(
                    f"{self._folder / part} is there, but not from an earlier run; choose another folder."
                )

    def stage(self, name: str) -> str:
        """Return where to write the chip of this name; its folder is made."""
        path = self._staged / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)

    def __enter__(self) -> ChipFolders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._commit()
        finally:
            shutil.rmtree(self._staged, ignore_errors=True)

    def _commit(self) -> None:
        for part in PARTS if self._again else ():
            for planted in CLASSES:
                for path in (self._folder / part / planted.name).glob("[0-9][0-9][0-9].tif"):
                    path.unlink()
        for path in self._staged.rglob("*.tif"):
            final = self._folder / path.relative_to(self._staged)
            final.parent.mkdir(parents=True, exist_ok=True)
            path.replace(final)


def _holds_earlier_run(folder: Path) -> bool:
    try:
        truth = json.loads((folder / FILES["truth"]).read_text(encoding="utf-8"))
        return truth["scene_kind"] == KIND
    except (OSError, ValueError, KeyError, TypeError):
        return False
