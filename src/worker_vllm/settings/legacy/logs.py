"""Log switches, which turned round or took more away than lines."""

from __future__ import annotations

from worker_vllm.settings.builder import ENVIRONMENT, SettingsBuilder
from worker_vllm.settings.catalog.catalog import catalog

INTERVAL = "VLLM_LOG_STATS_INTERVAL"
NEVER_S = "31536000"  # a year: vLLM takes no value that means never


def translate(draft: SettingsBuilder) -> None:
    """DISABLE_LOG_REQUESTS is the default now and its opposite is the flag; an explicit ENABLE_LOG_REQUESTS wins."""
    settings = catalog()
    for name in ("DISABLE_LOGGING_REQUEST", "DISABLE_LOG_REQUESTS"):
        disabled = draft.parsed(settings[name])
        if disabled is not None and "ENABLE_LOG_REQUESTS" not in draft.env:
            draft.set_flag("ENABLE_LOG_REQUESTS", not disabled, ENVIRONMENT, name)
    if draft.parsed(settings["DISABLE_LOG_STATS"]):
        draft.set_flag("DISABLE_LOG_STATS", True, ENVIRONMENT, "DISABLE_LOG_STATS")


def silence_statistics(draft: SettingsBuilder) -> None:
    """vLLM's flag would take the metrics away with the lines, and with them admission and the stall watch."""
    chosen = draft.engine.pop("DISABLE_LOG_STATS", None)
    if chosen and chosen.value and INTERVAL not in draft.env:
        draft.environment[INTERVAL] = NEVER_S
