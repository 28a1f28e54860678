"""vLLM's flags as data: the content of every file, and the shipped one against the installed engine."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.paths import ROOT
from worker_vllm.engine.preflight.vllm_version import engine_version
from worker_vllm.settings.catalog.catalog import Handling, catalog
from worker_vllm.settings.flags.flag_table import DATA, KINDS_OF_JSON, SHIPPED, flag_table, known_versions, marks

KINDS = {"pair", "switch", "int", "float", "size", "text", "json", "json-or-text", "config"}


def test_more_than_one_version_is_known() -> None:
    """The shipped one, an older and a newer."""
    known = known_versions()
    assert len(known) >= 3
    assert known[0] != SHIPPED != known[-1]
    assert SHIPPED in known


@pytest.mark.parametrize("version", known_versions())
def test_every_file_is_whole(version: str) -> None:
    """Hundreds of flags, each of a known kind; its fields' letters are explained."""
    table = flag_table(version)
    assert len(table.flags) > 250
    assert {flag.kind for flag in table.flags.values()} <= KINDS
    letters = {letter for flag in table.flags.values() for field in flag.fields.values() for letter in field[0]}
    assert letters <= set(KINDS_OF_JSON)
    assert {"LlamaForCausalLM", "Qwen3ForCausalLM"} <= table.servable
    assert "VLLM_LOGGING_LEVEL" in table.variables


def test_every_mark_is_of_a_flag_and_has_a_reason() -> None:
    """A mark for a name that vLLM does not have would have no effect."""
    known = {name for version in known_versions() for name in flag_table(version).flags}
    others = {"MODEL_TAG", "SSL_CERT_FILE"}  # the positional model; a name that looks like a flag's
    listed = {**marks().owned, **marks().ambient, **marks().obeyed}
    assert set(listed) - known == others
    assert all(len(reason) > 10 for reason in listed.values())


def test_every_engine_setting_of_the_catalogue_is_a_flag() -> None:
    """Of the shipped version; a bump that loses one needs a decision."""
    engine = [setting for setting in catalog().values() if setting.handling is Handling.ENGINE]
    assert [setting.name for setting in engine if setting.target not in flag_table().flags] == []


@pytest.mark.vllm
@pytest.mark.matrix
@pytest.mark.timeout(600)
def test_the_data_is_that_of_the_installed_engine() -> None:
    """tools/introspect_vllm.py, run with the engine's own interpreter, writes this very file."""
    version = engine_version(sys.path)
    command = [sys.executable, str(ROOT / "tools" / "introspect_vllm.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads((DATA / f"{version}.json").read_text())
