"""A syntax error in a chat template is reported before an engine starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.engines.broken_models import PARROT, copy_of_parrot, whole
from worker_vllm.engine.diagnosis.types import Scope
from worker_vllm.engine.preflight.chat_template import template_problems
from worker_vllm.engine.preflight.preflight import preflight
from worker_vllm.settings.types import EngineSettings

LOOP = "{% for message in messages %}\n{{ message.content }}\n"
WHOLE = LOOP + "{% break %}{% generation %}x{% endgeneration %}{{ messages | tojson(indent=2) }}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (WHOLE, None),
        ((PARROT / "chat_template.jinja").read_text() if (PARROT / "chat_template.jinja").exists() else WHOLE, None),
        (
            LOOP + "{{ message.role }",
            "CUSTOM_CHAT_TEMPLATE=\"{{ message.role }\": expected a Jinja template; line 3: unexpected '}'",
        ),
        (
            LOOP,
            'CUSTOM_CHAT_TEMPLATE="{{ message.content }}": expected a Jinja template; line 2: Unexpected end of '
            "template. Jinja was looking for the following tags: 'endfor' or 'else'. The innermost block that needs "
            "to be closed is 'for'.",
        ),
        (
            "{% fro x in y %}",
            'CUSTOM_CHAT_TEMPLATE="{% fro x in y %}": expected a Jinja template; line 1: Encountered '
            "unknown tag 'fro'.",
        ),
    ],
    ids=["transformers' own tags", "the parrot's", "missing brace", "missing end", "unknown tag"],
)
@pytest.mark.parametrize("in_file", [False, True], ids=["text", "file"])
def test_a_syntax_error_is_reported_with_its_line(
    tmp_path: Path, template: str, problem: str | None, in_file: bool
) -> None:
    """For a template given as text and as a file."""
    path = tmp_path / "template.jinja"
    path.write_text(template)
    problems = template_problems(("--chat-template", str(path) if in_file else template))
    assert [str(each) for each in problems] == ([] if problem is None else [problem])


def test_a_start_with_a_syntax_error_is_refused(tmp_path: Path) -> None:
    """The refusal contains the line; it is a fault of the settings."""
    model = copy_of_parrot(tmp_path, whole)
    settings = EngineSettings(model=str(model), served_names=("m",), arguments=("--chat-template", "{% if %}"))
    refusal = preflight(settings, {}).refusal
    assert refusal is not None
    assert (refusal.scope, "line 1" in refusal.sentence) == (Scope.SETTINGS, True)


@pytest.mark.parametrize("arguments", [(), ("--chat-template", "/no/such/file\0"), ("--chat-template=",)])
def test_without_a_template_there_is_nothing_to_check(arguments: tuple[str, ...]) -> None:
    """A wrong path is reported by the engine."""
    assert template_problems(arguments) == ()
