"""A worker that is no worker of ours: an HTTP server of the standard library on PORT, healthy after half a second."""

from __future__ import annotations

import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STARTED = time.monotonic()


class Handler(BaseHTTPRequestHandler):
    """204, then 200, at /ping; the worker's id at any other path."""

    def do_GET(self) -> None:
        ready = time.monotonic() - STARTED > 0.5
        body = b"" if self.path == "/ping" else os.environ["RUNPOD_POD_ID"].encode()
        self.send_response(200 if ready or body else 204)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


ports = {os.environ["PORT"], os.environ["PORT_HEALTH"]}
servers = [ThreadingHTTPServer(("127.0.0.1", int(port)), Handler) for port in sorted(ports)]
sys.stdout.write("plain worker: up\n")
for server in servers[1:]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
servers[0].serve_forever()
