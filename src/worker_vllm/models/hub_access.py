"""Ask the hub for a repository without fetching it: `python -m worker_vllm.models.hub_access NAME [REVISION]`.

A process of its own, since huggingface_hub reads its variables when it is imported, and takes its time for that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping

from worker_vllm.models import hub_client
from worker_vllm.models.references import Reference, Role

PATIENCE_S = 30.0


def refusal(
    reference: Reference, env: Mapping[str, str], patience_s: float = PATIENCE_S
) -> hub_client.HubError | None:
    """Why the hub does not give this repository with the token in `env`; None when it does."""
    asked = [reference.name, *([reference.revision] if reference.revision else [])]
    command = [sys.executable, "-m", "worker_vllm.models.hub_access", *asked]
    quiet = {**env, "HF_HUB_DISABLE_TELEMETRY": "1"}
    try:
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=patience_s, check=False)
        told = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        text = f"{reference.name}: the hub did not answer within {patience_s:.0f} s"
        return hub_client.HubError(hub_client.Cause.UNREACHABLE, text)
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
        return hub_client.HubError(
            hub_client.Cause.UNREACHABLE, f"{reference.name}: the hub could not be asked: {last}"
        )
    return hub_client.HubError(hub_client.Cause(told["cause"]), told["message"]) if told else None


def main() -> int:
    """One line of JSON: null, or the cause and the message."""
    reference = Reference(Role.MODEL, sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
    told = None
    try:
        hub_client.ask(reference, os.environ.get("HF_TOKEN") or None)
    except hub_client.HubError as error:
        told = {"cause": error.cause, "message": str(error)}
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
