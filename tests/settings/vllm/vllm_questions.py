"""The questions for vLLM: every flag with every kind of text, and random environments."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from worker_vllm.engine.preflight.vllm_version import engine_version
from worker_vllm.errors import Problem
from worker_vllm.settings import versions
from worker_vllm.settings.catalog.catalog import Handling, catalog, names
from worker_vllm.settings.flags.flag_table import Flag, flag_table, marks
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import build_draft

# The vLLM that judges, this interpreter's own: `make test-versions` asks each version.
VLLM = engine_version(sys.path) or versions.VLLM
JUDGE = Path(__file__).with_name("vllm_judge.py")
TEXTS = [
    "0",
    "-1",
    "7",
    "1K",
    "1.5k",
    "0.5",
    "inf",
    "abc",
    "None",
    "auto",
    "{}",
    '{"a":1}',
    '{"a": 1',
    '["a"]',
    "a,b",
]
TEXTS += ["-x", "1_000", "True", "A-b", "-0.5"]
VALID = {
    "pair": ["1", "0", "true", "off"],
    "switch": ["1", "0"],
    "bool": ["1", "False", "yes"],
    "int": ["1", "2", "7", "64"],
    "float": ["0.5", "1", "0.25"],
    "size": ["64", "8k", "4K"],
    "json": ["{}"],
    "config": ["{}"],
    "json-or-text": ["{}", '{"a": 1}'],
    "list": ["a,b", '["a"]'],
}
EVERY = [
    "",
    "None",
    "0",
    "-1",
    "1",
    "yes",
    "8k",
    "auto",
    "0.5",
    "{}",
    '{"a": 1}',
    "a=b",
    "[ngram]",
    "-x",
    "a b",
    "{{ x }}",
]
INNER: tuple[Any, ...] = (1, -1, True, None, "x", "7", [], {}, {"a": 1})


@dataclass(frozen=True)
class Question:
    """An environment, what we make of it, and the command line that stands for it."""

    env: dict[str, str]
    problems: tuple[Problem, ...]
    argv: tuple[str, ...]
    depth: str = "parse"
    alone: bool = False  # one variable, and the argv a user would have written where we refuse it


def engine_flags() -> list[Flag]:
    """The flags that a variable sets without a rule of ours in between."""
    table, known = flag_table(VLLM), names()
    apart = {*marks().owned, *marks().ambient, *(n for n, s in known.items() if s.handling is not Handling.ENGINE)}
    return [flag for name, flag in table.flags.items() if name not in apart]


def ask(env: dict[str, str], depth: str = "parse") -> Question:
    """The settings' own verdict, and the argv that vLLM would be started with."""
    draft = build_draft(env, HostFacts(vllm=VLLM, exists=os.path.exists))
    return Question(env, tuple(draft.problems), tuple(draft.argv()), depth)


def raw(flag: Flag, text: str) -> Question:
    """A single variable; where we refuse it, the command line that a user would have written instead."""
    question = replace(ask({flag.name: text}), alone=True)
    if not question.problems:
        return question
    if flag.is_bool:
        return replace(question, argv=tuple(flag.argv(True)))
    values = text.split() if flag.many else [text]
    argv = [f"{flag.flag}={text}"] if values[0].startswith("-") else [flag.flag, *values]
    return replace(question, argv=tuple(argv))


def single_flags() -> list[Question]:
    """Every flag with every text, its own choices in both letter cases, and each field of an object."""
    asked = []
    for flag in engine_flags():
        if flag.is_bool:
            asked += [raw(flag, text) for text in ("1", "off")]
            continue
        own = [str(choice) for choice in flag.choices[:2]] + list(flag.known[:2])
        texts = [*TEXTS, *own, *(text.upper() for text in own)]
        texts += [json.dumps({key: value}) for key in list(flag.fields)[:6] for value in INNER]
        asked += [raw(flag, text) for text in texts]
    return asked


@cache
def texts_for(name: str) -> st.SearchStrategy[str]:
    """Texts that a variable may be set to: mostly of its kind, sometimes of another, sometimes anything."""
    flag, setting = flag_table(VLLM).flags.get(name), names().get(name)
    own = list(map(str, flag.choices)) + list(flag.known) if flag else []
    own += [*setting.options, setting.default] if setting else []
    kind = setting.kind.value if setting else flag.kind if flag else "text"
    fitting = own or VALID.get(flag.kind if flag and flag.kind != "text" else kind, ["a", "org/name"])
    return st.sampled_from(fitting * 12 + EVERY) if len(fitting) < 4 else st.sampled_from(fitting * 4 + EVERY)


def environments() -> st.SearchStrategy[dict[str, str]]:
    """Up to eight variables of ours and of vLLM's."""
    ours = [setting.name for setting in catalog().values() if setting.group != "Platform"]
    every = sorted({*ours, *(flag.name for flag in engine_flags())} - {"WORKER_MODE", "ENGINE", "ENGINE_URL"})
    pairs = st.sampled_from(every).flatmap(lambda name: texts_for(name).map(lambda text: (name, text)))
    return st.lists(pairs, min_size=1, max_size=6).map(dict)


def made_up(count: int) -> list[Question]:
    """This many environments, the same ones every time."""
    found: list[Question] = []

    @settings(
        max_examples=count, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(environments())
    def collect(env: dict[str, str]) -> None:
        found.append(ask(env))

    collect()
    return found


def verdicts(questions: list[Question], model: str) -> list[str]:
    """vLLM's answer to each: why it refuses the command line, empty where it accepts it."""
    lines = [json.dumps({"argv": [model, *question.argv], "depth": question.depth}) for question in questions]
    done = subprocess.run(
        [sys.executable, str(JUDGE)], input="\n".join(lines), capture_output=True, text=True, check=True, timeout=900
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(questions), done.stderr[-2000:]
    return ["" if answer["accepted"] else answer["error"] for answer in answers]
