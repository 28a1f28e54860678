"""The settings that the documentation shows are valid, without a warning."""

from __future__ import annotations

import re

import pytest

from tests.support.paths import ROOT
from worker_vllm.settings.env_file import read_env_file
from worker_vllm.settings.load import load

PAGES = ("recipes.md", "essentials.md", "quickstart.md", "runpod.md")
BLOCKS = [
    pytest.param(block, id=f"{page}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```ini\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_recipe_is_accepted_without_a_warning(block: str) -> None:
    """Every variable is known, every value is valid, and every line has an effect."""
    environment = read_env_file(block, {})
    assert environment
    settings = load(environment)
    assert settings.warnings == ()


def test_the_pages_show_recipes() -> None:
    assert len(BLOCKS) >= 12
