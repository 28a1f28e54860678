"""A job as the console shows it: one row of the table, and its page."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from worker_vllm.console.jobs.job_history import JobTrace, Step
from worker_vllm.gateway.state.job import ABSENT, Job
from worker_vllm.json_bytes import dump

PREVIEW = 120
PARSED_BYTES = 200_000  # a larger input is previewed by its beginning, without parsing it
SHOWN_BYTES = 1_000_000

Wall = Callable[[float], float]


def describe_input(text: bytes) -> tuple[str, str]:
    """The kind of a job, and the beginning of what it asks."""
    if len(text) > PARSED_BYTES:
        return "job", text[:PREVIEW].decode("utf-8", "replace")
    try:
        asked = json.loads(text)
    except ValueError:
        return "job", text[:PREVIEW].decode("utf-8", "replace")
    if not isinstance(asked, dict):
        return "job", str(asked)[:PREVIEW]
    route = asked.get("openai_route")
    body = asked.get("openai_input") if route else asked
    kind = str(route).removeprefix("/v1/") if route else "native"
    return kind[:PREVIEW], _words(body)[:PREVIEW]


def row(job: Job, trace: JobTrace, described: tuple[str, str], wall: Wall) -> dict[str, Any]:
    """The row of the table."""
    kind, preview = described
    return {
        "id": job.id,
        "state": job.status.value,
        "kind": kind,
        "preview": preview,
        "created": wall(job.created),
        "started": None if job.started is None else wall(job.started),
        "ended": None if job.ended is None else wall(job.ended),
        "worker": job.worker,
        "retries": max(job.retries, sum(step.name == "queued again" for step in trace.steps)),
        "error": None if job.error is None else error_sentence(job.error)[: 2 * PREVIEW],
        "pieces": trace.pieces,
    }


def page(job: Job, trace: JobTrace, wall: Wall) -> dict[str, Any]:
    """Everything about one job; inputs and outputs up to SHOWN_BYTES."""
    output, output_bytes = _output(job)
    return {
        **row(job, trace, describe_input(job.submission.input), wall),
        "error": job.error,
        "steps": [
            {"name": step.name, "at": wall(step.at), "detail": step.detail, "tone": step.tone}
            for step in _steps(job, trace)
        ],
        "input": _shown(job.submission.input),
        "input_bytes": len(job.submission.input),
        "output": output,
        "output_bytes": output_bytes,
        "webhook": _webhook(job),
    }


def error_sentence(error: str) -> str:
    """The message inside a job's error, which is usually the JSON text of an OpenAI error object."""
    try:
        return str(json.loads(error)["message"])
    except (ValueError, TypeError, KeyError):
        return error


def _steps(job: Job, trace: JobTrace) -> list[Step]:
    steps = [Step("queued", job.created), *trace.steps]
    if job.started is not None and all(step.name != "taken" for step in steps):
        steps.append(Step("taken", job.started, job.worker or ""))
    if trace.first_piece is not None:
        steps.append(Step("first piece", trace.first_piece))
    if trace.last_piece is not None and trace.pieces > 1:
        steps.append(Step("last piece", trace.last_piece, f"{trace.pieces} pieces"))
    if job.ended is not None:
        good = job.status == "COMPLETED"
        steps.append(Step(job.status.value.lower().replace("_", " "), job.ended, "", "good" if good else "poor"))
    return sorted(steps, key=lambda step: step.at)


def _webhook(job: Job) -> dict[str, Any] | None:
    """What has become of the webhook; None for a job that has none. Its outcome is not known after a restart."""
    if not job.submission.webhook:
        return None
    attempt = job.webhook_attempt
    if not job.terminal:
        state = "not due"
    elif job.webhook_due:
        state = "sending" if attempt is None else "trying again" if attempt.number else "postponed"
    else:
        state = "unknown" if attempt is None else "delivered" if attempt.delivered else "given up"
    return {"state": state, "tries": attempt.number if attempt else 0, "answer": attempt.answer if attempt else ""}


def _output(job: Job) -> tuple[Any, int]:
    """The output, or the pieces that no client has read yet."""
    output = job.output
    if output is ABSENT or output in ([], None):
        output = [piece.output for piece in job.pieces] or None
    if output is None:
        return None, 0
    size = len(dump(output))
    return (output if size <= SHOWN_BYTES else dump(output)[:SHOWN_BYTES].decode("utf-8", "replace")), size


def _shown(text: bytes) -> Any:
    if len(text) > SHOWN_BYTES:
        return text[:SHOWN_BYTES].decode("utf-8", "replace")
    try:
        return json.loads(text)
    except ValueError:
        return text.decode("utf-8", "replace")


def _words(body: Any) -> str:
    """The last message or the prompt; the JSON text of anything else."""
    if isinstance(body, dict):
        messages = body.get("messages")
        if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
            content = messages[-1].get("content")
            if isinstance(content, list):
                content = " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
            return str(content)
        for name in ("prompt", "input"):
            if isinstance(body.get(name), str):
                return str(body[name])
    return "" if body is None else dump(body).decode("utf-8", "replace")
