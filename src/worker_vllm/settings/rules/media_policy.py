"""What requests may ask the engine to fetch or to run: the worker applies the engine's own flags in both modes."""

from __future__ import annotations

from worker_vllm.settings.builder import SettingsBuilder

DOMAINS = "ALLOWED_MEDIA_DOMAINS"
ANY_HOST = "*"
REDIRECTS = "VLLM_MEDIA_URL_ALLOW_REDIRECTS"
SWITCHES = {
    "TRUST_REQUEST_CHAT_TEMPLATE": "policy.chat_templates",
    "TRUST_REQUEST_MM_KWARGS": "policy.mm_kwargs",
    "ALLOWED_LOCAL_MEDIA_PATH": "policy.local_media",
}


def choose(draft: SettingsBuilder) -> None:
    """Fill Settings.policy from the engine's flags.

    Where media may be fetched, redirects are switched off: the engine checks only the first address. The operator's
    own VLLM_MEDIA_URL_ALLOW_REDIRECTS wins.
    """
    for flag, place in SWITCHES.items():
        if flag in draft.engine and draft.engine[flag].value:
            draft.set_field(place, True, draft.engine[flag].key)
    chosen = draft.engine.get(DOMAINS)
    if chosen is None or not chosen.value:
        return
    given = [chosen.value] if isinstance(chosen.value, str) else list(chosen.value)
    hosts = tuple(host.strip().lower() for host in given if host.strip())
    if bad := next(
        (host for host in hosts if "/" in host or ":" in host or ("*" in host and host != ANY_HOST)), None
    ):
        draft.refuse(chosen.key, "host names, or * for every public host", f"write the host alone instead of {bad}")
        return
    draft.set_field("policy.media_domains", hosts, chosen.key, chosen.source)
    if ANY_HOST in hosts:
        del draft.engine[DOMAINS]  # the engine would compare the host with the asterisk
    if REDIRECTS not in draft.env:
        draft.environment[REDIRECTS] = "0"
