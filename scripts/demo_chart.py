"""A chart of the band table as SVG: for each class the share of every band, with the planted bands shaded."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

COLUMNS, GAP, TOP, BOTTOM, LEFT = 3, 26, 24, 26, 36
INK, FAINT, SHADE = "#222222", "#888888", "#ffe08a"


@dataclass(frozen=True)
class Profile:
    """One class: its colour, the share of each band, and the bands (from 0) that are its planted evidence."""

    name: str
    colour: str
    shares: list[float]
    planted: list[int]


def chart(profiles: list[Profile], wavelengths_nm: list[float], width: int, height: int) -> str:
    """Return an SVG of `width` x `height` with one small chart per class, all to one scale."""
    top = max(max(profile.shares) for profile in profiles)
    rows = -(-len(profiles) // COLUMNS)
    cell_width, cell_height = width / COLUMNS, height / rows
    cells = [
        f'<g transform="translate({i % COLUMNS * cell_width:.1f},{i // COLUMNS * cell_height:.1f})">'
        + _cell(profile, wavelengths_nm, top, cell_width - GAP, cell_height)
        + "</g>"
        for i, profile in enumerate(profiles)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="12" fill="{INK}">{"".join(cells)}</svg>'
    )


def _cell(profile: Profile, wavelengths: list[float], top: float, width: float, height: float) -> str:
    low, high = min(wavelengths), max(wavelengths)
    floor = height - BOTTOM
    per_nm = (width - LEFT) / (high - low)
    bar = (width - LEFT) / len(wavelengths)

    def x(nm: float) -> float:
        return LEFT + (nm - low) * per_nm

    shaded = "".join(
        f'<rect x="{x(wavelengths[band]) - 2 * bar:.1f}" y="{TOP}" width="{4 * bar:.1f}" '
        f'height="{floor - TOP:.1f}" fill="{SHADE}"/>'
        for band in profile.planted
    )
    bars = "".join(
        f"M{x(nm):.1f},{floor:.1f}V{floor - share / top * (floor - TOP):.1f}"
        for nm, share in zip(wavelengths, profile.shares)
    )
    ticks = "".join(
        f'<text x="{x(nm):.1f}" y="{floor + 15:.1f}" text-anchor="middle" fill="{FAINT}">{nm} nm</text>'
        for nm in range(500, int(high), 500)
    )
    return (
        f"{shaded}"
        f'<path d="{bars}" stroke="{profile.colour}" stroke-width="{0.8 * bar:.1f}" fill="none"/>'
        f'<path d="M{LEFT},{floor:.1f}H{width:.1f}" stroke="{FAINT}"/>'
        f'<text x="{LEFT - 5}" y="{TOP + 9}" text-anchor="end" fill="{FAINT}">{top:.0%}</text>'
        f'<text x="{LEFT - 5}" y="{floor:.1f}" text-anchor="end" fill="{FAINT}">0</text>'
        f"{ticks}"
        f'<rect x="{LEFT}" y="3" width="13" height="13" fill="{profile.colour}"/>'
        f'<text x="{LEFT + 19}" y="15" font-size="14">{escape(profile.name)}</text>'
    )
