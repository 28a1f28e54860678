"""Generated files: never stale, valid by their schemas, empty fields where the engine chooses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.paths import ROOT
from tools.render.__main__ import main as render
from tools.render.files import rendered
from tools.render.hub import hub, hub_tests, load_balancer
from worker_vllm.cli import main
from worker_vllm.forms.check import check_form
from worker_vllm.forms.form import worker_config
from worker_vllm.settings.catalog.catalog import Handling, catalog
from worker_vllm.settings.env_file import read_env_file
from worker_vllm.settings.flags.flag_table import flag_table, marks
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import load
from worker_vllm.settings.types import Mode

RENDERED = rendered()
FORM = worker_config()
SCHEMA = json.loads(RENDERED["docs/worker-config.schema.json"])
GPUS = HostFacts(gpus=2)


@pytest.mark.parametrize("name", sorted(RENDERED))
def test_no_generated_file_is_stale(name: str) -> None:
    """`make render` writes what is checked in."""
    assert (ROOT / name).read_text() == RENDERED[name], f"{name} is stale: run make render"


def test_render_writes_and_lists_stale_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--check exits 1 and writes nothing."""
    assert render(["--root", str(tmp_path), "--check"]) == 1
    assert list(tmp_path.iterdir()) == []
    assert render(["--root", str(tmp_path)]) == 0
    assert render(["--root", str(tmp_path), "--check"]) == 0
    (tmp_path / "docs/models.md").write_text("old")
    capsys.readouterr()
    assert render(["--root", str(tmp_path), "--check"]) == 1
    assert capsys.readouterr().out == "docs/models.md is stale: run make render\n"


def initial_environment(form: dict[str, Any]) -> dict[str, str]:
    """The environment that a form with its initial values sends."""
    values = {field["env_var_name"]: field["value"] for field in form["schema"].values()}
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}


def test_a_form_with_its_initial_values_is_an_empty_environment() -> None:
    """The same engine command, the same job and queue settings."""
    form, empty = load(initial_environment(FORM), GPUS), load({}, GPUS)
    assert (form.engine, form.jobs, form.queue) == (empty.engine, empty.jobs, empty.queue)
    assert form.warnings == empty.warnings


def test_what_the_hub_sends_by_default_is_an_empty_environment() -> None:
    """The defaults of its form change nothing."""
    inputs = [entry["input"] | {"key": entry["key"]} for entry in hub()["config"]["env"]]
    env = {i["key"]: str(i["default"]).lower() for i in inputs if i.get("default", "") != ""}
    assert load(env, GPUS).engine == load({}, GPUS).engine


def test_the_load_balancers_form_serves_http_on_the_port_that_it_names() -> None:
    """It has the fields of the queue's form, and fixes the mode and both ports."""
    config = load_balancer()["config"]
    fixed = {entry["key"]: entry["value"] for entry in config["env"] if "value" in entry}
    settings = load({"MODEL_NAME": "org/m", **fixed})
    assert (settings.mode, settings.http.port, settings.http.health_port) == (Mode.HTTP, 8000, 8000)
    assert settings.warnings == ()
    assert config["endpointType"] == "LB"
    asked = {entry["key"] for entry in config["env"]} - set(fixed)
    assert asked == {entry["key"] for entry in hub()["config"]["env"]} - set(fixed)


@pytest.mark.parametrize("preset", hub()["config"]["presets"], ids=lambda preset: preset["name"])
def test_a_preset_is_a_good_configuration(preset: dict[str, Any]) -> None:
    """And sets only what the form offers."""
    assert load(preset["defaults"]).warnings == ()
    assert set(preset["defaults"]) <= {entry["key"] for entry in hub()["config"]["env"]}


def test_the_form_offers_nothing_that_has_no_effect() -> None:
    """Neither in our form nor in the Hub's."""
    gone = {setting.name for setting in catalog().values() if setting.handling is Handling.GONE}
    assert gone & set(FORM["schema"]) == set()
    assert gone & {entry["key"] for entry in hub()["config"]["env"]} == set()


def test_our_form_is_valid_for_both_checkers() -> None:
    """`config form --check`, and any JSON Schema tool with the published schema."""
    jsonschema.validate(FORM, SCHEMA)
    assert check_form(FORM) == []


def broken(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """Our form with one thing wrong."""
    document = deepcopy(FORM)
    change(document)
    return document


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no schema": (lambda d: d.pop("schema"), "the file: expected schema"),
    "a list for schema": (lambda d: d.update(schema=[]), "schema: expected an object"),
    "an unknown member": (lambda d: d.update(x=1), "x: expected only schema, versions"),
    "no title": (lambda d: d["schema"]["SEED"].pop("title"), "schema.SEED: expected title"),
    "no title and no type": (
        lambda d: [d["schema"]["SEED"].pop(name) for name in ("title", "type")],
        "schema.SEED: expected title, type",
    ),
    "an unknown member of a field": (
        lambda d: d["schema"]["SEED"].update(help="h"),
        "schema.SEED.help: expected only env_var_name, value, title, description, required, type, options",
    ),
    "a text for required": (
        lambda d: d["schema"]["SEED"].update(required="no"),
        "schema.SEED.required: got 'no', expected true or false",
    ),
    "an unknown type": (
        lambda d: d["schema"]["SEED"].update(type="slider"),
        "schema.SEED.type: got 'slider', expected one of text, number, toggle, select",
    ),
    "a toggle of text": (
        lambda d: d["schema"]["ENFORCE_EAGER"].update(value="no"),
        "schema.ENFORCE_EAGER.value: got 'no', expected true or false",
    ),
    "a number of letters": (
        lambda d: d["schema"]["SEED"].update(value="x"),
        "schema.SEED.value: got 'x', expected a number or an empty text",
    ),
    "a text of true": (
        lambda d: d["schema"]["TOKENIZER"].update(value=True),
        "schema.TOKENIZER.value: got True, expected a text",
    ),
    "a select without options": (
        lambda d: d["schema"]["DTYPE"].pop("options"),
        "schema.DTYPE: expected options",
    ),
    "a text with options": (
        lambda d: d["schema"]["TOKENIZER"].update(options=[{"value": "x", "label": "x"}]),
        "schema.TOKENIZER.options: expected options only with the type select",
    ),
    "a list of options without any": (
        lambda d: d["schema"]["DTYPE"].update(options=[]),
        "schema.DTYPE.options: expected a list with at least one option",
    ),
    "an option without label": (
        lambda d: d["schema"]["DTYPE"]["options"].append({"value": "x"}),
        "schema.DTYPE.options[6]: expected label",
    ),
    "a version without image": (
        lambda d: d["versions"]["0.32.0"].pop("imageName"),
        "versions.0.32.0: expected imageName",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_broken_form_is_refused_by_both_checkers(what: str) -> None:
    """One sentence: the place, and what belongs there."""
    change, sentence = DAMAGE[what]
    document = broken(change)
    assert check_form(document) == [sentence]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda d: d["schema"]["SEED"].update(env_var_name="X"),
            "schema.SEED.env_var_name: got 'X', expected 'SEED'",
        ),
        (
            lambda d: d["schema"]["DTYPE"].update(value="x"),
            "schema.DTYPE.value: got 'x', expected one of the options",
        ),
        (
            lambda d: next(iter(d["versions"].values()))["categories"][0]["settings"].append("NOPE"),
            "versions.0.32.0.categories[0].settings: 'NOPE' is not in the schema",
        ),
    ],
)
def test_references_within_the_file_are_checked_too(change: Callable[[dict[str, Any]], Any], sentence: str) -> None:
    """A schema cannot express them."""
    assert check_form(broken(change)) == [sentence]


def test_form_check_is_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0 for a valid form, 78 with every problem for an invalid one, 2 for a file that is not JSON."""
    path = tmp_path / "form.json"
    for document, status in ((FORM, 0), (broken(lambda d: d["schema"]["SEED"].pop("title")), 78)):
        path.write_text(json.dumps(document))
        assert main(["config", "form", "--check", str(path)]) == status
    assert capsys.readouterr().out == "ok\nschema.SEED: expected title\n"
    path.write_text("{")
    assert main(["config", "form", "--check", str(path)]) == 2


def test_the_example_file_loads() -> None:
    """As it is, and with every line of it taken in."""
    text = RENDERED[".env.example"]
    assert load(read_env_file(text, {})).engine.model == "Qwen/Qwen3-0.6B"
    lines = [line.removeprefix("#") for line in text.splitlines() if not line.startswith("# ")]
    filled = read_env_file("\n".join(lines), {}) | {"MODEL_NAME": ""}
    assert load(filled, GPUS).engine == load({}, GPUS).engine


def test_the_example_file_begins_with_the_settings_that_matter() -> None:
    """Those of docs/essentials.md, before any other."""
    page = (ROOT / "docs" / "essentials.md").read_text().partition("\n## ")[0]
    explained = re.findall(r"`([A-Z_]{5,})", page)
    names = re.findall(r"^#?([A-Z_]+)=", RENDERED[".env.example"], re.MULTILINE)
    assert names[: len(set(explained))] == sorted(set(explained), key=names.index)
    assert len(names) == len(set(names))


def test_every_variable_and_flag_is_documented() -> None:
    """In a table of docs/configuration.md."""
    text = RENDERED["docs/configuration.md"]
    missing = [name for name in (*catalog(), *flag_table().flags, *marks().ambient) if f"| `{name}` |" not in text]
    assert missing == []


def test_the_hubs_tests_cover_every_kind_of_request() -> None:
    """Each case is a raw job input with a time limit."""
    assert all(set(case) == {"name", "input", "timeout"} for case in hub_tests()["tests"])
    assert {next(iter(case["input"])) for case in hub_tests()["tests"]} == {"prompt", "messages", "openai_route"}


def test_problems_of_a_form_are_in_the_order_of_the_file() -> None:
    """The schema's validator reads the fields in the order of a set, which changes from process to process."""
    field = {"title": "t", "description": "d", "required": False, "type": "number", "value": "x"}
    fields = {name: {**field, "env_var_name": name} for name in "HGFEDCBA"}
    problems = check_form({"schema": fields, "versions": {}})
    assert [problem.partition(":")[0] for problem in problems] == [f"schema.{name}.value" for name in fields]
