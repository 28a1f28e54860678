"""A draft in one line: the model, its names, its tool parser, its context length."""

from __future__ import annotations

from typing import Any

from worker_vllm.settings.builder import SettingsBuilder
from worker_vllm.settings.rules.tensor_parallel import text_part
from worker_vllm.settings.sources.served_model import DEFAULT_MODEL
from worker_vllm.settings.types import EngineKind


def served(draft: SettingsBuilder) -> dict[str, Any]:
    """What would be served, as JSON: engine, model, names, tools, context."""
    kind = draft.fields["engine.kind"].value if "engine.kind" in draft.fields else EngineKind.VLLM
    model = draft.fields["engine.model"].value if "engine.model" in draft.fields else DEFAULT_MODEL
    if kind is EngineKind.ATTACH:
        return {"engine": str(kind), "url": draft.fields["engine.url"].value}
    parser = draft.flag_value("TOOL_CALL_PARSER") if draft.flag_value("ENABLE_AUTO_TOOL_CHOICE") else None
    return {
        "engine": str(kind),
        "model": model,
        "names": list(draft.fields["engine.served_names"].value),
        "tools": parser,
        "context": context(draft),
    }


def context(draft: SettingsBuilder) -> int | str:
    """The longest context in tokens, or in words where only the engine can determine it."""
    length = draft.flag_value("MAX_MODEL_LEN")
    if length is not None:
        return "what fits the GPU" if length == -1 else int(length)
    own = text_part(draft.facts.model_config or {}).get("max_position_embeddings")
    return own if isinstance(own, int) else "the model's own"


def summary(draft: SettingsBuilder) -> str:
    """One line for people; its mark shows whether the settings are valid."""
    if draft.problems:
        count = len(draft.problems)
        return f"✗ these settings cannot be served: {count} problem{'s' if count > 1 else ''}"
    found = served(draft)
    if "url" in found:
        return f"✓ attaches to {draft.redact(found['url'])}"
    engine = "" if found["engine"] == EngineKind.VLLM else f" ({found['engine']} engine)"
    tools = f"tools: {found['tools']}" if found["tools"] else "no tools"
    line = f"✓ {found['model']}{engine} as {', '.join(found['names'])}; {tools}; context: {found['context']}"
    return draft.redact(line)
