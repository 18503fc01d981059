"""The tables of absorption features: a row per class and feature, and a row per class."""

from __future__ import annotations

from collections.abc import Sequence

from .feature_findings import SPURIOUS, USED, ClassFindings, Finding


def features_table(found: Sequence[ClassFindings]) -> dict:
    """Return the table FEATURES: a row per class and absorption, or peak of attributions in none."""
    columns = [
        ("class", "string", "Class"), ("kind", "string", "Absorption, or peak of attributions in none"),
        ("wavelength_nm", "double", "Centre (nm)"), ("feature", "string", "Feature"),
        ("candidates", "string", "All features whose window it is in"), ("source", "string", "Source"),
        ("flag", "string", "Why it may not be the ground's"),
        ("depth", "double", "Depth of the continuum"),
        ("fwhm_nm", "double", "Width at half depth (nm)"), ("area_nm", "double", "Area (nm)"),
        ("asymmetry", "double", "Asymmetry, ln(area right / area left)"),
        ("local_depth", "double", "Depth by the table's continuum intervals"),
        ("share", "double", "Share of the attributions"),
        ("enrichment", "double", "Share over that of bands"),
        ("expected_share", "double", "Share expected by chance"), ("p", "double", "p"),
        ("q", "double", "False discovery rate"), ("verdict", "string", "Verdict"),
        ("bands", "int", "Bands"),
    ]  # fmt: skip
    rows = [[one.name, *_feature_row(each)] for one in found for each in one.features]
    return _table(columns, rows)


def overlap_table(found: Sequence[ClassFindings]) -> dict:
    """Return the table OVERLAP: a row per class, how its attributions lie on its absorptions."""
    columns = [
        ("class", "string", "Class"), ("pixels", "int", "Pixels"), ("absorptions", "int", "Absorptions"),
        ("bands", "int", "Bands in absorptions"), ("share", "double", "Share of the attributions in them"),
        ("enrichment", "double", "Share over that of bands"),
        ("expected_share", "double", "Share expected by chance"), ("p", "double", "p"),
        ("atmosphere_share", "double", "Share of the attributions in atmospheric windows"),
        ("absorption_share", "double", "Share of the output that absorptions did"),
        ("used", "int", "Absorptions used"), ("spurious", "int", "Spurious features"),
        ("strongest", "string", "Absorption of the largest share"),
    ]  # fmt: skip
    return _table(columns, [_overlap_row(one) for one in found])


def strongest(one: ClassFindings) -> Finding | None:
    """Return the absorption with the largest share of the attributions, None where there is none."""
    scored = [each for each in one.features if each.absorption and each.score.share is not None]
    return max(scored, key=lambda each: each.score.share or 0.0, default=None)


def label_of(found: Finding) -> str:
    """Return the name of a feature with its wavelength."""
    return f"{found.match.name} ({found.wavelength_nm:.0f} nm)"


def _feature_row(each: Finding) -> list:
    absorption, score = each.absorption, each.score
    candidates = each.match.candidates
    return [
        "absorption" if absorption else "attribution peak", each.wavelength_nm, each.match.name,
        "; ".join(one.name for one in candidates),
        candidates[0].source if candidates else "", each.flag,
        *((absorption.depth, absorption.fwhm_nm, absorption.area_nm, absorption.asymmetry)
          if absorption else (None, None, None, None)),
        each.local_depth, score.share, score.enrichment, score.expected, score.p, score.q, each.verdict,
        score.bands,
    ]  # fmt: skip


def _overlap_row(one: ClassFindings) -> list:
    absorptions = [each for each in one.features if each.absorption]
    overlap, best = one.overlap, strongest(one)
    return [
        one.name, one.pixels, len(absorptions),
        overlap.bands if overlap else 0,
        *((overlap.share, overlap.enrichment, overlap.expected, overlap.p) if overlap else (None,) * 4),
        one.atmosphere, one.absorption_share,
        sum(each.verdict == USED for each in one.features),
        sum(each.verdict == SPURIOUS for each in one.features),
        label_of(best) if best else "",
    ]  # fmt: skip


def _table(columns: list, rows: list) -> dict:
    return {"columns": [dict(zip(("name", "type", "alias"), c)) for c in columns], "rows": rows}
