"""The engine's command line, read and changed by flag, as vLLM's own parser would read it."""

from __future__ import annotations

import pytest

from worker_vllm.settings.arguments import SHORT_FLAGS, EngineArguments, Option
from worker_vllm.settings.flags.flag_table import flag_table, known_versions


@pytest.mark.parametrize(
    ("argv", "flag", "value"),
    [
        ("--max-model-len 8", "--max-model-len", "8"),
        ("--max-model-len=8", "--max-model-len", "8"),
        ("--max_model_len 8", "--max-model-len", "8"),
        ("--max_model_len=8_k", "--max-model-len", "8_k"),
        ("--max-model-len 8", "--max_model_len", "8"),
        ("--max-model-len 8 --max-model-len=9", "--max-model-len", "9"),
        ("--seed -1", "--seed", "-1"),
        ("--seed=-1", "--seed", "-1"),
        ("--download-dir=", "--download-dir", ""),
        ("-tp 2", "--tensor-parallel-size", "2"),
        ("-tp=2", "--tensor-parallel-size", "2"),
        ("--tensor-parallel-size 2", "-tp", "2"),
        ("-tp 2 --tensor_parallel_size=4", "--tensor-parallel-size", "4"),
        ("-O3", "--optimization-level", "3"),
        ("-O=3", "--optimization-level", "3"),
        ("-O 3", "--optimization-level", "3"),
        ("-Odecode", "-O", "decode"),
        ("--enforce-eager --seed 1", "--enforce-eager", None),
        ("--max-model-len-suffix 8", "--max-model-len", None),
        ("--hf-overrides.rope.type yarn", "--hf-overrides", None),
        ("serve --seed 1", "serve", None),
        ("", "--seed", None),
    ],
)
def test_a_value_in_every_spelling(argv: str, flag: str, value: str | None) -> None:
    """The last occurrence counts; one key of an object is not the flag's value."""
    assert EngineArguments(argv.split()).get(flag) == value


@pytest.mark.parametrize(
    ("argv", "flags", "given"),
    [
        ("--enforce-eager", ("--enforce-eager",), True),
        ("--enforce_eager", ("--enforce-eager",), True),
        ("--no-enforce-eager", ("--enforce-eager",), False),
        ("--no-enforce-eager", ("--enforce-eager", "--no-enforce-eager"), True),
        ("--compilation-config={}", ("--compilation-config",), True),
        ("-cc.level 3", ("--compilation-config",), True),
        ("--compilation_config.pass_config.x=1", ("--compilation-config",), True),
        ("-O3", ("--optimization-level",), True),
        ("--config-format hf", ("--config",), False),
        ("--served-model-name --seed", ("--seed",), True),
        ("--lora-modules seed=--x", ("--x",), False),
        ("-1", ("-1",), False),
        ("", ("--seed",), False),
    ],
)
def test_a_flag_that_is_given(argv: str, flags: tuple[str, ...], given: bool) -> None:
    """A key of an object counts, a value that looks like a flag's name does not."""
    assert EngineArguments(argv.split()).has(*flags) is given


@pytest.mark.parametrize(
    ("argv", "values"),
    [
        (("--lora-modules", "a=/a", "b=/b", "--seed", "1"), ("a=/a", "b=/b")),
        (("--lora-modules=a=/a", "b=/b"), ("a=/a", "b=/b")),
        (("--lora-modules", '{"name": "a", "path": "/a"}'), ('{"name": "a", "path": "/a"}',)),
        (("--lora_modules", "a=/a", "--lora-modules", "b=/b"), ("b=/b",)),
        (("--lora-modules",), ()),
        ((), ()),
    ],
)
def test_a_flag_with_several_values(argv: tuple[str, ...], values: tuple[str, ...]) -> None:
    """They end at the next flag; a second occurrence replaces the first."""
    assert EngineArguments(argv).values("--lora-modules") == values


@pytest.mark.parametrize(
    ("argv", "left"),
    [
        ("--seed 1 --revision v1 --dtype auto", "--seed 1 --dtype auto"),
        ("--revision=v1 --seed=1", "--seed=1"),
        ("--seed 1 --revision v1 --revision v2", "--seed 1"),
        ("-tp 2 --seed 1", "--seed 1"),
        ("serve model --seed 1", "serve model --seed 1"),
    ],
)
def test_without_flags_and_their_values(argv: str, left: str) -> None:
    """Everything else stays in its order and spelling."""
    assert EngineArguments(argv.split()).without("--revision", "--tensor-parallel-size").argv == tuple(left.split())


@pytest.mark.parametrize(
    ("argv", "flag", "values", "changed"),
    [
        ("--seed 1", "--dtype", ("auto",), "--seed 1 --dtype auto"),
        ("--dtype half --seed 1", "--dtype", ("auto",), "--seed 1 --dtype auto"),
        ("--dtype=half --seed 1 --dtype auto", "--dtype", ("auto",), "--seed 1 --dtype auto"),
        ("-tp 2", "--tensor-parallel-size", ("4",), "--tensor-parallel-size 4"),
        ("--seed 1", "--enforce-eager", (), "--seed 1 --enforce-eager"),
    ],
)
def test_with_a_flag(argv: str, flag: str, values: tuple[str, ...], changed: str) -> None:
    """It stands at the end and replaces every earlier occurrence; the first command line is left as it was."""
    before = EngineArguments(argv.split())
    assert before.with_(flag, *values).argv == tuple(changed.split())
    assert before == EngineArguments(argv.split())


@pytest.mark.parametrize(
    ("argv", "changed"),
    [
        ("--tokenizer a --seed 1", "--tokenizer <a> --seed 1"),
        ("--tokenizer=a=b --seed 1", "--tokenizer=<a=b> --seed 1"),
        ("--lora_modules a b --seed 1", "--lora_modules <a> <b> --seed 1"),
        ("--lora-modules=a b", "--lora-modules=<a> <b>"),
        ("--tokenizer.key a", "--tokenizer.key a"),
    ],
)
def test_replaced_values(argv: str, changed: str) -> None:
    """Only the values of the named flags change."""
    replacements = {"--tokenizer": "<{}>".format, "--lora-modules": "<{}>".format}
    assert EngineArguments(argv.split()).replace_values(replacements).argv == tuple(changed.split())


def test_options() -> None:
    """The words grouped by flag, those before the first flag under none."""
    argv = ("serve", "model", "--hf_overrides.rope_type=yarn", "-O1", "--chat-template", "- a b", "--seed", "-1")
    assert EngineArguments(argv).options == (
        Option("", "", ("serve", "model"), ("serve", "model")),
        Option("--hf-overrides", "rope_type", ("yarn",), ("--hf_overrides.rope_type=yarn",)),
        Option("--optimization-level", "", ("1",), ("-O1",)),
        Option("--chat-template", "", ("- a b",), ("--chat-template", "- a b")),
        Option("--seed", "", ("-1",), ("--seed", "-1")),
    )


@pytest.mark.parametrize("version", known_versions())
def test_every_short_flag_of_vllm_is_known(version: str) -> None:
    """The table agrees with the parser of each supported version."""
    flags = flag_table(version).flags.values()
    short = {alias: flag.flag for flag in flags for alias in flag.aliases if not alias.startswith("--")}
    assert {**short, "-O": "--optimization-level"} == SHORT_FLAGS
