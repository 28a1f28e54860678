"""Mistyped names are errors that name the right one; names of other programs are ignored."""

from __future__ import annotations

import random
import string
from pathlib import Path

import pytest

from worker_vllm.errors import ConfigurationError
from worker_vllm.settings.catalog.catalog import catalog
from worker_vllm.settings.env_file import read_env_file
from worker_vllm.settings.flags.flag_table import flag_table, known_versions, marks
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import load
from worker_vllm.settings.sources.environment import name_index

RECORDED = sorted((Path(__file__).parent / "environments").glob("*.env"))


def known_names() -> frozenset[str]:
    """Every name that a mistyped one is compared with."""
    return frozenset(catalog()) | frozenset(flag_table().flags)


def single_edits(name: str) -> set[str]:
    """All texts one insertion, deletion, replacement or swap away, of the characters that names are made of."""
    letters = string.ascii_uppercase + "_"
    splits = [(name[:at], name[at:]) for at in range(len(name) + 1)]
    found = {left + right[1:] for left, right in splits if right}
    found |= {left + letter + right for left, right in splits for letter in letters}
    found |= {left + letter + right[1:] for left, right in splits if right for letter in letters}
    found |= {left + right[1] + right[0] + right[2:] for left, right in splits if len(right) > 1}
    return found - {name}


def test_typos_in_catalogue_names_are_caught_with_the_right_name() -> None:
    """At least 95 of 100 single edits, by a fixed sample of forty for each name."""
    others = known_names() | flag_table().variables | frozenset(marks().ambient)
    names = name_index(flag_table().version)
    dice = random.Random(20)
    mistyped = [(typo, name) for name in catalog() for typo in dice.sample(sorted(single_edits(name) - others), 40)]
    missed = [typo for typo, name in mistyped if names.best_match(typo) != name]
    assert len(missed) / len(mistyped) <= 0.05, f"{len(missed)} of {len(mistyped)}, for example {missed[:20]}"


@pytest.mark.parametrize("version", known_versions())
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_no_alarm_in_environments_of_others(path: Path, version: str) -> None:
    """Variables of shells, platforms, images and CI are no problems."""
    load(read_env_file(path.read_text(), {}), HostFacts(vllm=version))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MAX_MODEL_LENN", "MAX_MODEL_LEN"),
        ("MAX_MODEL_LENGTH", "MAX_MODEL_LEN"),
        ("GPU_MEM_UTIL", "GPU_MEMORY_UTILIZATION"),
        ("GPU_MEMORY_UTILISATION", "GPU_MEMORY_UTILIZATION"),
        ("TENSOR_PARALEL_SIZE", "TENSOR_PARALLEL_SIZE"),
        ("TP_SIZE", "TENSOR_PARALLEL_SIZE"),
        ("max_model_len", "MAX_MODEL_LEN"),
        ("MAX-MODEL-LEN", "MAX_MODEL_LEN"),
        ("MODEL_ID", "MODEL_NAME"),
        ("VLLM_LOGGING_LEVL", "VLLM_LOGGING_LEVEL"),
        ("DEFAULT_BATCHSIZE", "DEFAULT_BATCH_SIZE"),
        ("BATCH_SIZE", "DEFAULT_BATCH_SIZE"),
    ],
)
def test_a_mistyped_name_is_refused_with_the_right_one(name: str, meant: str) -> None:
    """And IGNORE_ENV silences it."""
    with pytest.raises(ConfigurationError) as caught:
        load({name: "1"})
    (problem,) = caught.value.problems
    assert problem.key == name
    assert problem.change == f"rename it to {meant}, or set IGNORE_ENV={name} if it belongs to another program"
    load({name: "1", "IGNORE_ENV": f"OTHER,{name}"})
