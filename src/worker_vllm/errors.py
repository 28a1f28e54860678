"""The exception classes, their HTTP status, and the OpenAI error JSON.

WorkerError
├── ConfigurationError   503: the settings are invalid; lists every problem
├── RequestError         4xx: the request is invalid
│   └── NotFound         404
├── EngineError          5xx: the engine failed to serve the request
│   ├── Overloaded       429 or 503: the engine is full; try again later
│   └── Timeout          504
├── EngineReportedError  an error object of the engine, passed on unchanged
└── EngineUnavailable    503: the engine has exited or never started; the message is the diagnosis
    └── EngineStalled    424: it hung with this request in flight, which clients must not retry automatically

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


# Anthropic's error types, by which its clients recognise an error.
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
    """Anthropic's error type for this status."""
    return ANTHROPIC_TYPE_BY_STATUS.get(status, "api_error" if status >= 500 else "invalid_request_error")


def status_of_type(name: object) -> int | None:
    """The HTTP status of an error type: Anthropic's, ours, or the HTTP reason phrase; None for any other.

    Anthropic's error object has no code, so its status is derived from the type.
    """
    known = {
        _normalized(word): status
        for words in (TYPE_BY_STATUS, ANTHROPIC_TYPE_BY_STATUS)
        for status, word in words.items()
    }
    return known.get(_normalized(name)) if isinstance(name, str) else None


def _normalized(word: str) -> str:
    """The type without spaces and the suffix: `Bad Request` and `BadRequestError` are equal."""
    return word.replace(" ", "").removesuffix("Error")


def json_text(error: object) -> str:
    """JSON text of an error. Lone surrogates, which a message may quote from the request, become question marks."""
    return json.dumps(error, ensure_ascii=False).encode("utf-8", "replace").decode()


class WorkerError(Exception):
    """An error that is reported to the caller; `status` is the HTTP status, `error` the OpenAI error object."""

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
        """Remove secrets from everything that is reported to the caller."""
        for name, value in vars(self).items():
            if isinstance(value, str | Mapping):
                setattr(self, name, redact(value))
        self.args = (self.message,)

    def to_json(self) -> str:
        """JSON text of the OpenAI error object: the `error` string of a failed job."""
        return json_text(self.error)

    def to_body(self) -> str:
        """JSON text of `{"error": {...}}`: the HTTP body that an OpenAI client expects."""
        return f'{{"error": {self.to_json()}}}'


class RequestError(WorkerError):
    """The request is invalid."""

    status = 400


class NotFound(RequestError):
    """The requested model or route does not exist on this endpoint."""

    status = 404


class EngineError(WorkerError):
    """The engine failed to serve this request."""

    status = 500


class Overloaded(EngineError):
    """The engine is full; the same request may succeed later."""

    status = 503


class Timeout(EngineError):
    """The request exceeded its time limit."""

    status = 504


class EngineUnavailable(WorkerError):
    """The engine has exited or never started; the message is the diagnosis."""

    status = 503


class EngineStalled(EngineUnavailable):
    """The engine hung with this request in flight.

    OpenAI's and Anthropic's clients retry 408, 409, 429 and every 5xx automatically. A request that made the engine
    hang would do so again, so its status is 424, which they do not retry.
    """

    status = 424


class EngineReportedError(WorkerError):
    """An error response of the engine, whose OpenAI error object is passed on unchanged.

    `anthropic` is the complete body where the engine used Anthropic's form, for callers of Anthropic's routes.
    """

    def __init__(self, status: int, error: Mapping[str, Any], *, anthropic: Mapping[str, Any] | None = None) -> None:
        super().__init__(str(error.get("message", "")), status=status)
        self._error = dict(error)
        self.anthropic = anthropic

    @property
    def error(self) -> dict[str, Any]:
        """The engine's own error object, unchanged."""
        return self._error

    def with_message(self, message: str) -> EngineReportedError:
        """A copy of the error with another message, in both forms."""
        body = self.anthropic
        if body is not None:
            body = {**body, "error": {**body["error"], "message": message}}
        return type(self)(self.status, {**self._error, "message": message}, anthropic=body)


ANY_CHOICE = "choose one of them"
LISTS = ("one of", "keys among")  # the words that precede a list of choices


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of the settings: the key, its value, what is expected, and what to change."""

    key: str
    value: str
    expected: str
    change: str

    def __str__(self) -> str:
        # A list of choices may be long, so a concrete change is stated before it.
        parts = [f"expected {self.expected}", self.change]
        if any(word in self.expected for word in LISTS) and self.change != ANY_CHOICE:
            parts.reverse()
        return f'{self.key}="{self.value}": {"; ".join(parts)}'


class ConfigurationError(WorkerError):
    """The settings are invalid; `problems` lists every reason."""

    status = 503

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))
