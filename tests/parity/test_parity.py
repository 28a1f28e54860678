"""Differential parity: an endpoint answers as the engine behind it does, but for the few intended differences.

In queue mode requests go through gateway and worker, in http mode through the guard inside the engine's server.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from tests.parity.compare import Seen, same
from tests.parity.differences import (
    HTTP_REWRITES,
    REFUSED_BY_THE_ENGINE,
    REWRITES,
    TRANSLATIONS,
    Translation,
    explained,
)
from tests.parity.generate import Case, cases
from tests.support.fixtures import REAL_HTTP
from tests.support.http import Http
from tests.support.http_mode import serve_http
from tests.support.stack import Stack

SAMPLE, FULL = 100, 1000
BROKEN_OFF = Seen(0, "broken off")


@dataclass
class Tally:
    """What a comparison found."""

    same: int = 0
    rewritten: collections.Counter[str] = field(default_factory=collections.Counter)
    broken_off: int = 0
    unexplained: list[str] = field(default_factory=list)


async def compare(stack: Stack, requests: list[Case]) -> Tally:
    """Every request, one after the other, to the engine's own socket and to the endpoint."""
    tally, rewrites = Tally(), REWRITES if stack.prefix else HTTP_REWRITES
    async with Http(stack.engine_url) as engine, Http(stack.routes_url) as endpoint:
        for case in requests:
            try:
                ours = Seen.of(await endpoint.post(case.route, case.body))
            except aiohttp.ClientPayloadError:
                ours = BROKEN_OFF
            try:
                direct = Seen.of(await engine.post(case.route, case.body))
            except aiohttp.ClientPayloadError:
                _check_broken_off(case, ours, tally)
                continue
            if direct.status == ours.status and same(direct.value, ours.value):
                tally.same += 1
            elif rewrite := explained(case.route, direct, ours, rewrites):
                tally.rewritten[f"{rewrite.route} {rewrite.field}"] += 1
            else:
                tally.unexplained.append(f"{case}\n  engine: {direct}\n  ours:   {ours}")
    return tally


def _check_broken_off(case: Case, ours: Seen, tally: Tally) -> None:
    """A stream that the engine broke off is not compared; ours must end with an error, or be broken off as well."""
    tally.broken_off += 1
    if ours is not BROKEN_OFF and ours.status < 400 and "error" not in ours.value[-2]:
        tally.unexplained.append(f"{case}\n  engine broke off, ours has no error event: {ours}")


async def check(stack: Stack, seed: int, count: int) -> None:
    tally = await compare(stack, cases(seed, count, stack.model))
    assert not tally.unexplained, "\n".join(tally.unexplained)
    assert tally.same >= count * 0.9, tally
    assert tally.broken_off <= count * 0.01, tally


@pytest.mark.parametrize("front", ["echo_stack", "echo_http"])
@pytest.mark.timeout(60)
async def test_the_echo_engine_and_its_endpoint_answer_alike(request: pytest.FixtureRequest, front: str) -> None:
    await check(request.getfixturevalue(front), seed=3, count=SAMPLE)


@pytest.mark.vllm
@pytest.mark.parametrize("front", ["real_stack", "real_http"])
async def test_vllm_and_its_endpoint_answer_alike(request: pytest.FixtureRequest, front: str) -> None:
    """A short sample."""
    await check(request.getfixturevalue(front), seed=1, count=SAMPLE)


@pytest.mark.vllm
@pytest.mark.matrix
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("front", ["real_stack", "real_http"])
async def test_vllm_and_its_endpoint_answer_a_thousand_requests_alike(
    request: pytest.FixtureRequest, front: str
) -> None:
    await check(request.getfixturevalue(front), seed=2, count=FULL)


def translations() -> list[Any]:
    return [pytest.param(one, id=f"{one.route} {one.field}") for one in TRANSLATIONS]


@pytest.fixture(scope="module")
def translating_http() -> Iterator[Stack]:
    """A worker in http mode over the real engine, with TRANSLATE_HTTP=1."""
    with serve_http({**REAL_HTTP, "TRANSLATE_HTTP": "1"}) as up:
        yield up


@pytest.mark.vllm
@pytest.mark.parametrize("front", ["real_stack", "translating_http"])
@pytest.mark.parametrize("translation", translations())
async def test_a_translated_field_takes_effect(
    request: pytest.FixtureRequest, front: str, translation: Translation
) -> None:
    """The answer to the translated request, or a 400 that names the field."""
    stack: Stack = request.getfixturevalue(front)
    ours = await answer(stack.routes_url, stack, translation.route, translation.body)
    if translation.instead is None:
        assert (ours.status, ours.value["error"]["param"]) == (400, translation.field)
        return
    direct = await answer(stack.engine_url, stack, translation.route, translation.instead)
    assert ours.status == 200
    assert same(direct.value, ours.value)


@pytest.mark.vllm
@pytest.mark.parametrize("translation", translations())
async def test_in_http_mode_what_is_not_translated_is_refused(real_http: Stack, translation: Translation) -> None:
    """Never silently: the engine's own 400, or the guard's, which names the field and TRANSLATE_HTTP."""
    ours = await answer(real_http.routes_url, real_http, translation.route, translation.body)
    if (translation.route, translation.field) in REFUSED_BY_THE_ENGINE:
        assert ours == await answer(real_http.engine_url, real_http, translation.route, translation.body)
        assert ours.status == 400
        return
    [field] = [key for key in translation.body if key in ("best_of", "early_stopping", "guided_choice")]
    error = ours.value["error"]
    assert (ours.status, error["param"]) == (400, field)
    assert "TRANSLATE_HTTP=1" in error["message"]


async def answer(url: str, stack: Stack, route: str, body: Mapping[str, Any]) -> Seen:
    """The answer to a short request."""
    async with Http(url) as http:
        return Seen.of(await http.post(route, {"model": stack.model, "temperature": 0, "max_tokens": 8, **body}))


def test_there_are_at_most_ten_intended_differences() -> None:
    """Each of its own route and field."""
    every = [(one.route, one.field) for one in (*TRANSLATIONS, *REWRITES)]
    assert len(set(every)) == len(every) <= 10
