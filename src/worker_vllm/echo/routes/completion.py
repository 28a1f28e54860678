"""/v1/completions in vLLM 0.32's format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring
from typing import Any

from worker_vllm.echo import tokens as vocabulary
from worker_vllm.echo.generation import Delta
from worker_vllm.echo.routes.answer import FINGERPRINT, Answer, alternatives, data, failure_event, full_usage, usage
from worker_vllm.errors import WorkerError

KIND = "text_completion"


@dataclass(slots=True)
class Completion:
    """One choice per event; choices are numbered over all prompts and their n sequences."""

    answer: Answer
    include_usage: bool = False
    continuous_usage: bool = False
    logprobs: int | None = None
    return_token_ids: bool = False
    repeat_prompt: bool = False  # OpenAI's `echo: true`
    _offsets: dict[int, int] = field(default_factory=dict)  # text offset of each sequence's next token
    _head: str = ""
    _opened: set[int] = field(default_factory=set)

    def opening(self) -> bytes:
        return b""

    def event(self, delta: Delta) -> bytes:
        answer = self.answer
        made = answer.count(delta)
        if (
            delta.finish_reason is None
            and self.logprobs is None
            and not (self.return_token_ids or self.repeat_prompt)
        ):
            return self._plain(delta, made)
        stamp = delta.finish_reason is not None and not self.include_usage
        chunk = answer.chunk(KIND, [self._choice(delta)])
        if self.continuous_usage:
            chunk["usage"] = usage(len(answer.prompt_of(delta.sequence)), made)
        if stamp:
            chunk["system_fingerprint"] = FINGERPRINT
        return data(chunk)

    def _plain(self, delta: Delta, made: int) -> bytes:
        """Most events, formatted without building objects."""
        answer = self.answer
        if not self._head:
            self._head = answer.plain_head(KIND)
        count = ""
        if self.continuous_usage:
            prompt = len(answer.prompt_of(delta.sequence))
            count = f',"usage":{{"prompt_tokens":{prompt},"total_tokens":{prompt + made},"completion_tokens":{made}}}'
        return (
            f'{self._head}{delta.sequence},"text":{encode_basestring(delta.text)},"logprobs":null,"finish_reason":null,'
            f'"stop_reason":null,"prompt_token_ids":null,"token_ids":null}}]{count}}}\n\n'
        ).encode()

    def closing(self) -> bytes:
        return self.answer.last_event(KIND, include_usage=self.include_usage)

    def failure(self, error: WorkerError) -> bytes:
        return failure_event(error)

    def full_response(self, deltas: Sequence[Delta]) -> dict[str, Any]:
        for delta in deltas:
            self.answer.count(delta)
        return {
            **self.answer.chunk(KIND, [self._full_choice(delta) for delta in deltas]),
            "service_tier": None,
            "system_fingerprint": FINGERPRINT,
            "usage": full_usage(self.answer),
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }

    def _full_choice(self, delta: Delta) -> dict[str, Any]:
        choice = self._choice(delta)
        ids = {"token_ids": choice.pop("token_ids"), "prompt_token_ids": choice.pop("prompt_token_ids")}
        return {**choice, "prompt_logprobs": None, **ids, "routed_experts": None}

    def _choice(self, delta: Delta) -> dict[str, Any]:
        first = delta.sequence not in self._opened
        self._opened.add(delta.sequence)
        prompt = self.answer.prompt_of(delta.sequence)
        text, tokens = delta.text, delta.tokens
        if self.repeat_prompt and first:
            text, tokens = vocabulary.decode(prompt) + text, (*prompt, *tokens)
        return {
            "index": delta.sequence,
            "text": text,
            "logprobs": self._logprobs(delta.sequence, tokens),
            "finish_reason": delta.finish_reason,
            "stop_reason": delta.stop_reason,
            "prompt_token_ids": list(prompt) if self.return_token_ids and first else None,
            "token_ids": list(delta.tokens) if self.return_token_ids else None,
        }

    def _logprobs(self, index: int, tokens: Sequence[int]) -> dict[str, Any] | None:
        if self.logprobs is None:
            return None
        logprob = self.answer.logprob(index)
        words = [vocabulary.decode([token], markers=True) for token in tokens]
        offsets = []
        for word in words:
            offsets.append(self._offsets.get(index, 0))
            self._offsets[index] = offsets[-1] + len(word)
        return {
            "text_offset": offsets,
            "token_logprobs": [logprob] * len(words),
            "tokens": words,
            "top_logprobs": [dict(alternatives(token, logprob, self.logprobs)) for token in tokens],
        }
