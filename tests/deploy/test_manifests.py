"""The files of deploy/ name this release's image, give the worker time to drain, and set only what it knows."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import COMPOSE, KUBERNETES, SHARED_MEMORY, UNIT, PodTemplate, pods, seconds, unit_values
from worker_vllm import __version__
from worker_vllm.engine.process.child_process import GRACE_S
from worker_vllm.models.directories import VOLUME
from worker_vllm.settings import versions
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import load
from worker_vllm.settings.types import Mode, QueueSettings

IMAGE = versions.image_name(__version__)
ENGINE_END_S = 2 * GRACE_S  # SIGTERM, SIGKILL, and what the guard removes
DEFAULT_DRAIN_S = QueueSettings().drain_timeout_s

each_pod = pytest.mark.parametrize("pod", list(pods()), ids=lambda pod: pod.file)


def test_there_is_a_pod_for_each_way() -> None:
    """A Deployment, a KServe InferenceService and a Knative Service."""
    assert [pod.file for pod in pods()] == ["knative.yaml", "kserve.yaml", "worker.yaml"]


def test_every_file_names_the_release_s_image() -> None:
    """`tools/bump.py` changes all of them."""
    for path in (*KUBERNETES, COMPOSE):
        found = re.findall(r"runpod/worker-v1-vllm:[^\s}]+", path.read_text())
        assert found, path
        assert set(found) == {IMAGE}, path


@each_pod
def test_the_grace_period_is_longer_than_the_drain(pod: PodTemplate) -> None:
    """preStop, DRAIN_TIMEOUT and the engine's end fit before SIGKILL."""
    needed = pod.pre_stop_s + float(pod.settings["DRAIN_TIMEOUT"]) + ENGINE_END_S
    assert pod.grace_s > needed


@each_pod
def test_the_probes_ask_the_right_paths(pod: PodTemplate) -> None:
    """Only readiness depends on the engine: another probe on it would restart what must stay up to tell why."""
    paths = {name: probe["httpGet"]["path"] for name, probe in pod.container.items() if name.endswith("Probe")}
    assert paths.pop("readinessProbe") == "/health/ready"
    assert set(paths) >= {"livenessProbe"}
    assert set(paths.values()) == {"/health/live"}


@each_pod
def test_the_settings_are_the_worker_s(pod: PodTemplate) -> None:
    """They load without a problem or a warning, in http mode on the container's port."""
    port = str(pod.container["ports"][0]["containerPort"])
    settings = load({"PORT": port, **pod.settings}, HostFacts(exists=lambda path: True))
    assert (settings.mode, settings.http.port, settings.warnings) == (Mode.HTTP, int(port), ())


@each_pod
def test_the_pod_has_as_few_rights_as_it_can(pod: PodTemplate) -> None:
    """No root, a read-only root file system, no capability; /tmp, shared memory and models are volumes."""
    rights = {**pod.spec.get("securityContext", {}), **pod.container["securityContext"]}
    assert rights["runAsNonRoot"]
    assert rights["runAsUser"]
    assert rights["readOnlyRootFilesystem"]
    assert not rights["allowPrivilegeEscalation"]
    assert rights["capabilities"] == {"drop": ["ALL"]}
    places = {mount["mountPath"]: mount["name"] for mount in pod.container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
    assert {"/tmp", SHARED_MEMORY, VOLUME} <= set(places)
    assert volumes[places[SHARED_MEMORY]]["emptyDir"]["medium"] == "Memory"
    assert set(places.values()) == set(volumes)


def test_compose_gives_time_to_drain_and_shared_memory() -> None:
    """For each service that runs a worker."""
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    workers = [service for service in services.values() if "stop_grace_period" in service]
    assert len(workers) == 2
    for service in workers:
        assert seconds(service["stop_grace_period"]) > DEFAULT_DRAIN_S + ENGINE_END_S
        assert service["shm_size"] == "1gb"


def test_compose_mounts_what_is_there() -> None:
    """Each file and directory that a service mounts from deploy/, and the rules that Prometheus reads."""
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    mounts = [mount.split(":")[:2] for service in services.values() for mount in service.get("volumes", ())]
    inside = {target: COMPOSE.parent / source for source, target in mounts if source.startswith("./")}
    assert {path for path in inside.values() if not path.exists()} <= {COMPOSE.parent / "observability"}
    rules = yaml.safe_load((COMPOSE.parent / "prometheus.yml").read_text())["rule_files"]
    assert [Path(rule).parent.as_posix() for rule in rules] == ["/etc/worker-vllm"]
    if inside["/etc/worker-vllm"].is_dir():
        assert (inside["/etc/worker-vllm"] / Path(rules[0]).name).is_file()


def test_the_unit_gives_time_to_drain() -> None:
    """And signals the worker alone."""
    values = unit_values()
    assert float(values["TimeoutStopSec"][0]) > DEFAULT_DRAIN_S + ENGINE_END_S
    assert values["KillMode"] == ["mixed"]
    assert f"vllm=={versions.VLLM}" in UNIT.read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """`systemd-analyze verify`, with this checkout's command in the place of the installed one."""
    command = str(Path(sys.executable).parent / "worker-vllm")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/worker-vllm/bin/worker-vllm", command))
    words = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
