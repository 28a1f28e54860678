"""Access to a repository, checked on a hub over loopback and on an address without a hub."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.hub.repositories import MODEL
from tests.hub.server import Repository, serving
from worker_vllm.models.hub_access import access_error
from worker_vllm.models.hub_client import Cause
from worker_vllm.models.references import Reference, Role

pytestmark = pytest.mark.timeout(60)

ROWS: list[tuple[str, str, str | None, str, Cause | None, str]] = [
    ("there", "org/open", None, "", None, ""),
    ("there, at a revision", "org/open", "main", "", None, ""),
    ("there, and the token is invalid", "org/open", None, "hf_fake", None, ""),
    ("gated", "org/gated", None, "", Cause.GATED, "org/gated is gated: accept its terms on the hub and set HF_TOKEN"),
    ("gated, with the token", "org/gated", None, "hf_good", None, ""),
    ("not there", "org/none", None, "", Cause.NOT_FOUND, "org/none is not on the hub, or is private"),
    ("no such revision", "org/open", "v9", "", Cause.REVISION, "org/open has no revision 'v9'"),
]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_access_to_a_repository(tmp_path: Path, row: tuple[str, str, str | None, str, Cause, str]) -> None:
    """The causes and messages of a download, without fetching any weights."""
    _, name, revision, token, cause, message = row
    with serving(org__open=Repository(MODEL), org__gated=Repository(MODEL, token="hf_good")) as hub:
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_ENDPOINT": hub.address, "HF_TOKEN": token}
        error = access_error(Reference(Role.MODEL, name, revision), env)
        assert not any(line.startswith("GET") for line in hub.requests if "/resolve/" in line)
    assert (error and error.cause, str(error or "")[: len(message)]) == (cause, message)


def test_a_hub_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    """With the message of a failed download."""
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
    error = access_error(Reference(Role.MODEL, "org/name"), env)
    assert error is not None
    assert error.cause is Cause.UNREACHABLE
    assert str(error).startswith("org/name could not be fetched from http://127.0.0.1:9: ")
