"""Outputs that appear whole or not at all: staged beside their place, moved there when all are done."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType

from .errors import InputError

# What GDAL keeps beside a raster; it describes the raster's old content once that is replaced.
_SIDE_FILES = (".aux.xml", ".ovr", ".msk")


class Outputs:
    """The output files of one job, as a context manager.

    `stage` gives the name to write a file under; leaving the context moves all staged files into place,
    an exception removes them. A side file that GDAL or a writer left beside a staged file follows it.
    `stage_folder` gives an empty folder, whose files take their places in the output folder one by one.
    An OSError of a full disk becomes an InputError that names the folder.

    Before any work, InputError where an output can't be written: its folder is not there (a folder is
    created where its parent exists) or not writable, it is one of `inputs`, two outputs are one file, or it
    is a folder and not among the `folders`, or the other way round.
    """

    def __init__(
        self, job_id: str, paths: Sequence[str], inputs: Sequence[str] = (), folders: Sequence[str] = ()
    ) -> None:
        self._job_id = job_id
        self._staged: dict[str, str] = {}
        self._created: list[str] = []
        taken = {_identity(path): f"{path} is an input of this job" for path in inputs}
        for path in paths:
            if problem := taken.get(_identity(path)):
                raise InputError(f"The output {path} can't be written: {problem}; choose another name.")
            taken[_identity(path)] = "another output has the same name"
            _check_place(path, path in folders)
        for folder in dict.fromkeys(_folder(path) for path in paths):
            self._prepare_folder(folder)

    def stage(self, path: str) -> str:
        """Return the temporary path, in the same folder, that stands for `path` until the end."""
        folder, name = os.path.split(os.path.abspath(path))
        staged = os.path.join(folder, f".part-{self._job_id}-{name}")
        self._staged[staged] = os.path.join(folder, name)
        return staged

    def stage_folder(self, path: str) -> str:
        """Return an empty temporary folder whose files go into the folder `path` at the end."""
        staged = self.stage(path)
        os.mkdir(staged)
        return staged

    def __enter__(self) -> Outputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._commit()
        finally:
            folders = " or ".join(sorted({_folder(path) for path in self._staged}))
            self._remove_staged()
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise InputError(
                f"The disk of the folder {folders} is full; free some space or choose another folder."
            ) from error

    def _commit(self) -> None:
        missing = [final for staged, final in self._staged.items() if not os.path.exists(staged)]
        if missing:
            raise RuntimeError(f"Staged, but never written: {', '.join(missing)}.")
        for staged, final in self._files():
            try:
                os.makedirs(os.path.dirname(final), exist_ok=True)
                os.replace(staged, final)
                for suffix in _SIDE_FILES:
                    if os.path.exists(staged + suffix):
                        os.replace(staged + suffix, final + suffix)
                    elif os.path.exists(final + suffix) and final + suffix not in self._staged.values():
                        os.remove(final + suffix)
            except OSError as error:
                raise InputError(
                    f"The output {final} can't be put in place ({error.strerror}); "
                    "close programs that have it open, or choose another name."
                ) from error

    def _files(self) -> Iterator[tuple[str, str]]:
        """Yield the staged files, those of staged folders too, with their places."""
        for staged, final in self._staged.items():
            if not os.path.isdir(staged):
                yield staged, final
            for folder, _, names in os.walk(staged):
                place = os.path.join(final, os.path.relpath(folder, staged))
                yield from (
                    (os.path.join(folder, n), os.path.normpath(os.path.join(place, n))) for n in names
                )

    def _remove_staged(self) -> None:
        for staged in self._staged:
            if os.path.isdir(staged):
                shutil.rmtree(staged)
            for suffix in ("", *_SIDE_FILES):
                if os.path.exists(staged + suffix):
                    os.remove(staged + suffix)
        for folder in self._created:
            if not os.listdir(folder):
                os.rmdir(folder)
        self._staged.clear()
        self._created.clear()

    def _prepare_folder(self, folder: str) -> None:
        try:
            if not os.path.isdir(folder):
                os.mkdir(folder)
                self._created.append(folder)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            self._remove_staged()
            raise InputError(
                f"The folder {folder} is not writable ({error.strerror}); "
                "choose another folder for the output."
            ) from error


def check_space(bytes_needed: Mapping[str, int]) -> None:
    """Raise InputError where the disks of the output paths have less room than the bytes of their files."""
    needed: dict[int, int] = {}
    for path, size in bytes_needed.items():
        folder = _folder(path)
        while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
            folder = os.path.dirname(folder)
        disk = os.stat(folder).st_dev
        needed[disk] = needed.get(disk, 0) + size
        free = shutil.disk_usage(folder).free
        if needed[disk] > free:
            raise InputError(
                f"The disk of the folder {folder} has {_readable(free)} free and the outputs need up to "
                f"{_readable(needed[disk])}; free some space or choose another folder."
            )


def _check_place(path: str, wanted_folder: bool) -> None:
    folder = _folder(path)
    if not os.path.isdir(folder) and not os.path.isdir(os.path.dirname(folder)):
        raise InputError(f"There is no folder {folder} for the output; create it or choose another.")
    if os.path.isdir(path) and not wanted_folder:
        raise InputError(f"The output {path} is a folder; give the name of a file.")
    if os.path.isfile(path) and wanted_folder:
        raise InputError(f"The output {path} is a file; give the name of a folder.")


def _folder(path: str) -> str:
    return os.path.dirname(os.path.abspath(path))


def _identity(path: str) -> str:
    return os.path.normcase(os.path.realpath(path))


def _readable(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
