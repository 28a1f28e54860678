"""One native job on a RunPod endpoint: /run and /stream/ID, or /runsync, as RunPod's own clients do it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import aiohttp

from worker_vllm.bench.load_plan import LoadPlan, PlannedRequest
from worker_vllm.bench.openai_requests import failure_text, headers
from worker_vllm.bench.samples import Sample
from worker_vllm.bench.targets import BenchTarget

ENDED = frozenset(("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"))
BETWEEN_POLLS_S = 0.02  # where a platform answers /stream at once although nothing has arrived


def job(plan: LoadPlan, request: PlannedRequest) -> dict[str, object]:
    """The body of /run."""
    sampling: dict[str, object] = {"max_tokens": request.output_tokens}
    if plan.ignore_eos:
        sampling["ignore_eos"] = True
    content: dict[str, object] = (
        {"messages": [{"role": "user", "content": request.prompt}]} if plan.chat else {"prompt": request.prompt}
    )
    return {"input": {**content, "stream": plan.stream, "sampling_params": sampling}}


async def ask_jobs(
    session: aiohttp.ClientSession, target: BenchTarget, plan: LoadPlan, request: PlannedRequest
) -> Sample:
    """Run one job and read all its output. Failures are noted in the sample, never raised."""
    sample = Sample(time.monotonic())
    try:
        if plan.stream:
            accepted = await _json(session, "POST", f"{target.url}/run", target, job(plan, request))
            await _follow(session, target, str(accepted["id"]), sample)
        else:
            answer = await _json(session, "POST", f"{target.url}/runsync", target, job(plan, request))
            while answer.get("status") not in ENDED:
                answer = await _json(session, "GET", f"{target.url}/status-sync/{answer['id']}", target)
            sample.first_at = sample.ended_at = time.monotonic()
            _end(sample, answer)
            for output in _outputs(answer.get("output")):
                _count(sample, output)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError) as error:
        sample.failure = failure_text(str(error) or type(error).__name__)
    return sample


async def _follow(session: aiohttp.ClientSession, target: BenchTarget, job_id: str, sample: Sample) -> None:
    """Read /stream until the job has ended and nothing is left."""
    last: float | None = None
    while True:
        answer = await _json(session, "GET", f"{target.url}/stream/{job_id}", target)
        now = time.monotonic()
        pieces = answer.get("stream") or []
        for piece in pieces:
            _count(sample, piece.get("output"))
        if pieces:
            if last is None:
                sample.first_at = now
            else:
                sample.gaps.append(now - last)
            last = now
        elif answer.get("status") in ENDED:
            sample.ended_at = now
            _end(sample, answer)
            return
        else:
            await asyncio.sleep(BETWEEN_POLLS_S)


def _end(sample: Sample, answer: Mapping[str, Any]) -> None:
    if answer.get("status") != "COMPLETED":
        sample.failure = failure_text(f"{answer.get('status')}: {failure_text(answer.get('error'))}")


def _outputs(output: object) -> list[object]:
    return output if isinstance(output, list) else [output]


def _count(sample: Sample, output: object) -> None:
    """The usage of a native output: cumulative, in every batch."""
    usage = output.get("usage") if isinstance(output, dict) else None
    if isinstance(usage, dict):
        sample.output_tokens = max(sample.output_tokens, int(usage.get("output") or 0))
        sample.prompt_tokens = max(sample.prompt_tokens, int(usage.get("input") or 0))


async def _json(
    session: aiohttp.ClientSession, method: str, url: str, target: BenchTarget, body: object = None
) -> dict[str, Any]:
    """One call of the endpoint's API. Raises ValueError for any status but 200."""
    async with session.request(method, url, json=body, headers=headers(target)) as answer:
        if answer.status != 200:
            raise ValueError(f"HTTP {answer.status}: {failure_text(await answer.text())}")
        found: dict[str, Any] = await answer.json(content_type=None)
        return found
