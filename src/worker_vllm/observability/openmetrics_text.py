"""Prometheus' text format as OpenMetrics: vLLM 0.32 answers in the former alone, and only the latter has exemplars.

Text in, text out, line by line: a counter is declared without its suffix, an unknown type is called so, and the
families `…_created`, which OpenMetrics has as samples of their counters, are left out.
"""

from __future__ import annotations

import re

TYPE = re.compile(rb"^# TYPE (\S+) (\S+)$", re.MULTILINE)
DECLARATION = re.compile(rb"# (HELP|TYPE) (\S+) ?(.*)")
SAMPLE_NAME = re.compile(rb"[^\s{]+")
UNESCAPED_QUOTE = re.compile(rb'(?<!\\)"')
TOTAL, CREATED = b"_total", b"_created"


def as_openmetrics(text: bytes) -> bytes:
    """The same families in OpenMetrics, without its end mark."""
    kinds = dict(TYPE.findall(text))
    created = {name for name, kind in kinds.items() if name.endswith(CREATED) and kind == b"gauge"}
    counters = {name for name, kind in kinds.items() if kind == b"counter" and name.endswith(TOTAL)}
    lines = []
    for line in text.splitlines():
        if found := DECLARATION.match(line):
            word, name, rest = found.groups()
            if name in created:
                continue
            declared = name.removesuffix(TOTAL) if name in counters else name
            if word == b"HELP":
                rest = UNESCAPED_QUOTE.sub(b'\\"', rest)
            elif rest == b"untyped" or (rest == b"counter" and name not in counters):
                rest = b"unknown"
            lines.append(b"# %s %s %s" % (word, declared, rest))
        elif line and not line.startswith(b"#"):
            name_of_sample = SAMPLE_NAME.match(line)
            if name_of_sample is not None and name_of_sample[0] not in created:
                lines.append(line)
    return b"".join(line + b"\n" for line in lines)
