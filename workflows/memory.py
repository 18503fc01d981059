"""How much memory a piece of work took at its peak."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType

_STATUS, _CLEAR = "/proc/self/status", "/proc/self/clear_refs"


class PeakMemory:
    """Measures by how many megabytes the process grew at its peak inside the `with` block.

    `megabytes` is None where the system does not tell (it is Linux that does).
    """

    megabytes: float | None = None

    def __enter__(self) -> PeakMemory:
        self._before = None
        with suppress(OSError, ValueError):
            with open(_CLEAR, "w", encoding="ascii") as file:
                file.write("5")  # starts the kernel's record of the peak anew
            self._before = _peak_kb()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError, ValueError):
            if self._before is not None:
                self.megabytes = (_peak_kb() - self._before) / 1024


def _peak_kb() -> int:
    with open(_STATUS, encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
