"""The settings that the documentation and the examples show are valid, without a warning."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from worker_vllm.engine.preflight.chat_template import template_problems
from worker_vllm.host_inspection import inspect_host
from worker_vllm.settings.env_file import read_env_file
from worker_vllm.settings.flags.flag_table import flag_table
from worker_vllm.settings.load import load

PAGES = ("recipes.md", "essentials.md", "quickstart.md", "runpod.md", "api.md")
BLOCKS = [
    pytest.param(block, id=f"{page}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```ini\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_recipe_is_accepted_without_a_warning(block: str) -> None:
    """Every variable is known, every value is valid, and every line has an effect."""
    environment = read_env_file(block, {})
    assert environment
    settings = load(environment)
    assert settings.warnings == ()
    assert template_problems(settings.engine.arguments) == ()


def test_the_pages_show_recipes() -> None:
    assert len(BLOCKS) >= 12


READY = ROOT / "examples" / "settings"
YAML = [
    *re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "essentials.md").read_text(), re.DOTALL),
    (READY / "engine.yaml").read_text(),
]


@pytest.mark.parametrize("path", sorted(READY.glob("*.env")), ids=lambda path: path.stem)
def test_a_ready_file_is_accepted_without_a_warning(path: Path) -> None:
    assert load(read_env_file(path.read_text(), {})).warnings == ()


@pytest.mark.parametrize("text", YAML, ids=["essentials.md", "engine.yaml"])
def test_a_configuration_file_is_read_without_a_warning(text: str, tmp_path: Path) -> None:
    """Every flag of it reaches the engine's command."""
    path = tmp_path / "engine.yaml"
    path.write_text(text)
    environment = {"VLLM_CONFIG_FILE": str(path)} | ({} if "\nmodel: " in text else {"MODEL_NAME": "Qwen/Qwen3-8B"})
    settings = load(environment, inspect_host(environment))
    assert settings.warnings == ()
    keys = set(re.findall(r"^([\w-]+):", text, re.MULTILINE)) - {"model"}
    command = {argument.split("=")[0] for argument in settings.engine.arguments}
    assert {f"--{key}" for key in keys} - command == set()


def test_every_ready_file_is_listed() -> None:
    page = (ROOT / "examples" / "README.md").read_text()
    assert [path.name for path in READY.iterdir() if f"`{path.name}`" not in page] == []


def test_the_parsers_of_the_recipes_are_vllms() -> None:
    """The table of tool and reasoning parsers."""
    table = (ROOT / "docs" / "recipes.md").read_text().partition("| model family |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| [^|`]+ \| `(\w+)` \| (?:`(\w+)` )?\|$", table, re.MULTILINE)
    flags = flag_table().flags
    assert len(rows) >= 7
    assert {tool for tool, _ in rows} - set(flags["TOOL_CALL_PARSER"].known) == set()
    assert {reasoning for _, reasoning in rows if reasoning} - set(flags["REASONING_PARSER"].known) == set()
