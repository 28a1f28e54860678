"""Health is a pure function of the engine's state: every condition on every path, whole responses."""

from __future__ import annotations

import json

import pytest

from worker_vllm.engine.supervision.startup_phases import NAMES
from worker_vllm.web.health import SHARE_DONE, Condition, Report, WebResponse, estimate_remaining_s, respond

STARTING = Report(Condition.STARTING, "load", 12.3)
REPORTS = {
    "starting": STARTING,
    "ready": Report(Condition.READY),
    "dead": Report(Condition.DEAD, "import", 4.0, "the engine was killed"),
    "stalled": Report(Condition.STALLED, "", None, "it made no progress"),
    "draining": Report(Condition.DRAINING),
    "refused": Report(Condition.REFUSED, diagnosis="this engine has no option --zip"),
    "gone": Report(Condition.GONE, diagnosis="the disk is full"),
}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ping", {"starting": 204, "ready": 200}),
        ("/ping?x=1", {"starting": 204, "ready": 200}),
        ("/health/ready", {"ready": 200}),
        ("/health/live", dict.fromkeys(REPORTS, 200)),
        ("/v1/chat/completions", {}),
        ("/", {}),
        ("/Ping", {}),
    ],
)
def test_the_status_by_path_and_condition(path: str, status: dict[str, int]) -> None:
    """503 is the status of everything that is not listed."""
    found = {name: respond("GET", path, report, "/ping").status for name, report in REPORTS.items()}
    assert found == {name: status.get(name, 503) for name in REPORTS}


def test_a_start_reports_its_phase_and_estimate() -> None:
    """204 has no body and no length, as HTTP demands."""
    found = respond("GET", "/ping", STARTING, "/ping")
    assert found == WebResponse(204, {"X-Worker-Phase": "load", "X-Worker-Remaining-Seconds": "13"})
    assert found.encode() == (
        b"HTTP/1.1 204 No Content\r\nConnection: close\r\nX-Worker-Phase: load\r\n"
        b"X-Worker-Remaining-Seconds: 13\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dead", ["the engine was killed", "import", "about 4 s"]),
        ("stalled", ["it made no progress"]),
        ("draining", ["stopping", "another worker"]),
        ("refused", ["this engine has no option --zip"]),
        ("gone", ["the disk is full"]),
    ],
)
def test_the_diagnosis_is_in_the_body(name: str, words: list[str]) -> None:
    """On the health path and in the error that every other request gets."""
    checked = json.loads(respond("GET", "/ping", REPORTS[name], "/ping").body)
    refused = json.loads(respond("POST", "/v1/completions", REPORTS[name], "/ping").body)
    assert checked["status"] == name
    assert refused["error"] == {
        "message": checked["message"],
        "type": "service_unavailable",
        "param": None,
        "code": 503,
    }
    assert [word for word in words if word not in checked["message"]] == []


@pytest.mark.parametrize(
    ("report", "seconds"),
    [(STARTING, "13"), (REPORTS["stalled"], "5"), (Report(Condition.STARTING, "load", 900.0), "60")],
)
def test_retry_after_follows_the_estimate(report: Report, seconds: str) -> None:
    """At most a minute; five seconds where nothing is known."""
    assert respond("POST", "/v1/completions", report, "/ping").headers["Retry-After"] == seconds


def test_the_health_path_is_a_setting() -> None:
    """/ping is an ordinary path then."""
    assert respond("GET", "/up", STARTING, "/up").status == 204
    assert respond("GET", "/ping", STARTING, "/up").status == 503


def test_methods() -> None:
    """vLLM answers /ping to POST as well; HEAD gets no body."""
    assert [respond(method, "/ping", STARTING, "/ping").status for method in ("GET", "HEAD", "POST", "PUT")] == [
        204,
        204,
        204,
        405,
    ]
    head = respond("HEAD", "/ping", REPORTS["dead"], "/ping").encode(head_only=True)
    assert head.endswith(b"\r\n\r\n")
    assert b"Content-Length: 0" not in head


@pytest.mark.parametrize(
    ("phase", "elapsed_s", "previous_s", "remaining_s"),
    [
        ("import", 10.0, None, 50.0),
        ("import", 100.0, None, 20.0),
        ("load", 20.0, None, 20.0),
        ("load", 20.0, 30.0, 10.0),
        ("load", 40.0, 30.0, 1.0),
        ("unknown", 0.0, None, 60.0),
    ],
)
def test_the_estimate(phase: str, elapsed_s: float, previous_s: float | None, remaining_s: float) -> None:
    """The previous start decides; without one the share of the phases that are over."""
    assert estimate_remaining_s(phase, elapsed_s, previous_s) == pytest.approx(remaining_s)


def test_every_phase_has_a_share() -> None:
    """The table names the phases of the start's timeline, in order."""
    assert tuple(SHARE_DONE) == (*NAMES, "ready")
    assert sorted(SHARE_DONE.values()) == list(SHARE_DONE.values())
