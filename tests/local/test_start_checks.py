"""Problems that are reported before anything is started, once, by the name that the user gave."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.hub.server import Repository, serving
from worker_vllm.local.launch_config import LocalConfig
from worker_vllm.local.start_checks import find_problems

pytestmark = pytest.mark.timeout(60)

OTHERWISE = "or leave --model and MODEL_NAME out for the embedded model"
PATHS: list[tuple[str, LocalConfig, dict[str, str], tuple[str, ...]]] = [
    ("nothing", LocalConfig(engine="echo"), {}, ()),
    (
        "--model",
        LocalConfig(model="/no/such"),
        {},
        (f'--model="/no/such": expected a path that exists; correct it, {OTHERWISE}',),
    ),
    (
        "--model, as it was typed",
        LocalConfig(model="./no/such"),
        {},
        (f'--model="./no/such": expected a path that exists; correct it, {OTHERWISE}',),
    ),
    (
        "MODEL_NAME",
        LocalConfig(),
        {"MODEL_NAME": "/no/such"},
        (f'MODEL_NAME="/no/such": expected a path that exists; correct it, {OTHERWISE}',),
    ),
    (
        "two settings",
        LocalConfig(engine="echo"),
        {"MAX_MODEL_LEN": "8k x", "MAX_CONCURRENCY": "many"},
        ('MAX_MODEL_LEN="8k x": expected', 'MAX_CONCURRENCY="many": expected'),
    ),
    ("no repository's name", LocalConfig(model="a b"), {}, ('--model="a b": expected a repository id',)),
]


def environment(home: Path, **more: str) -> dict[str, str]:
    """What a user's shell has."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "BASE_PATH": str(home / "volume"), **more}


def start_as_expected(found: tuple[str, ...], expected: tuple[str, ...]) -> bool:
    """Whether there are as many sentences as expected, each of which begins so."""
    pairs = zip(sorted(found), sorted(expected), strict=False)
    return len(found) == len(expected) and all(a.startswith(b) for a, b in pairs)


@pytest.mark.parametrize("row", PATHS, ids=[row[0] for row in PATHS])
def test_each_problem_is_one_sentence(
    tmp_path: Path, row: tuple[str, LocalConfig, dict[str, str], tuple[str, ...]]
) -> None:
    """By the name under which the user gave the value."""
    _, config, env, expected = row
    found = find_problems(config, environment(tmp_path, **env), sys.path)
    assert start_as_expected(found, expected), found


def test_an_incomplete_model_is_reported_with_the_missing_file(tmp_path: Path) -> None:
    """As the preflight words it, under the argument's name."""
    (found,) = find_problems(LocalConfig(model=str(tmp_path)), environment(tmp_path), sys.path)
    assert found.startswith(f'--model="{tmp_path}": expected a complete model; config.json is missing')


@pytest.mark.parametrize("model", [None, "org/name", "/no/such"])
def test_without_vllm_the_error_states_how_to_get_it_or_do_without(tmp_path: Path, model: str | None) -> None:
    """Whatever the model is: nothing is launched to find that out."""
    assert find_problems(LocalConfig(model=model), environment(tmp_path), ()) == (
        f"vLLM is not installed for {sys.executable}: `make run` in a checkout installs it and starts everything; "
        "--engine echo needs no vLLM",
    )
    assert find_problems(LocalConfig(engine="echo"), environment(tmp_path), ()) == ()
    assert find_problems(LocalConfig(), environment(tmp_path, ENGINE_URL="http://127.0.0.1:9"), ()) == ()


def test_an_unreachable_hub_is_reported_before_anything_is_launched(tmp_path: Path) -> None:
    """Once, with what needs no hub."""
    env = environment(tmp_path, HF_ENDPOINT="http://127.0.0.1:9", TOKENIZER="org/other")
    (found,) = find_problems(LocalConfig(model="org/name"), env, sys.path)
    assert found.startswith("org/name could not be fetched from http://127.0.0.1:9: ")
    assert found.endswith(f" (are you offline?); give the directory of a model, {OTHERWISE}")


def test_a_refusal_of_the_hub_is_reported_before_anything_is_launched(tmp_path: Path) -> None:
    """A name with a slip would otherwise be found out by a worker."""
    with serving(org__gated=Repository({}, token="hf_x")) as hub:
        found = [
            find_problems(LocalConfig(model=name), environment(tmp_path, HF_ENDPOINT=hub.address), sys.path)
            for name in ("org/nmae", "org/gated")
        ]
    assert start_as_expected(found[0], ("org/nmae is not on the hub, or is private: correct the name",))
    assert start_as_expected(found[1], ("org/gated is gated: accept its terms",))
