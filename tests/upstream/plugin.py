"""Loaded into upstream's own test run: points its server to one that runs already, and writes down each outcome.

It runs inside a separate pytest process, with upstream's `tests` package on the path; see `run.py`.
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from .stand_ins import MODEL, NAMES

URL = os.environ["UPSTREAM_SERVER_URL"]
OUTCOMES = Path(os.environ["UPSTREAM_OUTCOMES"])
# A server that many modules share cannot have these: they change what every request gets.
OWN_ENGINE = (
    "--api-key",
    "--enable-force-include-usage",
    "--enable-request-id-headers",
    "--enable-server-load-tracking",
    "--return-sampling-mask",
    "--return-tokens-as-token-ids",
    "--root-path",
    "--skip-tokenizer-init",
    "--speculative-config",
    "--tokens-only",
    "--tool-server",
    "--uds",
    "--watermark-config",
    "--worker-extension-cls",
)


class Renamed(ast.NodeTransformer):
    """Names of models on a hub become the stand-in's."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if isinstance(node.value, str) and node.value in NAMES:
            return ast.copy_location(ast.Constant(MODEL), node)
        return node


class Loader(importlib.machinery.SourceFileLoader):
    """Compiles upstream's modules with the stand-in's name; the files stay as they are."""

    def get_code(self, fullname: str) -> types.CodeType:
        path = self.get_filename(fullname)
        tree = Renamed().visit(ast.parse(self.get_data(path), path))
        code: types.CodeType = compile(tree, path, "exec", dont_inherit=True)
        return code


class Finder(importlib.abc.MetaPathFinder):
    """Finds `tests.entrypoints` and what is below it with the loader above."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> Any:
        if not fullname.startswith("tests.entrypoints."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = Loader(fullname, spec.loader.path)
        return spec


def shared_server(base: type) -> type:
    """A class with the methods of upstream's server that starts nothing."""

    class SharedServer(base):  # type: ignore[misc]
        def __init__(self, model: str, vllm_serve_args: Sequence[str], **options: Any) -> None:
            wanted = sorted({part.split("=")[0] for part in map(str, vllm_serve_args)} & set(OWN_ENGINE))
            if wanted:
                pytest.skip(f"needs an engine of its own, with {', '.join(wanted)}")
            if model != MODEL:
                pytest.skip(f"needs the model {model}")
            self.uds = None
            self.show_hidden_metrics = False

        @property
        def url_root(self) -> str:
            return URL

        def __exit__(self, *_: object) -> None:
            pass

    return SharedServer


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Before anything of upstream's is imported, its conftest included."""
    # Upstream's conftest wants it to carry exceptions out of processes, in tests that are not among ours.
    pickling = types.SimpleNamespace(install=lambda: None)
    tblib: Any = types.ModuleType("tblib")
    tblib.pickling_support = pickling
    sys.modules.setdefault("tblib", tblib)
    sys.meta_path.insert(0, Finder())
    utils: Any = importlib.import_module("tests.utils")  # upstream's
    utils.RemoteOpenAIServer = shared_server(utils.RemoteOpenAIServer)


class Recorder:
    """One line of JSON for each test and for each module that could not be collected."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, str]] = {}

    def note(self, report: pytest.TestReport | pytest.CollectReport, outcome: str) -> None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr or "")
        self._seen[report.nodeid] = {
            "outcome": outcome,
            "reason": reason,
            "seconds": f"{getattr(report, 'duration', 0):.1f}",
        }
        self.write()  # a run that is ended early keeps what it has so far

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if hasattr(report, "wasxfail"):
            self.note(report, "xfailed" if report.skipped else "xpassed")
        elif report.when == "call" or report.outcome != "passed":
            self.note(report, report.outcome)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.outcome != "passed":
            self.note(report, f"collection {report.outcome}")

    def write(self) -> None:
        OUTCOMES.write_text(json.dumps(self._seen, indent=1))


def pytest_cmdline_main(config: pytest.Config) -> None:
    config.pluginmanager.register(Recorder())
