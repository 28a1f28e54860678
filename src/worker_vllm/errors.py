"""The error tree, HTTP status and OpenAI error JSON: the one place that knows them.

WorkerError
├── ConfigurationError   the settings cannot work; carries every problem at once
├── RequestError         the caller's fault, 4xx
│   └── NotFound         404
├── EngineError          the engine's answer was an error, or it broke, 5xx
│   ├── Overloaded       429 or 503: try again later
│   └── Timeout          504
├── EngineUnavailable    503: the engine is dead or never came up; the message is the diagnosis
│   └── EngineStalled    424: it hung with this request in flight, which clients must not repeat by themselves
└── Cancelled            499: the caller went away

A job's error is the JSON text of the OpenAI error object: message, type, param, code (an HTTP status).
Standard library only: the light start imports this before anything else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TYPE_BY_STATUS: Mapping[int, str] = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    405: "MethodNotAllowedError",
    408: "TimeoutError",
    409: "ConflictError",
    413: "RequestTooLargeError",
    422: "UnprocessableEntityError",
    424: "FailedDependencyError",
    429: "RateLimitError",
    499: "CancelledError",
    500: "InternalServerError",
    501: "NotImplementedError",
    503: "ServiceUnavailableError",
    504: "TimeoutError",
}


# Anthropic's words for the same, which its clients know the kind of an error by.
ANTHROPIC_TYPE_BY_STATUS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def anthropic_type(status: int) -> str:
    """Anthropic's word for an error of this status."""
    return ANTHROPIC_TYPE_BY_STATUS.get(status, "api_error" if status >= 500 else "invalid_request_error")


def status_of_type(name: object) -> int | None:
    """The status that an error's type stands for: Anthropic's word, ours, or HTTP's own; None for any other word.

    Anthropic's form holds no code, so this is how the status of such an error is found again.
    """
    known = {
        _bare(word): status for words in (TYPE_BY_STATUS, ANTHROPIC_TYPE_BY_STATUS) for status, word in words.items()
    }
    return known.get(_bare(name)) if isinstance(name, str) else None


def _bare(word: str) -> str:
    """`Bad Request` and `BadRequestError` are the same word."""
    return word.replace(" ", "").removesuffix("Error")


class WorkerError(Exception):
    """Anything a caller may be told; `status` is the HTTP status, `error` the OpenAI error object."""

    status = 500

    def __init__(self, message: str, *, status: int | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if status is not None:
            self.status = status

    @property
    def error(self) -> dict[str, Any]:
        """The OpenAI error object: message, type, param, code."""
        return {
            "message": self.message,
            "type": TYPE_BY_STATUS.get(self.status, "InternalServerError"),
            "param": self.param,
            "code": self.status,
        }

    def redact(self, redact: Callable[[object], object]) -> None:
        """Take secrets out of everything that a caller may be told."""
        for name, value in vars(self).items():
            if isinstance(value, str | Mapping):
                setattr(self, name, redact(value))
        self.args = (self.message,)

    def to_json(self) -> str:
        """JSON text of the OpenAI error object: what a failed job carries as its `error` string."""
        text = json.dumps(self.error, ensure_ascii=False)
        return text.encode("utf-8", "replace").decode()  # a lone surrogate of the caller's, quoted in the message

    def to_body(self) -> str:
        """JSON text of `{"error": {...}}`: what an OpenAI client expects as an HTTP body."""
        return f'{{"error": {self.to_json()}}}'


class RequestError(WorkerError):
    """The caller's request cannot be served as it is."""

    status = 400


class NotFound(RequestError):
    """The model or the route asked for does not exist here."""

    status = 404


class EngineError(WorkerError):
    """The engine failed to answer this request."""

    status = 500


class Overloaded(EngineError):
    """The engine is full; the same request may succeed later."""

    status = 503


class Timeout(EngineError):
    """The request's time is over."""

    status = 504


class EngineUnavailable(WorkerError):
    """The engine is dead or never came up; the message is the diagnosis."""

    status = 503


class EngineStalled(EngineUnavailable):
    """The engine hung with this request in flight. OpenAI's and Anthropic's clients repeat 408, 409, 429 and every
    5xx by themselves, and a request that made an engine hang would do so again: 424 is not repeated."""

    status = 424


class Cancelled(WorkerError):
    """The caller cancelled the job."""

    status = 499


class EngineAnswer(WorkerError):
    """An error that the engine itself worded: its OpenAI error object passes through unchanged.

    `anthropic` is the whole of what it said where that had Anthropic's form, for callers who speak it too.
    """

    def __init__(self, status: int, error: Mapping[str, Any], *, anthropic: Mapping[str, Any] | None = None) -> None:
        super().__init__(str(error.get("message", "")), status=status)
        self._error = dict(error)
        self.anthropic = anthropic

    @property
    def error(self) -> dict[str, Any]:
        """The engine's own error object, unchanged."""
        return self._error

    def reworded(self, message: str) -> EngineAnswer:
        """The same error with another message, in both forms."""
        said = self.anthropic
        if said is not None:
            said = {**said, "error": {**said["error"], "message": message}}
        return type(self)(self.status, {**self._error, "message": message}, anthropic=said)


ANY_CHOICE = "choose one of them"
LISTS = ("one of", "keys among")  # words before a list of choices


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the settings: what, got, expected, what to do."""

    key: str
    value: str
    expected: str
    change: str

    def __str__(self) -> str:
        # A list of choices may be long: a change that names one of them comes before it.
        parts = [f"expected {self.expected}", self.change]
        if any(word in self.expected for word in LISTS) and self.change != ANY_CHOICE:
            parts.reverse()
        return f'{self.key}="{self.value}": {"; ".join(parts)}'


class ConfigurationError(WorkerError):
    """The settings cannot work; `problems` names every reason at once."""

    status = 503

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))
