"""README's sample of a native job, on the engine that it names."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.support.http import Http
from tests.support.paths import ROOT
from tests.support.stack import Stack

README = (ROOT / "README.md").read_text()
SAMPLE = re.compile(r"On the embedded model.*?/runsync\n +(\{.*?\})\n\n +→ (\{.*?), …\}\n", re.DOTALL)

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]


async def test_the_sample_is_what_the_embedded_model_answers(real_stack: Stack) -> None:
    """Text, token counts and status."""
    (sample,) = SAMPLE.findall(README)
    asked, shown = sample
    async with Http(real_stack.url) as http:
        answer: dict[str, Any] = (await http.post("/runsync", json.loads(asked))).json
    expected = json.loads(shown + "}")
    assert {name: answer[name] for name in expected} == expected
