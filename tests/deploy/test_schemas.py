"""Kubernetes' own schemas accept every manifest; those of KServe and Knative lie in no package.

Of those two the enclosing fields are stated here, and the pod inside is judged by the pod's schema.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.environment import command
from tests.deploy.manifests import KUBERNETES, documents

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

JUDGE = Path(__file__).with_name("schema_judge.py")
KUBERNETES_VERSIONS = ("1.30", "1.33", "1.37")
OWN_KINDS = {"Secret", "PersistentVolumeClaim", "Service", "Deployment"}
# Fields of the enclosing object that are none of a pod's.
KNATIVE = {"timeoutSeconds", "responseStartTimeoutSeconds", "containerConcurrency"}
KSERVE = {"minReplicas", "maxReplicas", "timeout"}


def judged(found: list[dict[str, Any]], version: str) -> list[str]:
    """The problem of each document by the schemas of a Kubernetes version."""
    asked = json.dumps({"version": version, "documents": found})
    words = [command("python"), str(JUDGE)]
    done = subprocess.run(words, check=False, input=asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    answers: list[str] = json.loads(done.stdout)
    return answers


def ours() -> list[dict[str, Any]]:
    """Every document of Kubernetes' own kinds."""
    found = [each for path in KUBERNETES for each in documents(path)]
    return [each for each in found if each["apiVersion"] in ("v1", "apps/v1")]


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_kubernetes_accepts_the_manifests(version: str, figure: Callable[[str], None]) -> None:
    """Secret, claim, Service and Deployment by the strict JSON schemas of three Kubernetes versions."""
    found = ours()
    assert {each["kind"] for each in found} == OWN_KINDS
    assert judged(found, version) == [""] * len(found)
    figure(f"{len(found)} documents, Kubernetes {version}")


def test_a_wrong_manifest_is_refused() -> None:
    """A misspelt field and a number in the place of a text: so the check above could have failed."""
    deployment = next(each for each in ours() if each["kind"] == "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["readinesProbe"] = container.pop("readinessProbe")
    assert "readinesProbe" in judged([deployment], "1.33")[0]


@pytest.mark.parametrize(
    ("file", "version", "kind", "inside", "fields"),
    [
        ("knative.yaml", "serving.knative.dev/v1", "Service", ("template", "spec"), KNATIVE),
        ("kserve.yaml", "serving.kserve.io/v1beta1", "InferenceService", ("predictor",), KSERVE),
    ],
)
def test_the_pods_of_knative_and_kserve(
    file: str, version: str, kind: str, inside: tuple[str, ...], fields: set[str]
) -> None:
    """Kind and version as stated, only known fields around the pod, and the pod by Kubernetes' schema."""
    (document,) = documents(next(path for path in KUBERNETES if path.name == file))
    assert (document["apiVersion"], document["kind"]) == (version, kind)
    assert set(document) == {"apiVersion", "kind", "metadata", "spec"}
    holder = document["spec"]
    for name in inside:
        assert set(holder) - {"metadata"} == {name}
        holder = holder[name]
    pod = {name: value for name, value in holder.items() if name not in fields}
    assert fields <= set(holder)
    standing = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod}
    assert judged([standing], "1.33") == [""]
