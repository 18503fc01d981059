"""The documentation names what the code has, its links lead somewhere, and its examples are JSON."""

from __future__ import annotations

import json
import re

import pytest

from explanation_layers.explainers.registry import EXPLAINERS
from explanation_layers.models.networks import ARCHITECTURES, NORMALISATIONS
from explanation_layers.rasters.simulate import SCENE_KINDS
from explanation_layers.workflows.targets import BASELINES, TARGETS
from explanation_layers.workflows.train_classifier import SPLITS

PAGES = (
    *("README.md", "docs/tutorial.md", "docs/how-to.md", "docs/reference.md", "docs/methods.md"),
    *(
        "docs/planted-evidence.md",
        "docs/absorption.md",
        "docs/scene-explainers.md",
        "docs/segmentation.md",
        "docs/series.md",
        "docs/review.md",
        "docs/unmixing.md",
        "benchmarks/README.md",
    ),
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_JSON = re.compile(r"^```json\n(.*?)^```", re.MULTILINE | re.DOTALL)
_ID = re.compile(r'^    ID = "(\w+)"$', re.MULTILINE)


@pytest.fixture
def reference(root) -> str:
    return (root / "docs" / "reference.md").read_text(encoding="utf-8")


def ids(root) -> list[str]:
    return [found for path in (root / "algorithms").glob("*.py") for found in _ID.findall(path.read_text())]


def anchors(page: str) -> set[str]:
    """Return the anchors that a page's headings have on the web."""
    titles = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_algorithm_has_a_section(root, reference):
    found = ids(root)
    assert len(found) >= 5
    for name in found:
        assert f"## `explain:{name}`" in reference


@pytest.mark.parametrize(
    "values",
    [EXPLAINERS, ARCHITECTURES, NORMALISATIONS, SCENE_KINDS, BASELINES, TARGETS, SPLITS],
    ids=["explainers", "architectures", "normalisations", "scenes", "baselines", "targets", "splits"],
)
def test_every_value_is_named(reference, values):
    assert not [value for value in values if f"`{value}`" not in reference]


def test_every_explainer_has_its_equation(root):
    methods = (root / "docs" / "methods.md").read_text(encoding="utf-8")
    assert not [name for name in EXPLAINERS if f"**`{name}`**" not in methods]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(root, page):
    path = root / page
    text = path.read_text(encoding="utf-8")
    for link in _LINK.findall(text):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), f"{page} links to {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{page} links to {link}"


@pytest.mark.parametrize("page", PAGES)
def test_examples_are_json(root, page):
    for example in _JSON.findall((root / page).read_text(encoding="utf-8")):
        assert json.loads(example)["inputs"]


def test_the_readme_has_an_example_of_every_algorithm(root):
    text = (root / "README.md").read_text(encoding="utf-8")
    for name in ids(root):
        assert re.search(rf"^`explain:{name}`.*?:\n\n```json$", text, re.MULTILINE), name
