"""The fault plan: injected latency and error statuses by operation, repeatable by seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker_vllm.errors import RequestError

LONGEST_S = 86_400  # a day; of a probability, anything from 1 means always
SMALLEST = {"times": 0, "status": 200}
LAST_STATUS = 599


@dataclass(slots=True)
class Rule:
    """A fault for requests of one route; `route` is the operation's name, or `*` for all.

    `latency_s` delays the request before it is processed. `status` answers without processing it.
    """

    route: str
    probability: float = 1.0
    times: int | None = None
    latency_s: float = 0.0
    status: int | None = None
    hits: int = 0

    def to_json(self) -> dict[str, Any]:
        """The rule as given, and how often it was applied."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Fault:
    """The fault for one request; the default is none."""

    latency_s: float = 0.0
    status: int | None = None


@dataclass(slots=True)
class FaultPlan:
    """The active rules; the same seed and the same order of requests give the same faults."""

    rules: list[Rule] = field(default_factory=list)
    seed: int = 0
    _random: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self._random.seed(self.seed)

    def decide(self, route: str) -> Fault | None:
        """The fault for this request: the sum of latencies, and the first other fault that matches."""
        matching = [rule for rule in self.rules if self._matches(rule, route)]
        if not matching:
            return None
        for rule in matching:
            rule.hits += 1
        decisive = next((rule for rule in matching if rule.status), matching[0])
        latency_s = sum(rule.latency_s for rule in matching)
        return Fault(latency_s, decisive.status)

    def to_json(self) -> dict[str, Any]:
        """The plan as `read_plan` takes it, with hits."""
        return {"seed": self.seed, "rules": [rule.to_json() for rule in self.rules]}

    def _matches(self, rule: Rule, route: str) -> bool:
        if rule.route not in ("*", route) or (rule.times is not None and rule.hits >= rule.times):
            return False
        return rule.probability >= 1.0 or self._random.random() < rule.probability


def read_plan(payload: Any) -> FaultPlan:
    """Parse `{"seed": 1, "rules": [{"route": "ping", "status": 500, "times": 2}]}`. Raises RequestError."""
    if not isinstance(payload, Mapping) or not isinstance(payload.get("rules"), list):
        raise RequestError('a fault plan is {"seed": number, "rules": [rule, …]}')
    seed = payload.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise RequestError(f"seed={seed!r}: expected a whole number")
    return FaultPlan([_read_rule(rule) for rule in payload["rules"]], seed)


def _read_rule(given: Any) -> Rule:
    known = [name for name in Rule.__slots__ if name != "hits"]
    if not isinstance(given, Mapping) or not isinstance(given.get("route"), str) or not given.keys() <= set(known):
        raise RequestError(f"fault rule {given!r}: expected an object with a route and any of {', '.join(known[1:])}")
    for name in given.keys() - {"route"}:
        _check(name, given[name])
    return Rule(**given)


def _check(name: str, value: Any) -> None:
    """Raises RequestError for a value that this field of a rule cannot have."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in ("probability", "latency_s"):
        if not number or not 0 <= value <= LONGEST_S:  # nor NaN, nor infinite
            raise RequestError(f"{name}={value!r}: expected a number from 0 to {LONGEST_S}")
    elif value is not None and not (number and isinstance(value, int) and value >= SMALLEST[name]):
        raise RequestError(f"{name}={value!r}: expected a whole number from {SMALLEST[name]}, or null")
    elif name == "status" and value is not None and value > LAST_STATUS:
        raise RequestError(f"status={value!r}: expected at most {LAST_STATUS}")
