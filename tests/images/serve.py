"""Runs inside a built image without a network: starts a worker behind a local gateway and records its responses."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

ENGINE, MESSAGE = sys.argv[1:3]


def ask(base: str, path: str, body: object | None = None) -> object:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=200) as answer:
        return json.load(answer)


def address(process: subprocess.Popen[str]) -> str:
    """The gateway's address, from the output of `local`."""
    assert process.stdout is not None
    for line in process.stdout:
        sys.stderr.write(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return found[0]
    raise SystemExit("the gateway did not print its address")


def main() -> None:
    command = ["worker-vllm", "local", "--engine", ENGINE, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            base = address(process)
            chat = {"messages": [{"role": "user", "content": MESSAGE}], "max_tokens": 64, "temperature": 0}
            answer = ask(base, "/v2/local/openai/v1/chat/completions", chat)
            models = ask(base, "/v2/local/openai/v1/models")
            with open(os.environ["RESULT"], "w") as file:
                json.dump({"answer": answer, "models": models}, file)
        finally:
            process.send_signal(signal.SIGTERM)
            for line in process.stdout or ():
                sys.stderr.write(line)


main()
