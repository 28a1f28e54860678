"""RunPod's own API with nothing but the standard library: start a job, wait for it, read its output."""

import json
import os
from typing import Any
from urllib.request import Request, urlopen

ENDPOINT = os.environ["OPENAI_BASE_URL"].removesuffix("/openai/v1")
HEADERS = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "Content-Type": "application/json"}
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")


def call(path: str, body: object = None) -> dict[str, Any]:
    """One request to the endpoint."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(ENDPOINT + path, data, HEADERS)) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def main() -> None:
    """Run one job."""
    job = {"messages": [{"role": "user", "content": "Hello from a job"}], "sampling_params": {"max_tokens": 100}}
    state = call("/run", {"input": job})
    while state["status"] not in ENDED:
        state = call(f"/status-sync/{state['id']}")  # answers when the job has ended, or after a while
    if state["status"] != "COMPLETED":
        raise SystemExit(f"{state['status']}: {state.get('error')}")
    print("".join(state["output"][0]["choices"][0]["tokens"]))


if __name__ == "__main__":
    main()
