"""The real engine starts with every documented default at once and with all empty; stray files change nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support.core import Core, core_on
from tests.support.engines.real import real_engine_process
from tests.support.http import Http
from tests.support.paths import PARROT
from worker_vllm.settings.catalog.catalog import catalog
from worker_vllm.settings.load import load

pytestmark = [pytest.mark.vllm, pytest.mark.matrix, pytest.mark.timeout(900)]
GREEDY = {"temperature": 0.01, "top_k": 1, "do_sample": True}
SPECIFIED = [setting for setting in catalog().values() if setting.specified and setting.name != "MODEL_NAME"]
MANY = {"prompt": "Once upon a", "sampling_params": {"n": 32, "max_tokens": 32, "ignore_eos": True}}


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An engine with every documented default set explicitly, on a model with a stray generation_config.json."""
    model = tmp_path_factory.mktemp("model") / "parrot"
    shutil.copytree(PARROT, model)
    (model / "generation_config.json").write_text(json.dumps(GREEDY))
    defaults = {setting.name: setting.default for setting in SPECIFIED} | {"MODEL_NAME": str(model)}
    with pytest.MonkeyPatch.context() as patch:
        # The CPU engine takes GPU_MEMORY_UTILIZATION for a share of the whole machine's memory, unless a size is set.
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        with real_engine_process(defaults) as url:
            yield url


@pytest.fixture
async def core(documented: str) -> AsyncIterator[Core]:
    """The worker core on that engine, its own settings the documented ones."""
    async with core_on(documented) as core:
        yield core


async def continuations(core: Core) -> list[str]:
    """Many continuations of one prompt that parrot is not sure about, drawn independently."""
    value: dict[str, Any] = (await core.run(MANY)).value
    return ["".join(choice["tokens"]) for choice in value["choices"]]


async def test_every_documented_default_at_once_answers(core: Core) -> None:
    """And a model's stray file does not make a native job greedy: its documented temperature is 1, its top_k -1."""
    assert len(set(await continuations(core))) > 1


async def test_the_models_own_defaults_hold_where_they_are_asked_for(documented: str) -> None:
    """NATIVE_SAMPLING_DEFAULTS=model: the same job is greedy now, so the test above could have failed."""
    async with core_on(documented, native_model_defaults=True) as core:
        assert len(set(await continuations(core))) == 1


async def test_every_variable_empty_answers() -> None:
    """The same command as with nothing set; an initial form is the same too, as the form's own test proves.

    Silenced statistics are no part of the command either: the metrics that admission lives on are still there.
    """
    empty = dict.fromkeys([setting.name for setting in SPECIFIED], "")
    model = {"MODEL_NAME": str(PARROT)}
    assert load(empty | model) == load(model)
    silent = {"OPENAI_SERVED_MODEL_NAME_OVERRIDE": "parrot", "DISABLE_LOG_STATS": "1"}
    with real_engine_process(empty | silent) as url:
        async with Http(url) as http:
            assert b"vllm:num_requests_running" in (await http.get("/metrics")).body
        async with core_on(url) as core:
            body = {"messages": [{"role": "user", "content": "hello"}], "temperature": 0, "max_tokens": 16}
            answer = (await core.openai("/v1/chat/completions", body)).value
    assert answer["choices"][0]["message"]["content"] == "hello"
