"""A request whose sequences are ranked before anybody sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker_vllm.jobs.output.size_limits import RESULT_BYTES
from worker_vllm.jobs.request.best_of import RankedAnswer, Ranking, rank_answer, ranking_body
from worker_vllm.jobs.request.engine_request import json_ask
from worker_vllm.jobs.request.routes import Family, Route
from worker_vllm.jobs.run.engine_calls import EngineCalls

WORKING_BYTES = 4 * RESULT_BYTES  # sequences that are run and not kept, with what they are ranked by


async def generate_and_rank(
    exchange: EngineCalls, route: Route, body: Mapping[str, Any], ranking: Ranking
) -> RankedAnswer:
    """Run every sequence whole and keep the best."""
    asked = ranking_body(body, ranking, chat=route.family is Family.CHAT)
    return rank_answer(await exchange.value(json_ask(route.path, asked), WORKING_BYTES), ranking, body)
