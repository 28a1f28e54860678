"""The official JavaScript clients, `openai` and `runpod-sdk`, against gateway, worker and engine."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.stack import Stack

SCRIPTS = Path(__file__).with_name("js")

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("node") is None, reason="no node: install it, then make setup"),
    pytest.mark.skipif(not (SCRIPTS / "node_modules").is_dir(), reason="their packages are not there: make setup"),
]


def test_their_ordinary_flows(up: Stack) -> None:
    """Models, chat whole and streamed, an error; runSync, run, stream, status, cancel, purge, health."""
    base, _, endpoint_id = up.url.rpartition("/")
    variables = {
        "OPENAI_BASE_URL": up.openai_url,
        "RUNPOD_BASE_URL": base,
        "RUNPOD_ENDPOINT_ID": endpoint_id,
        "MODEL": up.model,
    }
    command = [shutil.which("node") or "node", "flows.mjs"]
    found = subprocess.run(
        command, cwd=SCRIPTS, env={**variables, "NO_PROXY": "*"}, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout) == {
        "models": [up.model],
        "chat": "Hello, parrot!",
        "stream": "Hello, parrot!",
        "error": ["NotFoundError", 404],
        "runSync": ["COMPLETED", "Hello, parrot!"],
        "runpodStream": "Hello, parrot!",
        "status": "COMPLETED",
        "cancel": "COMPLETED",
        "purged": "completed",
        "health": ["jobs", "workers"],
    }
