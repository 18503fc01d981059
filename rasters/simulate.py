"""Simulated scenes whose true evidence is known, by kind; a new kind is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from .simulate_dual_sensor import write_dual_sensor
from .simulate_hyperspectral import write_hyperspectral
from .simulate_mixed_pixels import write_mixed_pixels
from .simulate_sar_scenes import write_sar_scenes
from .simulate_sar_series import write_sar_series
from .simulate_segmentation import write_segmentation


class SceneMaker(Protocol):
    """Writes one kind of scene."""

    def __call__(
        self, folder: str, size: int, seed: int, job_id: str, on_progress: Callable[[float], None]
    ) -> dict[str, str]:
        """Write a scene of `size` x `size` pixels into `folder` and return its files by name of output.

        `on_progress` is called with the share done, 0 to 1, after every tile; what it raises stops the
        work, with nothing left behind. The same `size` and `seed` give the same bytes.
        """


SCENE_KINDS: Mapping[str, SceneMaker] = {
    "hyperspectral": write_hyperspectral,
    "dual_sensor": write_dual_sensor,
    "mixed_pixels": write_mixed_pixels,
    "sar_scenes": write_sar_scenes,
    "sar_series": write_sar_series,
    "segmentation": write_segmentation,
}
