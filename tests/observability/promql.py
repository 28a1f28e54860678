"""What queries ask for: the metrics and labels of PromQL expressions in a Grafana dashboard and in alert rules."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser
import yaml

from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy" / "observability"
DASHBOARD = DEPLOY / "grafana-dashboard.json"
RULES = DEPLOY / "prometheus-rules.yml"
# Grafana replaces its variables before it asks.
VARIABLES = {"$__rate_interval": "5m", "$instance": ".+"}


@dataclass(frozen=True, slots=True)
class Query:
    """One expression, and where it stands."""

    place: str
    text: str

    @property
    def parsed(self) -> Any:
        """Its syntax tree. Raises ValueError for what is no PromQL."""
        return promql_parser.parse(self.text)


@dataclass(frozen=True, slots=True)
class Asked:
    """A metric, and the labels that a query expects of it: in its matchers, and in the grouping around it."""

    metric: str
    labels: frozenset[str]


def dashboard() -> dict[str, Any]:
    """The dashboard's document."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    """The dashboard's graphs."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def alerts() -> list[dict[str, Any]]:
    """Every alert rule."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def queries() -> list[Query]:
    """Every expression of the dashboard and of the rules."""
    found = [Query(f"panel {panel['title']}", target["expr"]) for panel in panels() for target in panel["targets"]]
    for variable, value in VARIABLES.items():
        found = [Query(query.place, query.text.replace(variable, value)) for query in found]
    return [*found, *(Query(f"alert {rule['alert']}", rule["expr"]) for rule in alerts())]


def asked(query: Query) -> set[Asked]:
    """The metrics of a query, each with the labels that it must have."""
    return set(_asked(query.parsed, frozenset()))


def _asked(node: Any, grouped: frozenset[str]) -> Iterator[Asked]:
    """A selector's labels are those of its matchers and of every grouping above it."""
    match type(node).__name__:
        case "VectorSelector":
            matched = frozenset(matcher.name for matcher in node.matchers.matchers)
            yield Asked(node.name, matched | grouped)
        case "MatrixSelector":
            yield from _asked(node.vector_selector, grouped)
        case "AggregateExpr":
            labels = frozenset(node.modifier.labels) if node.modifier else frozenset()
            yield from _asked(node.expr, grouped | labels)
        case "BinaryExpr":
            yield from _asked(node.lhs, grouped)
            yield from _asked(node.rhs, grouped)
        case "Call":
            for argument in node.args:
                yield from _asked(argument, grouped)
        case "ParenExpr" | "UnaryExpr" | "SubqueryExpr":
            yield from _asked(node.expr, grouped)
        case "NumberLiteral" | "StringLiteral":
            return
        case kind:
            raise AssertionError(f"{kind}: how to read this part of a query is not known")


def variables_used(text: str) -> set[str]:
    """Grafana's variables in a text; `{{label}}` is a legend, no variable."""
    return set(re.findall(r"\$\{?(\w+)", text))
