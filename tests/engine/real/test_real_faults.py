"""The fault matrix: the real CPU engine, started with every fault of `faults`, through the supervisor.

Each must answer requests at once with one sentence about what to change, and leave nothing running. A few run always,
the rest with `make test-all`.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.diagnosis.record_endings import settings_of
from tests.engine.real.faults import FAULTS, Fault
from tests.support.engines.broken_models import edit
from tests.support.engines.supervised import leftovers, supervised
from worker_vllm.engine.interface import EngineRequest, EngineState
from worker_vllm.engine.preflight.weight_loader import INSTANT, READ_AHEAD
from worker_vllm.errors import EngineUnavailable

ALWAYS = ("bad_flag", "cut_weights", "too_long")
REQUEST = EngineRequest("POST", "/v1/completions", b'{"prompt": "hello"}', {"content-type": "application/json"})
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("VLLM_", "OMP_"))}

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(300)]


def case(fault: Fault) -> object:
    marks = [] if fault.name in ALWAYS else [pytest.mark.matrix]
    return pytest.param(fault, id=fault.name, marks=marks)


@pytest.mark.parametrize("fault", [case(fault) for fault in FAULTS])
async def test_a_fault_is_answered_with_what_to_change(fault: Fault, tmp_path: Path) -> None:
    """REFUSING, the sentence within a second, no process, socket or shared memory left."""
    before = leftovers()
    async with supervised(settings_of(fault, tmp_path / "fault"), only=ENVIRONMENT) as run:
        assert await run.supervisor.wait_until_decided() is EngineState.REFUSING, run.supervisor.diagnosis
        asked = time.monotonic()
        with pytest.raises(EngineUnavailable) as refusal:
            await run.supervisor.request(REQUEST)
        assert time.monotonic() - asked < 1
        for part in fault.contains:
            assert part in refusal.value.message
        assert leftovers() <= before


@pytest.mark.matrix
async def test_an_unwritable_cache_is_no_fault_without_compilation(tmp_path: Path) -> None:
    """Without compilation the cache is not needed: the engine serves."""
    fault = Fault("eager", "", environment={"VLLM_CACHE_ROOT": "/dev/null/cache"})
    async with supervised(settings_of(fault, tmp_path), only=ENVIRONMENT) as run:
        plain = await run.post("/v1/completions", b'{"prompt": "hello", "max_tokens": 8}')
        assert json.loads(await plain.read())["choices"][0]["text"] == "hello"


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("loader", "kept"), [(READ_AHEAD, READ_AHEAD), (INSTANT, ())], ids=["reading ahead", "failing"]
)
async def test_a_loader_of_the_workers_choice_serves_or_is_dropped(
    tmp_path: Path, loader: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    """InstantTensor needs a GPU: the start that fails with it is repeated without it, and the request is served."""
    settings = replace(settings_of(Fault("loader", ""), tmp_path), loader_arguments=loader)
    async with supervised(settings, only=ENVIRONMENT) as run:
        plain = await run.post("/v1/completions", b'{"prompt": "hello", "max_tokens": 8}')
        assert json.loads(await plain.read())["choices"][0]["text"] == "hello"
        assert run.supervisor.loader_arguments == kept


@pytest.mark.matrix
async def test_a_model_without_a_chat_template_still_completes(tmp_path: Path) -> None:
    """Chat is answered with the engine's 400; a plain completion is served."""
    fault = Fault("no_template", "", break_model=edit("tokenizer_config.json", chat_template=None))
    async with supervised(settings_of(fault, tmp_path), only=ENVIRONMENT) as run:
        chat = await run.post("/v1/chat/completions", b'{"messages": [{"role": "user", "content": "hello"}]}')
        assert chat.status == 400
        assert "chat template" in json.loads(await chat.read())["error"]["message"]
        plain = await run.post("/v1/completions", b'{"prompt": "hello", "max_tokens": 8}')
        assert json.loads(await plain.read())["choices"][0]["text"] == "hello"
