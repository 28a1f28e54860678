"""docs/models.md: example models by family, then the architectures that the shipped vLLM serves, by kind."""

from __future__ import annotations

import json
from typing import Any

from tools.render.docs import NOTICE, TEXTS, table_of, text
from worker_vllm.settings.flags.flag_table import flag_table

COUNTED = "transformers' own"  # hundreds of names that no operator reads
REMOTE_CODE = "`TRUST_REMOTE_CODE=1`"


def models() -> str:
    """Example models by family, and every architecture."""
    table = flag_table()
    page = text("models.md").replace("{vllm}", table.version)
    page = page.replace("{examples}", "\n\n".join(_examples(kind, rows) for kind, rows in examples().items()))
    parts = [NOTICE, page.replace("{counted}", str(len(table.architectures[COUNTED])))]
    for kind, names in table.architectures.items():
        if kind != COUNTED:
            parts.append(f"### All: {kind} ({len(names)})\n\n{', '.join(f'`{name}`' for name in names)}")
    return "\n\n".join(parts) + "\n"


def examples() -> dict[str, list[dict[str, Any]]]:
    """Kind of architecture → families, each with its architectures and models, as in vLLM's own tests."""
    kinds: dict[str, list[dict[str, Any]]] = json.loads((TEXTS / "model_examples.json").read_text(encoding="utf-8"))
    return kinds


def _examples(kind: str, rows: list[dict[str, Any]]) -> str:
    head = ["Family", "Architectures", "Models", "Note"]
    return f"### {kind[0].upper()}{kind[1:]}\n\n{table_of(head, map(_row, rows))}"


def _row(family: dict[str, Any]) -> list[str]:
    notes = (REMOTE_CODE if family.get("remote_code") else "", family.get("note", ""))
    note = "; ".join(part for part in notes if part)
    return [family["family"], _quoted(family["architectures"]), _quoted(family["models"]), note]


def _quoted(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
