"""/v1/messages in the format of vLLM 0.32's Anthropic API: text and thinking blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from worker_vllm.echo.generation import Delta
from worker_vllm.echo.routes.answer import Answer, named
from worker_vllm.errors import WorkerError

STOP_REASONS = {"stop": "end_turn", "length": "max_tokens"}


@dataclass(slots=True)
class Messages:
    """One message of one sequence."""

    answer: Answer
    _block: int = -1
    _kind: str | None = None
    _end: Delta | None = None

    def opening(self) -> bytes:
        message: dict[str, Any] = {
            "id": self.answer.id,
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": self.answer.model,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": self.answer.generation.prompt_tokens, "output_tokens": 0},
        }
        return named("message_start", {"type": "message_start", "message": message})

    def event(self, delta: Delta) -> bytes:
        self.answer.count(delta)
        if delta.finish_reason is not None:
            self._end = delta
        if not delta.text:
            return b""
        kind = "thinking" if delta.reasoning else "text"
        events = b""
        if kind != self._kind:
            events += self._close_block()
            self._kind = kind
            self._block += 1
            block = {"type": kind, kind: ""}
            start = {"type": "content_block_start", "index": self._block, "content_block": block}
            events += named("content_block_start", start)
        piece = {"type": f"{kind}_delta", kind: delta.text}
        return events + named(
            "content_block_delta", {"type": "content_block_delta", "index": self._block, "delta": piece}
        )

    def _close_block(self) -> bytes:
        if self._kind is None:
            return b""
        return named("content_block_stop", {"type": "content_block_stop", "index": self._block})

    def closing(self) -> bytes:
        change = {
            "type": "message_delta",
            "delta": self._stop(self._end),
            "usage": {
                "input_tokens": self.answer.generation.prompt_tokens,
                "output_tokens": sum(self.answer.made),
            },
        }
        return self._close_block() + named("message_delta", change) + named("message_stop", {"type": "message_stop"})

    def _stop(self, delta: Delta | None) -> dict[str, Any]:
        if delta is not None and delta.stop_reason is not None:
            return {"stop_reason": "stop_sequence", "stop_sequence": delta.stop_reason}
        reason = STOP_REASONS.get((delta and delta.finish_reason) or "stop", "end_turn")
        return {"stop_reason": reason, "stop_sequence": None}

    def failure(self, error: WorkerError) -> bytes:
        return named("error", {"type": "error", "error": {"type": "internal_error", "message": error.message}})

    def full_response(self, deltas: Sequence[Delta]) -> dict[str, Any]:
        for delta in deltas:
            self.answer.count(delta)
        reasoning = self.answer.generation.script.reasoning or ""
        blocks = [{"type": "thinking", "thinking": reasoning}] if reasoning else []
        return {
            "id": self.answer.id,
            "type": "message",
            "role": "assistant",
            "content": [*blocks, {"type": "text", "text": deltas[0].text.removeprefix(reasoning)}],
            "model": self.answer.model,
            **{name: value for name, value in self._stop(deltas[0]).items() if value is not None},
            "usage": {
                "input_tokens": self.answer.generation.prompt_tokens,
                "output_tokens": sum(self.answer.made),
            },
        }
