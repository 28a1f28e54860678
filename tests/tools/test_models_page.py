"""docs/models.md: its examples are of architectures that the shipped vLLM serves, and it lists all of those once."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tools.render.models import COUNTED, examples, models
from worker_vllm.settings.flags.flag_table import flag_table

ARCHITECTURES = flag_table().architectures


@pytest.mark.parametrize("kind", examples())
def test_examples_are_of_architectures_that_vllm_serves(kind: str) -> None:
    """In the kind that they stand under; a version that drops one fails here."""
    named = {one for family in examples()[kind] for one in family["architectures"]}
    assert named - {*ARCHITECTURES[kind], *ARCHITECTURES["embedding"], *ARCHITECTURES["late interaction"]} == set()
    assert named & set(ARCHITECTURES["no longer supported"]) == set()


def test_a_family_has_models_that_are_repositories() -> None:
    """`owner/name`, each in one row."""
    named = [model for families in examples().values() for family in families for model in family["models"]]
    assert [model for model in named if not re.fullmatch(r"[\w.-]+/[\w.-]+", model)] == []
    assert [model for model, count in Counter(named).items() if count > 1] == []


def test_the_page_lists_what_is_served_and_only_counts_the_rest() -> None:
    """Hundreds of names of transformers' classes help nobody to choose a model."""
    page = models()
    for kind, names in ARCHITECTURES.items():
        listed = kind != COUNTED
        assert (f"### All: {kind} ({len(names)})" in page) is listed
    assert f"take {len(ARCHITECTURES[COUNTED])} model classes" in page
