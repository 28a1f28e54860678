"""Every request of docs/api.md is answered as shown: what is shown is a part of the answer, `…` is anything."""

from __future__ import annotations

import json
import re

import pytest

from tests.docs.samples import covers
from tests.support.core import JobResult, core_on
from tests.support.engines.echo import echo_engine
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text()
SHOWN = re.findall(
    r"```json (openai \S+|native)\n(.*?)```\n```json (answer|events|output|error)\n(.*?)```", PAGE, re.S
)
SAMPLING = PAGE.partition("### Sampling parameters\n")[2].partition("\n## ")[0]


async def run(kind: str, body: str) -> JobResult:
    """The job that a sample stands for."""
    job = json.loads(body) if body.strip() else {}
    if kind != "native":
        job = {"openai_route": kind.split()[1], **({"openai_input": job} if job else {})}
    async with echo_engine() as engine, core_on(engine.url) as core:
        return await core.run(job)


@pytest.mark.parametrize(("kind", "body", "form", "shown"), SHOWN)
async def test_a_documented_request_is_answered_as_shown(kind: str, body: str, form: str, shown: str) -> None:
    result = await run(kind, body)
    expected = [json.loads(line) for line in shown.splitlines()]
    if form == "error":
        assert covers(result.failure, expected[0]), result.failure
        return
    found = [event for event in result.events if event != "[DONE]"] if form == "events" else result.items
    assert len(found) == len(expected)
    assert all(map(covers, found, expected)), found


async def test_every_documented_sampling_parameter_is_accepted_with_its_default() -> None:
    """The table's 18 parameters, each with the default that it states."""
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|", SAMPLING, re.M)
    defaults = {"none": None, "true": True, "false": False, "`n`": None}
    given = {name: defaults[text] if text in defaults else json.loads(text) for name, text in rows}
    assert len(given) == 18
    result = await run("native", json.dumps({"prompt": "Hello", "sampling_params": given}))
    assert result.value["choices"] == [{"tokens": ["Hello"]}]


def test_the_page_shows_every_route() -> None:
    assert len(SHOWN) == PAGE.count("```json openai") + PAGE.count("```json native") >= 10
