"""Proxy variables that other clients would obey for the platform's address: the log says that they are not obeyed."""

from __future__ import annotations

from collections.abc import Mapping

from worker_vllm.serverless.http.address import BadAddress, target_of


def ignored_proxy(url: str, environment: Mapping[str, str]) -> str | None:
    """The line for the log where a proxy is named for `url`; its address is not shown, it may hold a password."""
    try:
        origin = target_of(url).origin
    except BadAddress:
        return None
    names = (f"{origin.scheme}_proxy", f"{origin.scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")
    name = next((name for name in names if environment.get(name)), None)
    if name is None or _is_exempt(origin.host, environment.get("no_proxy") or environment.get("NO_PROXY") or ""):
        return None
    return (
        f"{name} is set and not obeyed: the worker connects to {origin.place} directly, as the job loop of the "
        "official SDK does; where only the proxy leads out, jobs cannot be taken"
    )


def _is_exempt(host: str, exempt: str) -> bool:
    rules = [rule.strip().lower().removeprefix("*").lstrip(".") for rule in exempt.split(",") if rule.strip()]
    return any(not rule or host == rule or host.endswith(f".{rule}") for rule in rules)
