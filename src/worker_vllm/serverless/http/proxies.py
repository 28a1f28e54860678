"""A warning for proxy variables that other clients use for the platform's address and the worker ignores."""

from __future__ import annotations

from collections.abc import Mapping

from worker_vllm.serverless.http.address import BadAddress, parse_target


def ignored_proxy(url: str, environment: Mapping[str, str]) -> str | None:
    """The warning where a proxy is set for `url`, else None. It omits the proxy's address, since that may hold a
    password."""
    try:
        origin = parse_target(url).origin
    except BadAddress:
        return None
    names = (f"{origin.scheme}_proxy", f"{origin.scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")
    name = next((name for name in names if environment.get(name)), None)
    if name is None or _is_exempt(origin.host, environment.get("no_proxy") or environment.get("NO_PROXY") or ""):
        return None
    return (
        f"{name} is set and ignored: the worker connects to {origin.host_port} directly, as the job loop of the "
        "official SDK does; where only the proxy can reach the platform, jobs cannot be taken"
    )


def _is_exempt(host: str, exempt: str) -> bool:
    rules = [rule.strip().lower().removeprefix("*").lstrip(".") for rule in exempt.split(",") if rule.strip()]
    return any(not rule or host == rule or host.endswith(f".{rule}") for rule in rules)
