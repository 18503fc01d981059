"""Memory and time do not grow with the raster: unmixing 100,000 x 100,000 pixels of 50 bands (1 TB)."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from explanation_layers.engine.client import Engine, EngineError
from explanation_layers.engine.unmix_jobs import UnmixJob
from explanation_layers.rasters.simulate_materials import material_spectra
from explanation_layers.rasters.simulate_mixtures import Design, mixed_scene

pytestmark = pytest.mark.skipif(
    not os.path.exists("/proc/self/status"), reason="reads the peak of memory from Linux's /proc"
)

SIDE, BANDS, TEXTURE, GIGABYTE = 100_000, 50, 192, 1e9
WEST, NORTH, PIXEL = 300_000, 5_800_000, 1
_BAND = """<VRTRasterBand dataType="UInt16" band="{band}">
<Description>{wavelength} nm</Description><NoDataValue>0</NoDataValue>
<SimpleSource><SourceFilename relativeToVRT="1">texture.tif</SourceFilename><SourceBand>{band}</SourceBand>
<SrcRect xOff="0" yOff="0" xSize="{texture}" ySize="{texture}"/>
<DstRect xOff="0" yOff="0" xSize="{side}" ySize="{side}"/></SimpleSource>
<SimpleSource><SourceFilename relativeToVRT="1">texture.tif</SourceFilename><SourceBand>{band}</SourceBand>
<SrcRect xOff="0" yOff="0" xSize="{texture}" ySize="{texture}"/>
<DstRect xOff="0" yOff="0" xSize="{texture}" ySize="{texture}"/></SimpleSource>
</VRTRasterBand>"""


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A virtual raster of mixtures of four materials, stretched over it and once unstretched in a corner."""
    folder = tmp_path_factory.mktemp("huge_mixtures")
    wavelengths = np.linspace(430, 2400, BANDS)
    mixed = mixed_scene(Design(material_spectra(wavelengths, 4)), TEXTURE, 7)
    values = np.rint(10_000 * mixed.values).clip(1).astype(np.uint16).T.reshape(BANDS, TEXTURE, TEXTURE)
    profile = {"driver": "GTiff", "count": BANDS, "width": TEXTURE, "height": TEXTURE, "dtype": "uint16"}
    georeference = {"crs": "EPSG:32633", "transform": Affine(PIXEL, 0, WEST, 0, -PIXEL, NORTH)}
    with rasterio.open(folder / "texture.tif", "w", tiled=True, **profile, **georeference) as file:
        file.write(values)
    bands = "\n".join(
        _BAND.format(band=band, wavelength=f"{w:.0f}", side=SIDE, texture=TEXTURE)
        for band, w in enumerate(wavelengths, 1)
    )
    (folder / "huge.vrt").write_text(
        f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><SRS>EPSG:32633</SRS>'
        f"<GeoTransform>{WEST}, {PIXEL}, 0, {NORTH}, 0, -{PIXEL}</GeoTransform>\n{bands}</VRTDataset>"
    )
    return str(folder / "huge.vrt")


def extent(width: int, height: int) -> list[float]:
    """The extent of a window at the corner."""
    return [WEST, NORTH - height * PIXEL, WEST + width * PIXEL, NORTH]


def peak_bytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return 1024.0 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def run(job: UnmixJob) -> tuple[dict, float]:
    """Return the result of a job in a fresh engine and that engine's peak."""
    engine = Engine(sys.executable)
    try:
        started = time.monotonic()
        result = engine.run(job)
        peak = peak_bytes(engine.pid)
        print(f"{job.method}: {peak / GIGABYTE:.3f} GB, {time.monotonic() - started:.1f} s")
        return result, peak
    finally:
        engine.stop()


@pytest.mark.parametrize("method", ["fcls", pytest.param("idnet", marks=pytest.mark.slow)])
def test_unmixing_a_window_takes_under_2_gb_and_twice_the_window_no_more(huge, tmp_path, method):
    model = str(tmp_path / "model.safetensors")
    run(UnmixJob(huge, method, endmembers=4, epochs=2, sample=4000, extent=extent(192, 192), model=model))
    peaks = []
    for rows in (512, 1024):
        names = ("abundances", "reconstruction_error", "parts")
        paths = {name: str(tmp_path / f"{name}{rows}.tif") for name in names}
        job = UnmixJob(huge, method, trained_model=model, extent=extent(256, rows), **paths)
        result, peak = run(job)
        assert result["numbers"]["PIXELS"] == 256 * rows
        with rasterio.open(paths["abundances"]) as dataset:
            assert (dataset.width, dataset.height, dataset.count) == (256, rows, 4)
        peaks.append(peak)
    assert max(peaks) < 2 * GIGABYTE
    assert peaks[1] < 1.1 * peaks[0] + 0.1 * GIGABYTE


@pytest.mark.parametrize("method", ["fcls", pytest.param("idnet", marks=pytest.mark.slow)])
def test_the_whole_raster_is_learnt_from_a_sample_and_cancelled_in_two_seconds(huge, tmp_path, method):
    job = UnmixJob(huge, method, endmembers=4, epochs=1, sample=2000)
    engine = Engine(sys.executable)
    started, reached = time.monotonic(), []

    def at_work(fraction: float, text: str, seconds_left: float | None) -> None:
        if text.startswith("Unmixing"):
            reached.append(time.monotonic())

    try:
        with pytest.raises(EngineError) as caught:
            engine.run(job, on_progress=at_work, is_cancelled=lambda: len(reached) >= 5)
        seconds = time.monotonic() - reached[-1]
        print(f"{method}: at work after {reached[0] - started:.1f} s, cancelled in {seconds:.2f} s")
        assert caught.value.kind == "cancelled"
        assert reached[0] - started < 60 and seconds < 2
        assert os.listdir(tmp_path) == []
        if engine.pid:
            assert peak_bytes(engine.pid) < 2 * GIGABYTE
    finally:
        engine.stop()
