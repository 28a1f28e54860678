"""Check access to a repository without downloading it: `python -m worker_vllm.models.hub_access NAME [REVISION]`.

It runs as a separate process, because huggingface_hub reads its variables at import, and importing it is slow.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping

from worker_vllm.models import hub_client
from worker_vllm.models.references import Reference, Role

TIMEOUT_S = 30.0


def access_error(
    reference: Reference, env: Mapping[str, str], timeout_s: float = TIMEOUT_S
) -> hub_client.HubError | None:
    """Why the hub refuses this repository with the token in `env`; None when it is accessible."""
    asked = [reference.name, *([reference.revision] if reference.revision else [])]
    command = [sys.executable, "-m", "worker_vllm.models.hub_access", *asked]
    quiet = {**env, "HF_HUB_DISABLE_TELEMETRY": "1"}
    try:
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=timeout_s, check=False)
        answer = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        text = f"{reference.name}: the hub did not answer within {timeout_s:.0f} s"
        return hub_client.HubError(hub_client.Cause.UNREACHABLE, text)
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
        return hub_client.HubError(
            hub_client.Cause.UNREACHABLE, f"{reference.name}: the hub could not be contacted: {last}"
        )
    return hub_client.HubError(hub_client.Cause(answer["cause"]), answer["message"]) if answer else None


def main() -> int:
    """Print one line of JSON: null when the repository is accessible, else the cause and the message."""
    reference = Reference(Role.MODEL, sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
    answer = None
    try:
        hub_client.check_access(reference, os.environ.get("HF_TOKEN") or None)
    except hub_client.HubError as error:
        answer = {"cause": error.cause, "message": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
