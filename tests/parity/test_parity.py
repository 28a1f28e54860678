"""Differential parity: an endpoint answers as the engine behind it does, but for the few intended differences."""

from __future__ import annotations

import collections
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from tests.parity.compare import Seen, same
from tests.parity.differences import ANSWER_CHANGES, TRANSLATIONS, Translation, explained
from tests.parity.generate import Case, cases
from tests.support.http import Http
from tests.support.stack import Stack

OPENAI = "/v2/local/openai"
SAMPLE, FULL = 100, 1000


@dataclass
class Tally:
    """What a comparison found."""

    same: int = 0
    changed: collections.Counter[str] = field(default_factory=collections.Counter)
    broken_off: int = 0
    unexplained: list[str] = field(default_factory=list)


async def compare(stack: Stack, requests: list[Case]) -> Tally:
    """Every request, one after the other, to the engine's own socket and through gateway and worker."""
    tally = Tally()
    async with Http(stack.engine_url) as engine, Http(stack.root) as gateway:
        for case in requests:
            ours = Seen.of(await gateway.post(OPENAI + case.route, case.body))
            try:
                direct = Seen.of(await engine.post(case.route, case.body))
            except aiohttp.ClientPayloadError:
                _check_broken_off(case, ours, tally)
                continue
            if direct.status == ours.status and same(direct.value, ours.value):
                tally.same += 1
            elif change := explained(case.route, direct, ours):
                tally.changed[f"{change.route} {change.field}"] += 1
            else:
                tally.unexplained.append(f"{case}\n  engine: {direct}\n  ours:   {ours}")
    return tally


def _check_broken_off(case: Case, ours: Seen, tally: Tally) -> None:
    """Where the engine fell over within a stream there is nothing to equal; ours must say that it failed."""
    tally.broken_off += 1
    if ours.status < 400 and "error" not in ours.value[-2]:
        tally.unexplained.append(f"{case}\n  engine broke off, ours did not say so: {ours}")


async def check(stack: Stack, seed: int, count: int) -> None:
    tally = await compare(stack, cases(seed, count, stack.model))
    assert not tally.unexplained, "\n".join(tally.unexplained)
    assert tally.same >= count * 0.9, tally
    assert tally.broken_off <= count * 0.01, tally


async def test_the_echo_engine_and_its_endpoint_answer_alike(echo_stack: Stack) -> None:
    await check(echo_stack, seed=3, count=SAMPLE)


@pytest.mark.vllm
async def test_vllm_and_its_endpoint_answer_alike(real_stack: Stack) -> None:
    """A short sample."""
    await check(real_stack, seed=1, count=SAMPLE)


@pytest.mark.vllm
@pytest.mark.matrix
@pytest.mark.timeout(1200)
async def test_vllm_and_its_endpoint_answer_a_thousand_requests_alike(real_stack: Stack) -> None:
    await check(real_stack, seed=2, count=FULL)


def translations() -> list[Any]:
    return [pytest.param(one, id=f"{one.route} {one.field}") for one in TRANSLATIONS]


@pytest.mark.vllm
@pytest.mark.parametrize("translation", translations())
async def test_a_translated_field_does_what_it_says(real_stack: Stack, translation: Translation) -> None:
    """The answer to the translated request, or a 400 that names the field."""
    common = {"model": real_stack.model, "temperature": 0, "max_tokens": 8}
    async with Http(real_stack.root) as gateway:
        ours = Seen.of(await gateway.post(OPENAI + translation.route, {**common, **translation.body}))
        if translation.instead is None:
            assert (ours.status, ours.value["error"]["param"]) == (400, translation.field)
            return
        async with Http(real_stack.engine_url) as engine:
            direct = Seen.of(await engine.post(translation.route, {**common, **translation.instead}))
    assert ours.status == 200
    assert same(direct.value, ours.value)


def test_there_are_at_most_ten_intended_differences() -> None:
    """Each of its own route and field."""
    every = [(one.route, one.field) for one in (*TRANSLATIONS, *ANSWER_CHANGES)]
    assert len(set(every)) == len(every) <= 10
