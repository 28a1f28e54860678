"""The files of deploy/ as data: their containers, each with its settings and its times."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
UNIT = DEPLOY / "systemd" / "worker-vllm.service"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
SHARED_MEMORY = "/dev/shm"


@dataclass(frozen=True)
class PodTemplate:
    """A pod as one of the manifests describes it."""

    file: str
    spec: dict[str, Any]

    @property
    def container(self) -> dict[str, Any]:
        """Its only container."""
        (found,) = self.spec["containers"]
        worker: dict[str, Any] = found
        return worker

    @property
    def settings(self) -> dict[str, str]:
        """The variables with a value of their own."""
        return {each["name"]: each["value"] for each in self.container["env"] if "value" in each}

    @property
    def grace_s(self) -> int:
        """Seconds between SIGTERM and SIGKILL; on Knative those of a request."""
        return int(self.spec.get("terminationGracePeriodSeconds") or self.spec["timeoutSeconds"])

    @property
    def pre_stop_s(self) -> int:
        """Seconds before SIGTERM."""
        command = (
            self.container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
        )
        assert command[0] == "sleep"
        return int(command[1])


def documents(path: Path) -> list[dict[str, Any]]:
    """Every document of a file."""
    return list(yaml.safe_load_all(path.read_text()))


def pods() -> Iterator[PodTemplate]:
    """The pod of each manifest that has one."""
    for path in KUBERNETES:
        for document in documents(path):
            match document["kind"]:
                case "Deployment" | "Service" if "template" in document["spec"]:
                    yield PodTemplate(path.name, document["spec"]["template"]["spec"])
                case "InferenceService":
                    yield PodTemplate(path.name, document["spec"]["predictor"])


def seconds(text: str) -> int:
    """Compose's `45s`."""
    found = re.fullmatch(r"(\d+)s", text)
    assert found is not None, text
    return int(found[1])


def unit_values() -> dict[str, list[str]]:
    """The unit's settings, each with every value that it is given."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found
