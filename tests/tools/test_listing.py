"""The Hub's files are complete and well-formed, and every error of a broken listing is reported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from tools.publish.listing import problems
from worker_vllm import __version__
from worker_vllm.settings import versions


def test_our_own_listing_is_complete() -> None:
    """hub.json, tests.json, handler.py, Dockerfile and README.md."""
    assert problems(ROOT) == []


def test_the_forms_ask_for_the_release_s_cuda() -> None:
    """One CUDA in the tag, the Hub's filter and the form's minimum."""
    hub = json.loads((ROOT / ".runpod" / "hub.json").read_text())
    cases = json.loads((ROOT / ".runpod" / "tests.json").read_text())
    (version,) = json.loads((ROOT / "worker-config.json").read_text())["versions"].values()
    assert hub["config"]["allowedCudaVersions"] == [versions.MINIMUM_CUDA]
    assert cases["config"]["allowedCudaVersions"] == [versions.MINIMUM_CUDA]
    assert version["minimumCudaVersion"] == versions.MINIMUM_CUDA
    assert version["imageName"] == versions.image_name(__version__)


def change(name: str, edit: Callable[[Any], object]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        path = root / ".runpod" / name
        document = json.loads(path.read_text())
        edit(document)
        path.write_text(json.dumps(document))

    return apply


BROKEN = {
    "no handler": (lambda root: (root / ".runpod/handler.py").unlink(), "handler.py is in neither"),
    "no tests": (lambda root: (root / ".runpod/tests.json").unlink(), ".runpod/tests.json is missing"),
    "a trailing comma": (
        lambda root: (root / ".runpod/tests.json").write_text('{"tests": [],}'),
        ".runpod/tests.json is not JSON",
    ),
    "no case": (change("tests.json", lambda tests: tests.update(tests=[])), "tests is empty"),
    "a case without input": (
        change("tests.json", lambda tests: tests["tests"][0].pop("input")),
        "a case needs name and input",
    ),
    "no title": (change("hub.json", lambda hub: hub.pop("title")), "title is missing"),
    "a category of its own": (change("hub.json", lambda hub: hub.update(category="llm")), "category is 'llm'"),
    "GPUs with spaces": (
        change("hub.json", lambda hub: hub["config"].update(gpuIds="A, B")),
        "config.gpuIds is not a comma list without spaces",
    ),
    "an unknown type": (
        change("hub.json", lambda hub: hub["config"]["env"][0]["input"].update(type="text")),
        "MODEL_NAME: type 'text', expected one of",
    ),
    "a default of another type": (
        change("hub.json", lambda hub: hub["config"]["env"][0]["input"].update(type="number", default="8")),
        "MODEL_NAME: default '8' is not a number",
    ),
    "a key twice": (
        change("hub.json", lambda hub: hub["config"]["env"].append(hub["config"]["env"][0])),
        "config.env has MODEL_NAME twice",
    ),
    "a preset of nothing": (
        change("hub.json", lambda hub: hub["config"].update(presets=[{"name": "p", "defaults": {"NO_SUCH": "1"}}])),
        "preset 'p' sets NO_SUCH, which config.env lacks",
    ),
    "a load balancer's form for a queue": (
        change("load-balancer.json", lambda form: form["config"].pop("endpointType")),
        "config.endpointType is None, expected 'LB'",
    ),
    "a load balancer without its port": (
        change("load-balancer.json", lambda form: form["config"]["env"].remove({"key": "PORT", "value": "8000"})),
        "config.env does not set PORT and PORT_HEALTH",
    ),
}


@pytest.mark.parametrize(("break_it", "sentence"), BROKEN.values(), ids=BROKEN)
def test_every_error_of_a_listing_is_reported(
    tmp_path: Path, break_it: Callable[[Path], object], sentence: str
) -> None:
    """By file and by field."""
    shutil.copytree(ROOT / ".runpod", tmp_path / ".runpod")
    for name in ("Dockerfile", "README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    break_it(tmp_path)
    assert any(sentence in problem for problem in problems(tmp_path)), problems(tmp_path)
