"""The words of RunPod's job protocol: addresses, request bodies and answers. Pure text, no I/O.

Source: runpod-python 1.12 (`rp_job.py`, `rp_http.py`, `rp_ping.py`), observed with the official loop against a local
platform. Bodies are spliced from JSON text, never decoded and encoded again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Any
from urllib.parse import quote

from worker_vllm.serverless import shallow
from worker_vllm.settings.model import QueueSettings

Job = dict[str, Any]


class ProtocolError(ValueError):
    """The platform said something that the protocol does not know."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where each message of the protocol goes. The given addresses already carry a `?` (the platform's rule)."""

    take_url: str
    done_url: str
    stream_url: str
    ping_url: str | None

    @classmethod
    def of(cls, settings: QueueSettings) -> Addresses:
        """The addresses that the settings give, each with a query to which more can be added."""
        ping = settings.ping_url
        return cls(
            take_url=_with_query(settings.take_url),
            done_url=_with_query(settings.done_url),
            stream_url=_with_query(settings.stream_url),
            ping_url=_with_query(ping) if ping else None,
        )

    def take(self, count: int, busy: bool) -> str:
        """Where to wait for up to `count` jobs; `busy` says whether any job is running here."""
        progress = f"&job_in_progress={int(busy)}"
        if count == 1:
            return self.take_url + progress
        return f"{self._sibling('job-take-batch')}&batch_size={count}{progress}"

    def stop(self) -> str:
        """Where to wait for the ids of jobs that were cancelled."""
        return self._sibling("job-stop")

    def stream(self, job_id: str) -> str:
        """Where a piece of a job's stream goes."""
        return self.stream_url.replace("$ID", quote(job_id, safe="")) + "&isStream=false"

    def done(self, job_id: str) -> str:
        """Where a job's final result goes."""
        return self.done_url.replace("$ID", quote(job_id, safe="")) + "&isStream=true"

    def ping(self, job_ids: Iterable[str], version: str) -> str:
        """The heartbeat that lists every job held here; only meaningful where a ping address was given."""
        held = ",".join(job_ids)
        listed = f"&job_id={quote(held, safe=',')}" if held else ""
        return f"{self.ping_url}{listed}&runpod_version={version}"

    def _sibling(self, verb: str) -> str:
        return self.take_url.replace("/job-take/", f"/{verb}/", 1)


def _with_query(url: str) -> str:
    return url if "?" in url else url + "?"


def parse_jobs(body: bytes) -> list[Job]:
    """The jobs of a take's 200 answer: one object or a list of them, each with an `id`."""
    try:
        found = _json(body)
    except RecursionError:
        found = _shallow(body)
    jobs = found if isinstance(found, list) else [found]
    for job in jobs:
        if not (isinstance(job, dict) and isinstance(job.get("id"), str) and job["id"]):
            raise ProtocolError(f"a job without a text `id`: {str(job)[:200]}")
    return jobs


def parse_stop(body: bytes) -> list[str]:
    """The job ids of a stop's 200 answer, `{"jobsToStop": ["id", …]}`."""
    found = _json(body)
    ids = found.get("jobsToStop") if isinstance(found, dict) else None
    if not isinstance(ids, list):
        raise ProtocolError(f"a stop without `jobsToStop`: {body[:200]!r}")
    return [str(job_id) for job_id in ids]


def _shallow(body: bytes) -> list[Job]:
    try:
        return shallow.parse_each(body)
    except ValueError as error:
        raise ProtocolError(str(error)) from error


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise ProtocolError(f"not JSON: {body[:200]!r}") from error


def text_value(data: bytes) -> bytes:
    """JSON text of a string value that holds `data`, which is whole UTF-8."""
    return encode_basestring(data.decode("utf-8", "replace")).encode()


def stream_body(value: bytes) -> bytes:
    """The body that posts one piece: `value` is JSON text."""
    return b'{"output":' + value + b"}"


def done_body(values: Sequence[bytes], *, stop_pod: bool = False) -> bytes:
    """The final result of a job that succeeded: every value it yielded, in order."""
    return b'{"output":[' + b",".join(values) + b"]" + _tail(stop_pod)


def failed_body(error: str, *, stop_pod: bool = False) -> bytes:
    """The final result of a job that failed: `error` is the JSON text of the OpenAI error object."""
    return b'{"error":' + encode_basestring(error).encode() + _tail(stop_pod)


def _tail(stop_pod: bool) -> bytes:
    return b',"stopPod":true}' if stop_pod else b"}"
