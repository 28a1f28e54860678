"""Which variables and values are secret, and their removal from text.

A variable is secret when the catalogue lists it as one, when its name has the form of one (`…_TOKEN`, `…_APIKEY`),
or when it misspells a secret's name. A value is secret in any variable when it has the format of a known access
token, or is the password of a URL, the value of a secret key in JSON, or of a secret option of a command line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from worker_vllm.settings.catalog.catalog import Kind, names
from worker_vllm.settings.parsers import cleaned
from worker_vllm.settings.types import Secret

HIDDEN = "***"
SHORTEST = 6  # replacing shorter texts would damage ordinary words
ENDINGS = (
    *("KEY", "KEYS", "TOKEN", "TOKENS", "SECRET", "SECRETS", "PASSWORD", "PASSWORDS", "PASSWD", "PASSPHRASE"),
    *("CREDENTIAL", "CREDENTIALS", "BEARER", "COOKIE", "AUTHORIZATION"),
)
COUNTED = frozenset(
    {"MAX", "MIN", "NUM", "NUMBER", "BATCHED", "DEFAULT", "PER", "SPEC", "SPECULATIVE", "STOP", "THRESHOLD", "ONLY"}
)
KEY_LISTS = ("API_KEY", "VLLM_API_KEY")  # several keys, separated by commas
# OpenTelemetry's variables that hold HTTP headers, `name=value,name=value`: most often a collector's key.
OTLP_HEADERS = re.compile(r"OTEL_EXPORTER_OTLP_(?:[A-Z]+_)?HEADERS")
SWITCHES = frozenset({"ALLOW", "USE", "ENABLE", "DISABLE", "SKIP", "RETURN"})
# A name that ends so holds the place or the size of a secret, not the secret.
PLACES = frozenset(
    {"FILE", "PATH", "DIR", "SOCK", "LEN", "LENGTH", "TYPE", "URL", "NAME", "COUNT", "SIZE", "PARALLELISM"}
)
SHAPES = re.compile(
    r"\b(?:hf_|api_org_|rpa_)[A-Za-z0-9]{16,}\b|\bsk-(?:proj-|ant-|or-)?[A-Za-z0-9_]{20,}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}\b|\bgithub_pat_\w{20,}\b|\bglpat-[\w-]{16,}|\bxox[abeprs]-[\w-]{10,}"
    r"|\bA[KS]IA[0-9A-Z]{16}\b|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
BEHIND_NAME = re.compile(r"""["']?([A-Za-z][\w.-]*)["']?\s*[:=]\s*["']([^"']+)["']""")
BEHIND_OPTION = re.compile(r"""--?([A-Za-z][\w.-]*)(?:=|\s+)["']?([^\s"']+)""")
IN_URL = re.compile(r"://[^/\s:@]*:([^/\s@]+)@")
OPTION = re.compile(r"--?[a-z]+\d*(?:[-_.][a-z]+\d*|[-_.]\d{1,3})*")
NUMBER = re.compile(r"[+-]?\d{1,9}(?:\.\d{1,6})?[kKmMgG]?")


def looks_secret(name: str) -> bool:
    """Whether a variable, an option or a JSON key of this name holds a secret."""
    if setting := names().get(name):
        return setting.kind is Kind.SECRET
    if OTLP_HEADERS.fullmatch(name):
        return True
    words = [word for word in re.split(r"[^A-Z0-9]+", name.upper()) if word]
    if not words or words[-1] in PLACES or not SWITCHES.isdisjoint(words):
        return False
    counted = not COUNTED.isdisjoint(words)
    found = [word for word in words if word.endswith(ENDINGS)]
    return any(not (counted and word.endswith(("TOKEN", "TOKENS"))) for word in found)


def is_token(value: str) -> bool:
    """Whether a value as a whole has the format of an access token."""
    return SHAPES.fullmatch(value.strip()) is not None


def embedded(value: str) -> set[str]:
    """The secrets inside a value that is not itself one."""
    found = set(SHAPES.findall(value)) | set(IN_URL.findall(value))
    for pattern in (BEHIND_NAME, BEHIND_OPTION):
        found |= {text for name, text in pattern.findall(value) if looks_secret(name)}
    return found


def secrets_of(env: Mapping[str, str], secret_names: Iterable[str]) -> tuple[Secret, ...]:
    """Every secret of an environment; `secret_names` are its variables that hold one."""
    hidden = frozenset(secret_names)
    found: set[str] = set()
    for name, value in env.items():
        text = cleaned(value) or ""
        if name not in hidden:
            found |= embedded(text)
        elif name in names() or not (NUMBER.fullmatch(text) or text.lower() in ("true", "false")):
            found.add(text)
            if OTLP_HEADERS.fullmatch(name):
                found |= {pair.partition("=")[2].strip() for pair in text.split(",")}
            if name in KEY_LISTS:
                found |= {key.strip() for key in text.split(",")}
    return tuple(Secret(text) for text in sorted(found) if text)


def quotable(arguments: str) -> str:
    """A piece of a command line with every word masked but options and short numbers."""
    return " ".join(_quotable(word) for word in arguments.split())


def _quotable(word: str) -> str:
    option, equals, value = word.partition("=")
    if NUMBER.fullmatch(word) or (OPTION.fullmatch(option) and not equals):
        return word
    known = option if OPTION.fullmatch(option) else HIDDEN
    return f"{known}={value if NUMBER.fullmatch(value) else HIDDEN}" if equals else known


class Redactor:
    """Replaces every known secret in a text by `***`, also where it is escaped or split into lines."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self.secrets = tuple(secrets)
        forms = {form for secret in self.secrets for form in _forms(secret.reveal())}
        # Longest first: a secret may contain another one.
        self._forms = sorted((form for form in forms if len(form) >= SHORTEST), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        return text

    def value(self, value: object) -> object:
        """A JSON value with every text in it redacted; an object's keys are kept."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, Mapping):
            return {key: self.value(inner) for key, inner in value.items()}
        return [self.value(inner) for inner in value] if isinstance(value, list | tuple) else value


def _forms(secret: str) -> set[str]:
    """The forms in which a text may appear: as it is, line by line, and escaped for JSON, Python or a URL."""
    plain = {secret, secret.strip(), *(line.strip() for line in secret.splitlines())}
    escaped = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    return plain | escaped | {quote(secret, safe=""), quote(secret)}
