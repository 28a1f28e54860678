"""Reads a running gateway's own routes over HTTP, for the verbs that show its state."""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from worker_vllm.errors import WorkerError

TIMEOUT_S = 10.0
FOLLOW_PAUSE_S = 0.5
DEFAULT_URL = "http://127.0.0.1:8000"


def add_gateway_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the gateway's address, and whether to follow."""
    parser.add_argument("--url", default=DEFAULT_URL, help="the gateway's address (default: %(default)s)")
    parser.add_argument("--follow", "-f", action="store_true", help="go on with what is new until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


class GatewayReader:
    """GET requests with the key in GATEWAY_API_KEY, if there is one."""

    def __init__(self, url: str, key: str) -> None:
        self._base = url.split("/v2/")[0].rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def get(self, path: str, **query: object) -> dict[str, Any]:
        """The JSON object at a path. Raises WorkerError that says what is wrong with the address or the key."""
        url = f"{self._base}{path}" + (f"?{urlencode(query)}" if query else "")
        if not url.startswith(("http://", "https://")):
            raise WorkerError(f'--url="{self._base}": expected an address such as {DEFAULT_URL}')
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=self._headers), timeout=TIMEOUT_S) as got:
                payload = json.loads(got.read())
        except urllib.error.HTTPError as error:
            raise WorkerError(f"{url}: {error.code} {_message(error.read())}") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise WorkerError(f"{url}: no gateway answers ({reason}); start one, or name it with --url") from error
        if not isinstance(payload, dict):
            raise WorkerError(f"{url}: expected an object; another program answers there")
        return payload


def run_reader(args: argparse.Namespace, verb: str, show: Callable[[GatewayReader], None]) -> int:
    """Show, once or until Ctrl-C; returns 0, or 1 when the gateway does not answer."""
    try:
        show(GatewayReader(args.url, os.environ.get("GATEWAY_API_KEY", "").strip()))
    except WorkerError as error:
        print(f"worker-vllm {verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:  # as after `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _message(body: bytes) -> str:
    try:
        error = json.loads(body)["error"]
    except (ValueError, TypeError, KeyError):
        return "is the answer; another program may listen there"
    return str(error.get("message") if isinstance(error, dict) else error)
