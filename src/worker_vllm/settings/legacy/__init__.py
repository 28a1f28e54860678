"""Settings that vLLM has renamed, merged or removed, translated so that old environments keep their meaning."""

from __future__ import annotations

from worker_vllm.settings.builder import SettingsBuilder
from worker_vllm.settings.legacy import adapters, log_switches, multimodal, names, rope, speculative
from worker_vllm.settings.legacy.log_switches import silence_statistics

__all__ = ["silence_statistics", "translate"]

RULES = (
    names.translate,
    log_switches.translate,
    adapters.translate,
    multimodal.translate,
    rope.translate,
    speculative.translate,
)


def translate(draft: SettingsBuilder) -> None:
    """Apply every rule; each reads its own variables only."""
    for rule in RULES:
        rule(draft)
