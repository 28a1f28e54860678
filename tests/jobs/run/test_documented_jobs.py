"""Every job that the documentation shows does what is shown below it."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.core import core_on
from tests.support.engines.echo import echo_engine
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "jobs.md").read_text()
SHOWN = re.findall(r"```json input\n(.*?)```\n```json (output|error)\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("given", "kind", "shown"), SHOWN)
async def test_a_documented_job_does_what_is_shown(given: str, kind: str, shown: str) -> None:
    async with echo_engine() as engine, core_on(engine.url) as core:
        result = await core.run(json.loads(given))
    if kind == "error":
        assert result.failure == json.loads(shown)
    else:
        assert result.error is None
        assert result.items == [json.loads(line) for line in shown.splitlines()]


def test_the_page_shows_jobs() -> None:
    assert len(SHOWN) == PAGE.count("```json input") >= 4
