"""/v1/responses in the format of vLLM 0.32: one message of one sequence, nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker_vllm.echo.generation import Delta
from worker_vllm.echo.routes.answer import Answer, named
from worker_vllm.errors import WorkerError

DEFAULT_FIELDS: Mapping[str, Any] = {
    "instructions": None,
    "metadata": None,
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "background": False,
    "max_tool_calls": None,
    "previous_response_id": None,
    "prompt": None,
    "reasoning": None,
    "service_tier": "auto",
    "text": None,
    "top_logprobs": None,
    "truncation": "disabled",
    "user": None,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "kv_transfer_params": None,
    "ec_transfer_params": None,
    "input_messages": None,
    "output_messages": None,
}


@dataclass(slots=True)
class Responses:
    """The event sequence of one text message."""

    answer: Answer
    _sequence: int = 0
    _text: str = ""
    _end: Delta | None = None

    @property
    def item_id(self) -> str:
        """The id of the message item."""
        return f"msg_{self.answer.id.removeprefix('resp_')}"

    @property
    def _location(self) -> dict[str, Any]:
        return {"output_index": 0, "item_id": self.item_id, "content_index": 0}

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return named(kind, event)

    def _part(self, text: str, logprobs: list[Any] | None = None) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}

    def _item(self, status: str, content: list[Any]) -> dict[str, Any]:
        item = {"id": self.item_id, "type": "message", "role": "assistant", "status": status, "phase": None}
        return {**item, "content": content}

    def _response(self, status: str, output: list[Any], usage: dict[str, Any] | None) -> dict[str, Any]:
        return {
            "id": self.answer.id,
            "object": "response",
            "created_at": self.answer.created,
            "status": status,
            "model": self.answer.model,
            "output": output,
            "usage": usage,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "max_output_tokens": self.answer.generation.limits.max_tokens,
            **DEFAULT_FIELDS,
        }

    def _usage(self) -> dict[str, Any]:
        prompt, made = self.answer.generation.prompt_tokens, sum(self.answer.made)
        given: dict[str, Any] = {"cached_tokens": 0, "cache_write_tokens": 0}
        taken: dict[str, Any] = {"reasoning_tokens": 0, "tool_output_tokens": 0}
        return {
            "input_tokens": prompt,
            "input_tokens_details": {**given, "input_tokens_per_turn": [], "cached_tokens_per_turn": []},
            "output_tokens": made,
            "output_tokens_details": {**taken, "output_tokens_per_turn": [], "tool_output_tokens_per_turn": []},
            "total_tokens": prompt + made,
        }

    def opening(self) -> bytes:
        blank = self._response("in_progress", [], None)
        return (
            self._event("response.created", response=blank)
            + self._event("response.in_progress", response=blank)
            + self._event("response.output_item.added", output_index=0, item=self._item("in_progress", []))
            + self._event("response.content_part.added", **self._location, part=self._part("", []))
        )

    def event(self, delta: Delta) -> bytes:
        self.answer.count(delta)
        self._text += delta.text
        if delta.finish_reason is not None:
            self._end = delta
        if not delta.text:
            return b""
        return self._event("response.output_text.delta", **self._location, delta=delta.text, logprobs=[])

    def closing(self) -> bytes:
        part = self._part(self._text)
        item = self._item("completed", [part])
        final = self._response(self._status(self._end), [item], self._usage())
        return (
            self._event("response.output_text.done", **self._location, text=self._text, logprobs=[])
            + self._event("response.content_part.done", **self._location, part=part)
            + self._event("response.output_item.done", output_index=0, item=item)
            + self._event(f"response.{final['status']}", response=final)
        )

    def _status(self, delta: Delta | None) -> str:
        return "incomplete" if delta is not None and delta.finish_reason == "length" else "completed"

    def failure(self, error: WorkerError) -> bytes:
        return self._event("error", code="server_error", message=error.message, param=None)

    def full_response(self, deltas: Sequence[Delta]) -> dict[str, Any]:
        for delta in deltas:
            self.answer.count(delta)
        item = self._item("completed", [self._part(deltas[0].text)])
        return self._response(self._status(deltas[0]), [item], self._usage())
