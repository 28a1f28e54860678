"""The messages of RunPod's job protocol: addresses, request bodies and answers. Pure text, no I/O.

Source: runpod-python 1.12 (`rp_job.py`, `rp_http.py`, `rp_ping.py`), observed with the official loop against a local
platform. Bodies are spliced from JSON text, never decoded and encoded again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any
from urllib.parse import quote, urlencode

from worker_vllm.serverless.intake import take_answer
from worker_vllm.settings.types import QueueSettings

Job = dict[str, Any]
REMEMBERED_JOBS = 1024  # whose addresses need not be made for every piece
FAILED = b'{"error":'  # the first part of a failed job's result
LONGEST_REASON = 256  # characters of a fault report, before they are encoded


class ProtocolError(ValueError):
    """The platform's answer does not follow the protocol."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where each message of the protocol goes. Each has a query, to which parameters are added."""

    take_url: str
    done_url: str
    stream_url: str
    ping_url: str | None

    @classmethod
    def of(cls, settings: QueueSettings) -> Addresses:
        """The addresses in the settings; `?` is added to those without a query."""
        ping = settings.ping_url
        return cls(
            take_url=_with_query(settings.take_url),
            done_url=_with_query(settings.done_url),
            stream_url=_with_query(settings.stream_url),
            ping_url=_with_query(ping) if ping else None,
        )

    def take(self, count: int, busy: bool) -> str:
        """Where to wait for up to `count` jobs; `busy` is whether any job is running here."""
        progress = f"&job_in_progress={int(busy)}"
        if count == 1:
            return self.take_url + progress
        return f"{self._sibling('job-take-batch')}&batch_size={count}{progress}"

    def stop(self) -> str:
        """Where to wait for the ids of jobs that were cancelled."""
        return self._sibling("job-stop")

    def stream(self, job_id: str) -> str:
        """Where a piece of a job's stream goes."""
        return _of_job(self.stream_url, job_id) + "&isStream=false"

    def done(self, job_id: str) -> str:
        """Where a job's final result goes."""
        return _of_job(self.done_url, job_id) + "&isStream=true"

    def ping(self, job_ids: Iterable[str], version: str) -> str:
        """The address of a heartbeat that lists these jobs; only valid where a ping address was given."""
        joined = ",".join(job_ids)
        listed = f"&job_id={quote(joined, safe=',')}" if joined else ""
        return f"{self.ping_url}{listed}&runpod_version={version}"

    def unhealthy(self, check: str, reason: str, version: str) -> str:
        """The address of the ping that reports a fault, as runpod-python writes it (`rp_fitness.py`)."""
        report = {"status": "unhealthy", "check": check, "reason": reason[:LONGEST_REASON], "runpod_version": version}
        return f"{self.ping_url}&{urlencode(report, errors='replace')}"

    def pings(self, job_ids: Iterable[str], version: str, max_bytes: int) -> list[str]:
        """The same in several heartbeats of at most `max_bytes` each; a longer single id gets one of its own."""
        budget = max_bytes - len(self.ping(["-"], version)) + 1
        parts: list[list[str]] = [[]]
        used = 0
        for job_id in job_ids:
            size = len(quote(job_id, safe="")) + 1
            if parts[-1] and used + size > budget:
                parts.append([])
                used = 0
            parts[-1].append(job_id)
            used += size
        return [self.ping(part, version) for part in parts]

    def _sibling(self, verb: str) -> str:
        return self.take_url.replace("/job-take/", f"/{verb}/", 1)


@lru_cache(REMEMBERED_JOBS)
def _of_job(url: str, job_id: str) -> str:
    return url.replace("$ID", quote(job_id, safe=""))


def _with_query(url: str) -> str:
    return url if "?" in url else url + "?"


@dataclass(frozen=True, slots=True)
class TakenJobs:
    """The result of a take: the jobs, and a message for each entry without a usable id, which cannot be answered."""

    jobs: Sequence[Job] = ()
    faults: Sequence[str] = ()


def parse_take(body: bytes) -> TakenJobs:
    """The jobs of a take's 200 answer, one object or a list of them, each parsed by itself.

    A job that has an id but cannot be parsed has the reason under `refused`. Faults never quote a job's content.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        entries = list(take_answer.iter_elements(body))
    else:
        entries = found if isinstance(found, list) else [found]
    jobs: list[Job] = []
    faults: list[str] = []
    for number, entry in enumerate(entries, 1):
        job = _job(entry)
        if isinstance(job, str):
            faults.append(f"entry {number} of {len(entries)}: {job}")
        else:
            jobs.append(job)
    return TakenJobs(jobs, faults)


def _job(entry: object) -> Job | str:
    """The entry as a job that can be answered, or the reason why it cannot."""
    if isinstance(entry, take_answer.UnreadableJob):
        return entry.reason if entry.job_id is None else _job({"id": entry.job_id, "refused": entry.reason})
    if not isinstance(entry, dict):
        return f"expected an object, got {type(entry).__name__}"
    job_id = entry.get("id")
    if not isinstance(job_id, str):
        return f"expected a text `id`, got {type(job_id).__name__ if 'id' in entry else 'none'}"
    if not job_id:
        return "expected a text `id`, got an empty one"
    if not job_id.isascii() and job_id != job_id.encode("utf-8", "replace").decode():
        return f"expected a text `id`, got one that cannot be part of a URL: {ascii(job_id)[:100]}"
    return entry


def parse_stop(body: bytes) -> list[str]:
    """The job ids of a stop's 200 answer, `{"jobsToStop": ["id", …]}`."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"an answer of {len(body)} bytes that is not JSON: {type(error).__name__}") from error
    ids = found.get("jobsToStop") if isinstance(found, dict) else None
    if not isinstance(ids, list):
        raise ProtocolError(f"an answer of {len(body)} bytes without a list `jobsToStop`")
    return [job_id for job_id in ids if isinstance(job_id, str)]


def text_value(data: bytes) -> bytes:
    """The JSON text of the string `data`, which is complete UTF-8."""
    return encode_basestring(data.decode("utf-8", "replace")).encode()


def stream_body(value: bytes) -> tuple[bytes, ...]:
    """The body that posts one piece, in parts: `value` is JSON text."""
    return b'{"output":', value, b"}"


def done_body(values: Sequence[bytes], *, stop_pod: bool = False) -> tuple[bytes, ...]:
    """The final result of a job that succeeded, in parts: every value it yielded, in order."""
    separated = [part for value in values for part in (b",", value)]
    return b'{"output":[', *separated[1:], b"]", _tail(stop_pod)


def failed_body(error: str, *, stop_pod: bool = False) -> tuple[bytes, ...]:
    """The final result of a job that failed, in parts: `error` is the JSON text of the OpenAI error object."""
    return FAILED, encode_basestring(error).encode(), _tail(stop_pod)


def _tail(stop_pod: bool) -> bytes:
    return b',"stopPod":true}' if stop_pod else b"}"
