"""Faults on demand: what the network and the platform do to a worker on a bad day, by route and repeatably. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker_vllm.errors import RequestError

DROPS = ("before", "after")


@dataclass(slots=True)
class Rule:
    """What happens to requests of one route; `route` is the operation's name, or `*` for every one.

    `latency_s` comes before the request is looked at. `status` answers without looking at it. `drop` cuts the
    connection, before the request is looked at or after it took effect. `cut_after_s` cuts a held request.
    """

    route: str
    probability: float = 1.0
    times: int | None = None
    latency_s: float = 0.0
    status: int | None = None
    drop: str | None = None
    cut_after_s: float | None = None
    hits: int = 0

    def to_json(self) -> dict[str, Any]:
        """The rule as it was given, and how often it has struck."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request; the default is nothing."""

    latency_s: float = 0.0
    status: int | None = None
    drop: str | None = None
    cut_after_s: float | None = None


@dataclass(slots=True)
class FaultPlan:
    """The rules in force; the same seed and the same order of requests give the same faults."""

    rules: list[Rule] = field(default_factory=list)
    seed: int = 0
    _random: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self._random.seed(self.seed)

    def decide(self, route: str) -> Fault | None:
        """What is to happen to this request: latencies add up, of the rest the first rule that strikes decides."""
        struck = [rule for rule in self.rules if self._strikes(rule, route)]
        if not struck:
            return None
        for rule in struck:
            rule.hits += 1
        decisive = next((r for r in struck if r.status or r.drop or r.cut_after_s is not None), struck[0])
        latency_s = sum(rule.latency_s for rule in struck)
        return Fault(latency_s, decisive.status, decisive.drop, decisive.cut_after_s)

    def to_json(self) -> dict[str, Any]:
        """The plan as `read_plan` takes it, with hits."""
        return {"seed": self.seed, "rules": [rule.to_json() for rule in self.rules]}

    def _strikes(self, rule: Rule, route: str) -> bool:
        if rule.route not in ("*", route) or (rule.times is not None and rule.hits >= rule.times):
            return False
        return rule.probability >= 1.0 or self._random.random() < rule.probability


def read_plan(payload: Any) -> FaultPlan:
    """A plan from `{"seed": 1, "rules": [{"route": "ping", "status": 500, "times": 2}]}`. Raises RequestError."""
    if not isinstance(payload, Mapping) or not isinstance(payload.get("rules"), list):
        raise RequestError('a fault plan is {"seed": number, "rules": [rule, …]}')
    seed = payload.get("seed", 0)
    if not isinstance(seed, int):
        raise RequestError(f"seed={seed!r}: expected a whole number")
    return FaultPlan([_read_rule(rule) for rule in payload["rules"]], seed)


def _read_rule(given: Any) -> Rule:
    known = [name for name in Rule.__slots__ if name != "hits"]
    if not isinstance(given, Mapping) or not isinstance(given.get("route"), str) or not given.keys() <= set(known):
        raise RequestError(f"fault rule {given!r}: expected an object with a route and any of {', '.join(known[1:])}")
    rule = Rule(**given)
    if rule.drop is not None and rule.drop not in DROPS:
        raise RequestError(f"drop={rule.drop!r}: expected one of {', '.join(DROPS)}")
    for name in ("probability", "latency_s", "cut_after_s", "times", "status"):
        value = getattr(rule, name)
        if value is not None and (not isinstance(value, int | float) or value < 0):
            raise RequestError(f"{name}={value!r}: expected a number from 0")
    return rule
