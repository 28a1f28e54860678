"""What a draft comes to, in one line: the model, its names, its tools, its context."""

from __future__ import annotations

from typing import Any

from worker_vllm.settings.builder import SettingsBuilder
from worker_vllm.settings.rules.tensor_parallel import text_part
from worker_vllm.settings.sources.served_model import DEFAULT_MODEL
from worker_vllm.settings.types import EngineKind


def served(draft: SettingsBuilder) -> dict[str, Any]:
    """What would be served, for machines: engine, model, names, tools, context."""
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
    """The longest context in tokens, or in words where only the engine will know it."""
    length = draft.flag_value("MAX_MODEL_LEN")
    if length is not None:
        return "what fits the GPU" if length == -1 else int(length)
    own = text_part(draft.facts.model_config or {}).get("max_position_embeddings")
    return own if isinstance(own, int) else "the model's own"


def summary(draft: SettingsBuilder) -> str:
    """One line for people, with a mark that says whether the settings can work."""
    if draft.problems:
        count = len(draft.problems)
        return f"✗ these settings cannot be served: {count} problem{'s' if count > 1 else ''}"
    told = served(draft)
    if "url" in told:
        return f"✓ attaches to {draft.redact(told['url'])}"
    engine = "" if told["engine"] == EngineKind.VLLM else f" ({told['engine']} engine)"
    tools = f"tools: {told['tools']}" if told["tools"] else "no tools"
    line = f"✓ {told['model']}{engine} as {', '.join(told['names'])}; {tools}; context: {told['context']}"
    return draft.redact(line)
