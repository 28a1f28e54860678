"""The engine's reports of usage: one line per sequence that is over; modules that are changed after their import."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from worker_vllm.engine.child import usage_reports
from worker_vllm.engine.child.report_line import LONGEST, MARK, ReportLines
from worker_vllm.engine.child.request_tag import TagMiddleware
from worker_vllm.engine.child.usage_reports import AfterImport, report_usage, tag_of
from worker_vllm.engine.process.log_tail import LogTail

TAG = "0123456789abcdef"


class Processor:
    """vLLM's output processor, as far as the reports need it."""

    def __init__(self) -> None:
        self.request_states: dict[str, Any] = {}
        self.external_req_ids: dict[str, list[str]] = {}

    def add(self, name: str, external: str, generated: int = 4, *, read: bool = True) -> Any:
        stats = SimpleNamespace(
            num_generation_tokens=generated,
            queued_ts=1.0,
            scheduled_ts=1.5,
            first_token_ts=2.0 if read else 0.0,
            last_token_ts=2.75,
            first_token_latency=1.25,
        )
        state = SimpleNamespace(
            external_req_id=external, stats=stats, prompt_len=9, num_cached_tokens=2, detokenizer=None
        )
        self.request_states[name] = state
        self.external_req_ids.setdefault(external, []).append(name)
        return state

    def add_request(self, request: Any, external: str) -> None:
        self.add(request.request_id, external)

    def _update_stats_from_finished(self, req_state: Any, reason: str, stats: Any) -> str:
        return reason

    def abort_requests(self, request_ids: Iterator[str], internal: bool) -> list[str]:
        ids = list(request_ids)
        own = ids if internal else [one for each in ids for one in self.external_req_ids.pop(each, [])]
        return [one for one in own if self.request_states.pop(one, None) is not None]


@pytest.fixture
def written() -> list[Any]:
    """The reports that are written."""
    return []


@pytest.fixture
def processor(written: list[Any]) -> Any:
    """A processor of a class of its own, changed as vLLM's is."""
    kind = type("OutputProcessor", (Processor,), {})
    report_usage(SimpleNamespace(OutputProcessor=kind), written.append)  # type: ignore[arg-type]
    return kind()


def full(completion: int, unfinished: int) -> dict[str, Any]:
    counts = {"tag": TAG, "prompt": 9, "cached": 2, "completion": completion, "unfinished": unfinished}
    return {"usage": {**counts, "wait_s": 0.5, "first_token_s": 1.25, "decode_s": 0.75}}


def test_each_finished_and_each_aborted_sequence_is_reported(processor: Any, written: list[Any]) -> None:
    """With how many of the same request go on; a sequence whose prompt was not read has no prompt in any counter."""
    external = f"cmpl-{TAG}.job-1"
    states = [processor.add(f"s{number}", f"{external}-{number}", 4 + number) for number in range(2)]
    processor.add("other", "cmpl-fedcba9876543210.job-2-0")
    processor.request_states.pop("s0")
    assert processor._update_stats_from_finished(states[0], "stop", None) == "stop"
    processor.add("s2", f"{external}-2", 0, read=False)
    assert processor.abort_requests(iter(["s1", "s2", "unknown"]), True) == ["s1", "s2"]
    unread = {"tag": TAG, "prompt": 0, "cached": 0, "completion": 0, "unfinished": 1}
    assert written == [
        full(4, 1),
        {"usage": {**unread, "wait_s": 0.5, "first_token_s": 1.25, "decode_s": 0.0}},
        full(5, 0),
    ]


def test_an_abort_by_external_id_is_reported_too(processor: Any, written: list[Any]) -> None:
    """One id may stand for several sequences; a request that the worker did not tag is not reported."""
    processor.add("a", f"chatcmpl-{TAG}.job-1")
    processor.add("b", f"chatcmpl-{TAG}.job-1")
    processor.add("c", "chatcmpl-of-a-client")
    processor.abort_requests(iter([f"chatcmpl-{TAG}.job-1", "chatcmpl-of-a-client"]), False)
    assert [each["usage"]["tag"] for each in written] == [TAG, TAG]


async def test_a_request_with_a_name_of_vllms_own_is_tagged_by_its_header(processor: Any, written: list[Any]) -> None:
    """The middleware keeps the tag for everything that the request does."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        processor.add_request(SimpleNamespace(request_id="a"), "resp_of_vllm")

    headers = [(b"x-request-id", TAG.encode() + b".job-1")]
    await asyncio.create_task(TagMiddleware(app)({"type": "http", "headers": headers}, app, app))
    await asyncio.create_task(TagMiddleware(app)({"type": "lifespan"}, app, app))
    processor.abort_requests(iter(["a"]), True)
    assert written == []  # the second, which came without a tag, has taken the name
    await asyncio.create_task(TagMiddleware(app)({"type": "http", "headers": headers}, app, app))
    processor.abort_requests(iter(["a"]), True)
    assert [each["usage"]["tag"] for each in written] == [TAG]


@pytest.mark.parametrize(
    ("request_id", "tag"),
    [
        (f"cmpl-{TAG}.job-1-0", TAG),
        (f"{TAG}.job", TAG),
        (f"generative-scoring-{TAG}.fedcba9876543210.x", TAG),
        (f"chatcmpl-{TAG}", TAG),
        (f"chatcmpl-{TAG}_3", TAG),
        ("cmpl-123.job", None),
        (f"cmpl-x{TAG}.job", None),
    ],
)
def test_the_first_tag_of_an_id_counts(request_id: str, tag: str | None) -> None:
    """What follows it may be a client's own text."""
    assert tag_of(request_id) == tag


def test_a_module_is_changed_after_its_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without importing it earlier; a change that does not fit leaves it as it is."""
    (tmp_path / "late_module.py").write_text("value = 1\n")
    (tmp_path / "odd_module.py").write_text("value = 1\n")

    def change(module: ModuleType) -> None:
        module.value = 2  # type: ignore[attr-defined]

    def misfit(module: ModuleType) -> None:
        raise AttributeError("no such class")

    finder = AfterImport({"late_module": change, "odd_module": misfit})
    sys.path.insert(0, str(tmp_path))
    sys.meta_path.insert(0, finder)
    try:
        assert "late_module" not in sys.modules
        assert importlib.import_module("late_module").value == 2
        assert importlib.import_module("odd_module").value == 1
    finally:
        sys.meta_path.remove(finder)
        sys.path.remove(str(tmp_path))
    assert "odd_module has another form: no such class" in capsys.readouterr().err


def test_modules_are_changed_once() -> None:
    """However often it is asked for: a forked process imports the main module again."""
    finders: list[Any] = ["others"]
    usage_reports.install(finders)
    usage_reports.install(finders)
    assert [type(finder) for finder in finders] == [AfterImport, str]


def test_reports_are_taken_out_of_the_log() -> None:
    """Also behind an unfinished line of another process; they are no lines of the log's tail."""
    reader, writer = os.pipe()
    reports = ReportLines(writer)
    reports.add({"usage": {"tag": TAG}})
    reports.add({"long": "x" * LONGEST})
    os.close(writer)
    reports.add({"usage": {"tag": TAG}})  # nobody reads any more
    with open(reader, "rb") as pipe:
        line = pipe.read()
    lines: list[str] = []
    found: list[bytes] = []
    tail = LogTail(lines.append)
    tail.on_report = found.append
    tail.feed(b"before\nunfinished" + line[:5])
    tail.feed(line[5:] + b"after\n")
    assert lines == tail.lines == ["before", "unfinished", "after"]
    assert [json.loads(each) for each in found] == [{"usage": {"tag": TAG}}]
    assert line.count(MARK) == 1


class Pipe:
    """Keeps every write."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, descriptor: int, data: bytes) -> int:
        """One write, whole."""
        self.written.append(data)
        return len(data)


async def test_reports_of_one_turn_are_written_together_and_in_order() -> None:
    """In writes that a pipe takes whole; the next turn writes again."""
    pipe = Pipe()
    reports, written = ReportLines(7, pipe.write), pipe.written
    for number in range(3):
        reports.add({"n": number})
    assert written == []
    await asyncio.sleep(0)
    assert written == [b'\x1e{"n":0}\n\x1e{"n":1}\n\x1e{"n":2}\n']
    for number in range(100):
        reports.add({"n": number, "text": "x" * 200})
    await asyncio.sleep(0)
    lines = b"".join(written[1:]).split(b"\n")
    assert [json.loads(line.strip(MARK))["n"] for line in lines if line] == list(range(100))
    assert len(written) < 10
    assert max(map(len, written)) <= LONGEST


def test_a_report_outside_an_event_loop_is_written_at_once() -> None:
    """As is one that waits when the process ends."""
    pipe = Pipe()
    reports, written = ReportLines(7, pipe.write), pipe.written
    reports.add({"n": 1})
    assert written == [b'\x1e{"n":1}\n']
    reports.flush()
    assert len(written) == 1
