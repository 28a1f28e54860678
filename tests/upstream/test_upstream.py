"""vLLM's own server tests pass through gateway and worker, but for what is listed with a reason."""

from __future__ import annotations

import pytest

from tests.upstream.compare import problems, summary
from tests.upstream.differences import INTENDED
from tests.upstream.modules import ENGINES, Engine
from tests.upstream.omitted import unaccounted
from tests.upstream.run import compared
from tests.upstream.source import fetched
from worker_vllm.settings.versions import VLLM

LIMIT_S = 1200


@pytest.mark.upstream
@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_what_passes_bare_passes_through_us(engine: Engine) -> None:
    """Each of upstream's tests, with the same engine, asked directly and through us."""
    pair = compared(fetched(VLLM), engine)
    assert problems([pair], INTENDED) == [], summary([pair], INTENDED)


@pytest.mark.upstream
@pytest.mark.timeout(LIMIT_S)
def test_each_of_upstreams_modules_runs_or_is_omitted_for_a_reason() -> None:
    """A module that a new release brings is seen."""
    assert unaccounted(fetched(VLLM)) == []
