"""The jobs of a take's answer, each parsed by itself, so that an unreadable job does not lose the rest of its batch.

Python's json parses a complete answer or fails: one job with a few thousand brackets (RecursionError), with an
integer of more than 4,300 digits (`sys.get_int_max_str_digits`) or with a byte that is not UTF-8 would lose every job
of its batch. An answer that cannot be parsed at once is therefore split into its elements, by brackets and strings
alone.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

TEXT = r'"(?:[^"\\]++|\\.)*+"'
FLAT = re.compile(rf'(?:[^"\[\]{{}}]++|{TEXT})*+', re.DOTALL)  # everything up to the next bracket
BRACKETS = re.compile(r"[\[{]++|[\]}]++")
SCALAR = re.compile(rf'(?:[^",\[\]{{}}]++|{TEXT})*+', re.DOTALL)
KEYED = re.compile(rf"({TEXT})(?:\s*+:\s*+({TEXT}))?", re.DOTALL)
SPACE = re.compile(r"[\s\ufeff]*+")
READ = json.JSONDecoder().raw_decode
MAX_UNREADABLE = 1000  # in one answer: each costs time linear in all that came before it

DEEP = "the job's input is nested too deeply: expected at most about 900 levels of JSON arrays and objects"
DIGITS = (
    f"the job's input contains an integer of more than {sys.get_int_max_str_digits()} digits, which cannot be read; "
    "send a shorter number"
)
ENCODING = "the job's input is not UTF-8"


@dataclass(frozen=True, slots=True)
class UnreadableJob:
    """An element that cannot be parsed: its `id`, if one was found, and the reason."""

    job_id: str | None
    reason: str


def iter_elements(body: bytes) -> Iterator[object]:
    """The elements of the array in `body`, or its single value: each parsed, or an UnreadableJob."""
    text = body.decode("utf-8", "surrogateescape")
    at = _skip(text, 0)
    if text[at : at + 1] != "[":
        yield _element(text.rstrip(), at)[0]
        return
    at, unread = _skip(text, at + 1), 0
    while text[at : at + 1] not in ("", "]"):
        element, at = _element(text, at)
        yield element
        at = _skip(text, at)
        unread += isinstance(element, UnreadableJob)
        if text[at : at + 1] not in (",", "]") or unread > MAX_UNREADABLE:
            yield UnreadableJob(None, f"the list ends unexpectedly after {at} of {len(text)} characters")
            return
        at = _skip(text, at + (text[at] == ","))


def _skip(text: str, at: int) -> int:
    space = SPACE.match(text, at)
    return space.end() if space else at


def _element(text: str, at: int) -> tuple[object, int]:
    """The element that begins at `at`, and where it ends."""
    try:
        value, end = READ(text, at)
        if not text[at:end].isascii():
            text[at:end].encode()
    except RecursionError:
        reason = DEEP
    except UnicodeEncodeError:
        reason = ENCODING
    except json.JSONDecodeError as error:
        reason = f"the job is not JSON: {error.msg} at its character {error.pos - at}"
    except ValueError:
        reason = DIGITS
    else:
        return value, end
    end, job_id = _extent(text, at)
    return UnreadableJob(job_id, reason), end


def _extent(text: str, start: int) -> tuple[int, str | None]:
    """Where an unreadable element ends, and the `id` at its top level."""
    if text[start : start + 1] not in ("[", "{"):
        scalar = SCALAR.match(text, start)
        return (scalar.end() if scalar else start), None
    depth, at, job_id = 1, start + 1, None
    while depth and (flat := FLAT.match(text, at)):
        if depth == 1 and text[start] == "{":
            job_id = _id(flat[0]) or job_id
        run = BRACKETS.match(text, flat.end())
        if run is None:
            return len(text), job_id
        if run[0][0] in "[{":
            depth, at = depth + len(run[0]), run.end()
        else:
            closed = min(depth, len(run[0]))
            depth, at = depth - closed, run.start() + closed
    return at, job_id


def _id(flat: str) -> str | None:
    found = None
    for key, value in KEYED.findall(flat):
        if key == '"id"' and value:
            try:
                found = str(json.loads(value))
            except ValueError:
                continue
    return found
