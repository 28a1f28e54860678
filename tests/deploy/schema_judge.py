"""Run by .venv-deploy's interpreter: Kubernetes' own JSON schemas about each document on standard input.

In: {"version": "1.33", "documents": [...]}; out: a list with the problem of each document, empty where there is none.
"""

from __future__ import annotations

import json
import sys

import kubernetes_validate


def judge(document: object, version: str) -> str:
    """What the strict schema refuses; empty when it accepts the document."""
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as refused:
        return f"{'.'.join(map(str, refused.path))}: {refused.message}"
    return ""


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    json.dump([judge(document, asked["version"]) for document in asked["documents"]], sys.stdout)
