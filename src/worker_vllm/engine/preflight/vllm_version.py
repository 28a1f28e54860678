"""Finds the installed vLLM's version from directory names, as importlib.metadata is too slow for the light start."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

DISTRIBUTION = re.compile(r"vllm(?:_cpu)?-(\d[\d.]*)[^-]*\.dist-info")  # vLLM's distributions


def engine_version(paths: Iterable[str]) -> str | None:
    """The version of the first vLLM on these import paths; None where there is none."""
    for folder in paths:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            if match := DISTRIBUTION.fullmatch(name):
                return match[1]
    return None
