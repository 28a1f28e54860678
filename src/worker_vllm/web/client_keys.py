"""The keys that clients must send: from a variable, and from a file that may be rotated without a restart."""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Iterable

from worker_vllm.web.asgi import Header, header_values
from worker_vllm.web.guard_settings import digest

log = logging.getLogger(__name__)

LARGEST_FILE = 64 * 1024


class ClientKeys:
    """Digests of the accepted keys. No key at all is asked for when neither a key nor a file is configured."""

    def __init__(self, digests: Iterable[str], file: str | None) -> None:
        self._fixed = tuple(digests)
        self._file = file
        self._from_file: tuple[str, ...] = ()
        self._read_version: tuple[int, int, int] | None = None
        self.required = bool(self._fixed) or file is not None

    def accepts(self, headers: Iterable[Header]) -> bool:
        """Whether the request shows an accepted key, as `Authorization: Bearer …` or as Anthropic's `x-api-key`.

        Every accepted key is compared, in constant time, whichever matches.
        """
        shown = self._shown(list(headers))
        if shown is None:
            return False
        given, found = digest(shown), False
        for known in (*self._fixed, *self._keys_of_file()):
            found |= hmac.compare_digest(given, known)
        return found

    def _shown(self, headers: list[Header]) -> bytes | None:
        bearers, plain = header_values(headers, b"authorization"), header_values(headers, b"x-api-key")
        if len(bearers) > 1 or len(plain) > 1:
            return None
        if bearers:
            scheme, _, key = bearers[0].partition(b" ")
            return key.strip() if scheme.lower() == b"bearer" else None
        return plain[0].strip() if plain else None

    def _keys_of_file(self) -> tuple[str, ...]:
        """The file's keys, read again when the file has changed.

        A file that cannot be read, or is empty, leaves the keys that were read before: rotation may replace it in
        two steps. Before the first good read there are none, so every request is refused.
        """
        if self._file is None:
            return ()
        try:
            status = os.stat(self._file)
            version = (status.st_mtime_ns, status.st_size, status.st_ino)
            if version != self._read_version:
                with open(self._file, "rb") as file:
                    content = file.read(LARGEST_FILE)
                lines = (line.strip() for line in content.splitlines())
                keys = tuple(digest(line) for line in lines if line and not line.startswith(b"#"))
                self._read_version = version
                if keys:
                    self._from_file = keys
                else:
                    log.warning("API_KEYS_FILE: expected one key a line, got none; the keys read before stay valid")
        except OSError as error:
            if self._read_version != (0, 0, 0):
                log.warning("API_KEYS_FILE: cannot be read (%s); the keys read before stay valid", error.strerror)
            self._read_version = (0, 0, 0)
        return self._from_file
