"""Log switches: those that vLLM inverted, and one that would disable metrics too."""

from __future__ import annotations

from worker_vllm.settings.builder import ENVIRONMENT, SettingsBuilder
from worker_vllm.settings.catalog.catalog import catalog

INTERVAL = "VLLM_LOG_STATS_INTERVAL"
NEVER_S = "31536000"  # one year: vLLM has no value for never


def translate(draft: SettingsBuilder) -> None:
    """Translate DISABLE_LOG_REQUESTS, now the default, to ENABLE_LOG_REQUESTS, which wins where both are set."""
    settings = catalog()
    for name in ("DISABLE_LOGGING_REQUEST", "DISABLE_LOG_REQUESTS"):
        disabled = draft.parsed(settings[name])
        if disabled is not None and "ENABLE_LOG_REQUESTS" not in draft.env:
            draft.set_flag("ENABLE_LOG_REQUESTS", not disabled, ENVIRONMENT, name)
    if draft.parsed(settings["DISABLE_LOG_STATS"]):
        draft.set_flag("DISABLE_LOG_STATS", True, ENVIRONMENT, "DISABLE_LOG_STATS")


def silence_statistics(draft: SettingsBuilder) -> None:
    """Silence the statistics lines by their interval: vLLM's flag would disable the metrics that the worker reads."""
    chosen = draft.engine.pop("DISABLE_LOG_STATS", None)
    if chosen and chosen.value and INTERVAL not in draft.env:
        draft.environment[INTERVAL] = NEVER_S
