"""A value for each flag of a vLLM version that differs from its default and that the settings accept."""

from __future__ import annotations

import shlex

from worker_vllm.settings.flags.flag_table import Flag, FlagTable, marks
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import build_draft
from worker_vllm.settings.parsers import BadValue
from worker_vllm.settings.translation.variables import engine_flags

MODEL = {"MODEL_NAME": "org/model"}
# What some flags need beside them.
BESIDE = {
    "ENABLE_AUTO_TOOL_CHOICE": "--tool-call-parser hermes",
    "TOOL_CALL_PARSER": "--enable-auto-tool-choice",
    "ENABLE_LOG_OUTPUTS": "--enable-log-requests",
    "RAY_WORKERS_USE_NSIGHT": "--distributed-executor-backend ray",
}
FIRST = {"LORA_MODULES": '[{"name": "one", "path": "org/adapter"}]', "LIMIT_MM_PER_PROMPT": '{"image": 2}'}
TEXTS = (
    "3",
    "0.5",
    "2",
    "5",
    "7",
    "1",
    "8192",
    "on",
    "off",
    '{"a": 1}',
    "{}",
    "a word",
    "word",
    "/data",
    "a.com,b.com",
)


def candidates(flag: Flag) -> list[str]:
    """Texts that may be a value of the flag."""
    fields = [f'{{"{key}": {value}}}' for key in flag.fields for value in ("2", '"text"', "true")]
    first = [FIRST[flag.name]] if flag.name in FIRST else []
    return [*first, *(str(choice) for choice in (*flag.choices, *flag.known)), *TEXTS, *fields]


def samples(table: FlagTable) -> dict[str, str]:
    """Flag → VLLM_EXTRA_ARGS that sets it; without those that only the worker sets."""
    found = {}
    for name, flag in table.flags.items():
        if name in marks().owned:
            continue
        arguments = next((text for text in (_arguments(flag, text) for text in candidates(flag)) if text), None)
        if arguments is not None and _is_accepted(table, name, arguments):
            found[name] = arguments
    return found


def _arguments(flag: Flag, text: str) -> str | None:
    try:
        value = flag.parse(text)
    except BadValue:
        return None
    argv = flag.argv(value)
    if not argv or value == flag.default:
        return None
    return " ".join([shlex.join(argv), BESIDE.get(flag.name, "")]).strip()


def _is_accepted(table: FlagTable, name: str, arguments: str) -> bool:
    draft = build_draft({**MODEL, "VLLM_EXTRA_ARGS": arguments}, HostFacts(vllm=table.version))
    return not draft.problems and name in engine_flags(draft)
