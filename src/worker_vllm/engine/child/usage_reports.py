"""Reports the tokens of every sequence that the engine finishes or aborts, as the engine's own counters count them.

A response does not contain exact counts: an aborted stream has no usage, and the engine has generated tokens that its
client never read. vLLM's output processor knows, so its methods that end a sequence also write a report (0.32.0,
v1/engine/output_processor.py). They are replaced when that module is imported; where it has another form, vLLM runs
as it is, and the worker takes the counts from responses.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from worker_vllm.engine.child.report_line import write_report
from worker_vllm.engine.child.request_tag import request_tag

OUTPUT_PROCESSOR = "vllm.v1.engine.output_processor"
TRACING = "vllm.tracing.utils"
# In the request id that the worker has chosen, after vLLM's own prefix. The first one counts: the rest of the id may
# be a client's.
TAG = re.compile(r"(?:^|-)([0-9a-f]{16})(?:[._-]|$)")
# vLLM's names of span attributes, by the constant that holds them → OpenTelemetry's names for generative AI.
GENAI_NAMES = {
    "GEN_AI_USAGE_PROMPT_TOKENS": "gen_ai.usage.input_tokens",
    "GEN_AI_USAGE_COMPLETION_TOKENS": "gen_ai.usage.output_tokens",
    "GEN_AI_LATENCY_TIME_TO_FIRST_TOKEN": "gen_ai.server.time_to_first_token",
    "GEN_AI_LATENCY_E2E": "gen_ai.server.request.duration",
    "GEN_AI_REQUEST_N": "gen_ai.request.choice.count",
    "GEN_AI_REQUEST_ID": "gen_ai.response.id",
}

Change = Callable[[ModuleType], None]


class AfterImport(MetaPathFinder, Loader):
    """Changes a module right after its import, without importing it earlier than vLLM does."""

    def __init__(self, changes: dict[str, Change]) -> None:
        self._changes = changes
        self._loaders: dict[str, Loader] = {}

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module's own spec with this object as its loader; None for every other module."""
        if name not in self._changes or name in self._loaders:
            return None
        self._loaders[name] = self  # the search below must not find this object again
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        self._loaders[name], spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the module's own loader does."""
        return self._loaders[spec.name].create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then change it. A change that does not fit leaves the module as it is."""
        self._loaders[module.__name__].exec_module(module)
        try:
            self._changes[module.__name__](module)
        except (AttributeError, TypeError) as error:
            sys.stderr.write(f"the engine reports no usage, {module.__name__} has another form: {error}\n")


def install(finders: list[Any] = sys.meta_path) -> None:
    """Change vLLM's modules when they are imported. Imports nothing of vLLM; a second call does nothing.

    A process that is forked from the template has the template's finder, and imports the main module once more.
    """
    if any(isinstance(finder, AfterImport) for finder in finders):
        return
    finders.insert(0, AfterImport({OUTPUT_PROCESSOR: report_usage, TRACING: rename_attributes}))


def rename_attributes(module: ModuleType) -> None:
    """Give span attributes the names of OpenTelemetry's conventions."""
    for constant, name in GENAI_NAMES.items():
        if hasattr(module.SpanAttributes, constant):
            setattr(module.SpanAttributes, constant, name)


def report_usage(module: ModuleType, write: Callable[[object], None] = write_report) -> None:
    """Have the output processor report each sequence that it finishes or aborts."""
    processor = module.OutputProcessor
    finished, aborted = processor._update_stats_from_finished, processor.abort_requests
    add = processor.add_request

    def on_add(self: Any, request: Any, *arguments: Any, **named: Any) -> Any:
        result = add(self, request, *arguments, **named)
        if (tag := request_tag.get()) is not None and (state := self.request_states.get(request.request_id)):
            state.worker_tag = tag
        return result

    def on_finished(self: Any, req_state: Any, *arguments: Any, **named: Any) -> Any:
        result = finished(self, req_state, *arguments, **named)
        report(self, req_state, write, ())
        return result

    def on_abort(self: Any, request_ids: Iterable[str], internal: bool) -> Any:
        ids = list(request_ids)
        own = ids if internal else [one for each in ids for one in self.external_req_ids.get(each, ())]
        states = [self.request_states[one] for one in own if one in self.request_states]
        result = aborted(self, ids, internal)
        while states:
            report(self, states.pop(), write, states)
        return result

    processor._update_stats_from_finished, processor.abort_requests = on_finished, on_abort
    processor.add_request = on_add


def report(processor: Any, state: Any, write: Callable[[object], None], next_ones: Sequence[Any]) -> None:
    """Write the report of one sequence that is over; nothing for a request that the worker did not tag.

    `next_ones` are over too, and will be reported after it.
    """
    tag = tag_of_state(state)
    if tag is None:
        return
    try:
        write({"usage": usage(state, tag, [*processor.request_states.values(), *next_ones])})
    except (AttributeError, TypeError, ValueError) as error:
        sys.stderr.write(f"the usage of {state.external_req_id} cannot be read: {error}\n")


def tag_of(request_id: str) -> str | None:
    """The worker's tag in a request id; None in one that the worker did not choose."""
    found = TAG.search(request_id)
    return found[1] if found else None


def tag_of_state(state: Any) -> str | None:
    """The worker's tag of a sequence: noted when it was added, or in its request's id."""
    return getattr(state, "worker_tag", None) or tag_of(state.external_req_id)


def usage(state: Any, tag: str, all_others: Sequence[Any]) -> dict[str, Any]:
    """The counts of one sequence, and how many of all others are of its request: their reports are still to come."""
    stats = state.stats
    others = sum(tag_of_state(one) == tag for one in all_others if one is not state)
    if stats is None:  # --disable-log-stats: only what the answer holds is known
        made = state.detokenizer.num_output_tokens() if state.detokenizer is not None else 0
        return {"tag": tag, "prompt": state.prompt_len, "cached": 0, "completion": made, "unfinished": others}
    read = stats.first_token_ts > 0  # before, no counter has the prompt
    return {
        "tag": tag,
        "prompt": state.prompt_len if read else 0,
        "cached": (state.num_cached_tokens or 0) if read else 0,
        "completion": stats.num_generation_tokens,
        "unfinished": others,
        "wait_s": round(max(0.0, stats.scheduled_ts - stats.queued_ts), 6) if stats.scheduled_ts else 0.0,
        "first_token_s": round(stats.first_token_latency, 6),
        "decode_s": round(max(0.0, stats.last_token_ts - stats.first_token_ts), 6) if read else 0.0,
    }
