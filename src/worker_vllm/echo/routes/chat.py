"""/v1/chat/completions in vLLM 0.32's format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Any

from worker_vllm.echo import tokens as vocabulary
from worker_vllm.echo.generation import Delta
from worker_vllm.echo.routes.answer import FINGERPRINT, Answer, alternatives, data, failure_event, full_usage, usage
from worker_vllm.errors import WorkerError

CHUNK = "chat.completion.chunk"


@dataclass(slots=True)
class Chat:
    """One choice per event, the role first, usage as requested."""

    answer: Answer
    role: str = "assistant"
    include_usage: bool = False
    continuous_usage: bool = False
    logprobs: int | None = None  # how many alternatives; None is no log-probabilities
    return_token_ids: bool = False
    _head: str = ""

    def opening(self) -> bytes:
        events = []
        for index in range(self.answer.generation.sequences):
            choice = {
                "index": index,
                "delta": {"role": self.role, "content": ""},
                "logprobs": None,
                "finish_reason": None,
            }
            prompt = list(self.answer.prompt_of(index)) if self.return_token_ids else None
            chunk = self._chunk([choice], {"prompt_token_ids": prompt, "prompt_text": None}, index)
            events.append(data(chunk))
        return b"".join(events)

    def _chunk(self, choices: list[Any], more: dict[str, Any], index: int) -> dict[str, Any]:
        answer = self.answer
        chunk = answer.chunk(CHUNK, choices)
        if self.continuous_usage:
            count = usage(len(answer.prompt_of(index)), answer.made[index])
            chunk["usage"] = {**count, "completion_tokens_details": None}
        return {**chunk, **more}

    def event(self, delta: Delta) -> bytes:
        answer = self.answer
        answer.count(delta)
        if delta.finish_reason is None and self.logprobs is None and not self.return_token_ids:
            return self._plain(delta)
        choice: dict[str, Any] = {
            "index": delta.sequence,
            "delta": {"reasoning" if delta.reasoning else "content": delta.text},
            "logprobs": self._logprobs(delta),
            "finish_reason": delta.finish_reason,
        }
        if delta.finish_reason is not None:
            choice["stop_reason"] = delta.stop_reason
        choice["token_ids"] = list(delta.tokens) if self.return_token_ids else None
        stamp = delta.finish_reason is not None and not self.include_usage
        return data(self._chunk([choice], {"system_fingerprint": FINGERPRINT} if stamp else {}, delta.sequence))

    def _plain(self, delta: Delta) -> bytes:
        """Most events, formatted without building objects: a benchmark needs 12,800 of them a second."""
        answer = self.answer
        if not self._head:
            self._head = answer.plain_head(CHUNK)
        count = ""
        if self.continuous_usage:
            prompt, made = len(answer.prompt_of(delta.sequence)), answer.made[delta.sequence]
            count = (
                f',"usage":{{"prompt_tokens":{prompt},"total_tokens":{prompt + made},'
                f'"completion_tokens":{made},"completion_tokens_details":null}}'
            )
        return (
            f'{self._head}{delta.sequence},"delta":{{"{"reasoning" if delta.reasoning else "content"}":'
            f'{encode_basestring(delta.text)}}},"logprobs":null,"finish_reason":null,"token_ids":null}}]{count}}}\n\n'
        ).encode()

    def closing(self) -> bytes:
        return self.answer.last_event(CHUNK, include_usage=self.include_usage)

    def failure(self, error: WorkerError) -> bytes:
        return failure_event(error)

    def full_response(self, deltas: Sequence[Delta]) -> dict[str, Any]:
        for delta in deltas:
            self.answer.count(delta)
        prompt = list(self.answer.prompt_of(0)) if self.return_token_ids else None
        return {
            **self.answer.chunk("chat.completion", [self._choice(delta) for delta in deltas]),
            "service_tier": None,
            "system_fingerprint": FINGERPRINT,
            "usage": full_usage(self.answer),
            "prompt_logprobs": None,
            "prompt_token_ids": prompt,
            "prompt_text": None,
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }

    def _choice(self, delta: Delta) -> dict[str, Any]:
        full = self.answer.generation.script.reasoning or ""
        reasoning = full if delta.text.startswith(full) else delta.text  # max_tokens ended it inside the reasoning
        message = {
            "role": self.role,
            "content": delta.text.removeprefix(reasoning) if reasoning == full else None,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "reasoning": reasoning or None,
        }
        return {
            "index": delta.sequence,
            "message": message,
            "logprobs": self._logprobs(delta),
            "finish_reason": delta.finish_reason,
            "stop_reason": delta.stop_reason,
            "token_ids": list(delta.tokens) if self.return_token_ids else None,
            "routed_experts": None,
        }

    def _logprobs(self, delta: Delta) -> dict[str, Any] | None:
        if self.logprobs is None:
            return None
        return {"content": [self._logprob(token, delta.sequence) for token in delta.tokens]}

    def _logprob(self, token: int, index: int) -> dict[str, Any]:
        logprob = self.answer.logprob(index)
        top = alternatives(token, logprob, self.logprobs or 0)[: self.logprobs or 0]
        word = vocabulary.decode([token], markers=True)
        return {
            "token": word,
            "logprob": logprob,
            "bytes": list(word.encode()),
            "top_logprobs": [{"token": w, "logprob": lp, "bytes": list(w.encode())} for w, lp in top],
        }
