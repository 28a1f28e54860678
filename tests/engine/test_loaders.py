"""The log says what LOAD_FORMAT=auto means on this machine."""

from __future__ import annotations

import pytest

from worker_vllm.engine.loaders import loader_note

AUTO = "LOAD_FORMAT=auto: vLLM reads the weights itself, ahead of need on a network volume; "


@pytest.mark.parametrize(
    ("arguments", "installed", "notes"),
    [
        ([], set(), (AUTO + "no faster loader is installed",)),
        ([], {"runai_model_streamer"}, (AUTO + "LOAD_FORMAT=runai_streamer may be faster",)),
        (
            ["--seed", "1"],
            {"instanttensor", "runai_model_streamer"},
            (AUTO + "LOAD_FORMAT=instanttensor or runai_streamer may be faster",),
        ),
        (["--load-format", "dummy"], {"fastsafetensors"}, ()),
        (["--load_format=safetensors"], set(), ()),
    ],
)
def test_the_loader_is_told_where_the_choice_is_vllms(
    arguments: list[str], installed: set[str], notes: tuple[str, ...]
) -> None:
    assert loader_note(arguments, installed.__contains__) == notes
