"""The settings accept what vLLM's own parser accepts, and refuse what it refuses, but for listed exceptions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.settings.test_specification import CASES, DEFAULTS
from tests.settings.vllm.vllm_questions import VLLM, Question, made_up, raw, single_flags, verdicts
from tests.support.paths import PARROT
from worker_vllm.errors import Problem
from worker_vllm.settings.flags.flag_table import flag_table
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import load

MODEL = str(PARROT)
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

# Why we may accept what vLLM refuses: only vLLM knows the rules inside its config objects.
ACCEPTED_TOO_MUCH: dict[str, Callable[[Question], bool]] = {
    "inside an object: fields that need another one beside them, and what lists and objects within hold": lambda q: (
        any(flag_table(VLLM).flags[name].kind == "config" for name in q.env if name in flag_table(VLLM).flags)
    ),
}
# Why we may refuse what vLLM's parser lets through; vLLM itself would fail later, or mean something else.
REFUSED_TOO_MUCH: dict[str, Callable[[Problem], bool]] = {
    "media hosts that are no host names, which vLLM compares with every host and never finds": lambda p: (
        p.key == "ALLOWED_MEDIA_DOMAINS"
    ),
    "limits of vLLM's config classes, which the parser does not look at": lambda p: (
        "in that range" in p.change or p.expected == "a number, above 0, at most 1"
    ),
    "lists that vLLM looks a word up in only when it starts": lambda p: p.expected.startswith("one of "),
    "numbers that are none: inf, nan": lambda p: p.expected == "a number" and p.value in ("inf", "nan"),
    "an item that begins with a dash works alone, but not as one of several": lambda p: "leading dash" in p.expected,
    "a broken JSON object, which the parser takes as a text": lambda p: p.expected.startswith("JSON"),
    "keys of an object that vLLM builds after parsing": lambda p: p.expected.startswith("an object with keys among"),
    "what needs another setting beside it, checked when vLLM builds its configuration": lambda p: (
        "beside it" in p.expected
    ),
    "an object's value, checked where the parser only reads JSON": lambda p: "as many as the model's" in p.expected,
}


def reason(table: Mapping[str, Callable[[Any], bool]], subject: object) -> str | None:
    """The first listed reason that applies."""
    return next((why for why, applies in table.items() if applies(subject)), None)


@pytest.fixture(scope="module")
def judged() -> list[tuple[Question, str]]:
    """Every question with vLLM's answer; the parser is imported once for all of them."""
    questions = [*single_flags(), *made_up(4000)]
    return list(zip(questions, verdicts(questions, MODEL), strict=True))


def test_what_we_accept_vllm_accepts(judged: list[tuple[Question, str]]) -> None:
    """No command line that the settings produce is refused by the parser, but for the listed reason."""
    wrong = [(q, why) for q, why in judged if not q.problems and why and not reason(ACCEPTED_TOO_MUCH, q)]
    assert [(q.env, q.argv, why[-200:]) for q, why in wrong] == []


def test_what_vllm_accepts_we_accept(judged: list[tuple[Question, str]]) -> None:
    """Each refusal of a single variable that the parser lets through has a listed reason, and each reason a case."""
    alone = [(q, why) for q, why in judged if q.alone and q.problems and not why]
    used = Counter(reason(REFUSED_TOO_MUCH, q.problems[0]) for q, _ in alone)
    unlisted = [(q.env, str(q.problems[0])) for q, _ in alone if reason(REFUSED_TOO_MUCH, q.problems[0]) is None]
    assert unlisted == []
    assert set(REFUSED_TOO_MUCH) == set(used)


def test_the_exceptions_are_few(judged: list[tuple[Question, str]]) -> None:
    """vLLM and the settings agree on more than 9 of 10 questions, and both accept and refuse more than 1000."""
    ours, theirs = [not q.problems for q, _ in judged], [not why for _, why in judged]
    agreed = sum(one == other for one, other in zip(ours, theirs, strict=True))
    assert min(sum(ours), len(ours) - sum(ours)) > 1000
    single = [(not q.problems) == (not why) for q, why in judged if q.alone]
    assert sum(single) / len(single) > 0.9, f"{sum(single)} of {len(single)}; all: {agreed} of {len(judged)}"


# Cases of the specification's table that this machine, or parrot, cannot follow to the end.
NOT_HERE = {
    "WORKER_USE_RAY": "Failed to import Ray",
    "RAY_WORKERS_USE_NSIGHT": "Failed to import Ray",
    "QUANTIZATION": "Cannot find the config file for awq",
}


def test_vllm_builds_its_configuration_of_every_row_of_the_specification() -> None:
    """create_engine_config on parrot, beyond the parser; what names another repository gets parrot there too."""
    config = json.loads(Path(MODEL, "config.json").read_text())
    asked: dict[str, Question] = {}
    for name, case in CASES.items():
        env = {k: MODEL if v in ("org/tok", "org/draft", "a", "b") else v for k, v in case.env.items()}
        arguments = load(env, HostFacts(vllm=VLLM, model_config=config)).engine.arguments
        asked[name] = Question(env, (), arguments, "engine")
    asked["all defaults"] = Question(DEFAULTS, (), load(DEFAULTS, HostFacts(vllm=VLLM)).engine.arguments, "engine")
    answers = dict(zip(asked, verdicts(list(asked.values()), MODEL), strict=True))
    refused = {name: why for name, why in answers.items() if why}
    assert set(refused) == set(NOT_HERE), refused
    assert all(words in refused[name] for name, words in NOT_HERE.items())


# Limits of a class that vLLM builds for multimodal models only, which parrot is not.
MULTIMODAL = {
    "MM_ENCODER_FP8_SCALE_SAVE_MARGIN",
    "MM_IPC_GPU_MEMORY_GB",
    "MM_PROCESSOR_CACHE_GB",
    "MM_SHM_CACHE_MAX_OBJECT_SIZE_MB",
    "VIDEO_PRUNING_RATE",
}


def test_refusals_by_limits_and_lists_are_vllms_own() -> None:
    """One value beyond each limit and each list: create_engine_config on parrot refuses every one of them."""
    asked = []
    for flag in flag_table(VLLM).flags.values():
        for text in ("-7", "7.5" if flag.kind == "float" else "-2"):
            question = raw(flag, text)
            if len(question.problems) == 1 and "in that range" in question.problems[0].change:
                beside = ("--enable-lora",) if "LORA" in flag.name else ()
                asked.append(Question(question.env, question.problems, (*question.argv, *beside), "engine"))
                break
    assert len(asked) > 25
    lenient = {name for q, why in zip(asked, verdicts(asked, MODEL), strict=True) if not why for name in q.env}
    assert lenient == MULTIMODAL
