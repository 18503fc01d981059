"""The reference has every parameter, default and output that QGIS lists."""

from __future__ import annotations

import re

import pytest
from qgis.core import QgsProcessingParameterEnum

from explanation_layers.plugin.provider import ALGORITHMS


@pytest.fixture(scope="module")
def sections(root) -> dict[str, str]:
    """The text of each algorithm in the reference, with what is common to several."""
    text = (root / "docs" / "reference.md").read_text(encoding="utf-8")
    common, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    return {found[1]: common + part for part in parts if (found := re.match(r"`explain:(\w+)`", part))}


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.ID)
def test_parameters_and_outputs_are_named(processing, sections, algorithm):
    instance = algorithm().create()
    names = {definition.name() for definition in instance.parameterDefinitions()}
    names |= {definition.name() for definition in instance.outputDefinitions()}
    assert not [name for name in names if f"`{name}`" not in sections[algorithm.ID]]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.ID)
def test_enums_are_told_with_values_and_default(processing, sections, algorithm):
    instance = algorithm().create()
    for definition in instance.parameterDefinitions():
        if isinstance(definition, QgsProcessingParameterEnum):
            name, default = definition.name(), definition.defaultValue()
            values = ", ".join(f"`{value}`" for value in definition.options())
            row = rf"\| `{name}` \| enum: {re.escape(values)}[^|]* \| `{default}` \|"
            assert re.search(row, sections[algorithm.ID]), name
