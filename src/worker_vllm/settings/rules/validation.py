"""Rules between settings, checked once all are known: what vLLM would refuse is reported before it starts."""

from __future__ import annotations

from worker_vllm.settings.builder import ENVIRONMENT, SettingsBuilder
from worker_vllm.settings.catalog.catalog import catalog
from worker_vllm.settings.legacy.adapters import read_adapters
from worker_vllm.settings.parsers import BadValue
from worker_vllm.settings.rules.tensor_parallel import attention_heads, automatic_size
from worker_vllm.settings.suggestions import nearest

LONGEST_ARGUMENT = 128 * 1024 - 1  # bytes of one argv item that Linux takes
# Values that older releases accepted, and their replacement.
DROPPED = {
    ("QUANTIZATION", "squeezellm"): "SqueezeLLM was removed from vLLM: use an AWQ, GPTQ or FP8 version of the model",
    (
        "QUANTIZATION",
        "bitsandbytes",
    ): "bitsandbytes was removed from vLLM: use QUANTIZATION=fp8, or an AWQ or GPTQ version",
    ("QUANTIZATION", "gguf"): "GGUF was removed from vLLM: use the model's original repository or an AWQ version",
    ("LOAD_FORMAT", "bitsandbytes"): "bitsandbytes was removed from vLLM: remove it, or use QUANTIZATION=fp8",
    ("LOAD_FORMAT", "gguf"): "GGUF was removed from vLLM: use the model's original repository",
}
# A plugin may add words to these lists.
PLUGINS = {"TOOL_CALL_PARSER": "TOOL_PARSER_PLUGIN", "REASONING_PARSER": "REASONING_PARSER_PLUGIN"}
JINJA = frozenset("{}\n")


def check(draft: SettingsBuilder) -> None:
    """Apply every rule on its own, so that all problems are reported at once."""
    for rule in (
        _closed_lists,
        _tool_calls,
        _log_outputs,
        _chat_template,
        _adapters,
        _lora_sizes,
        _speculative_sizes,
        _unchunked_prefill,
        _keep_alive,
        _ray_profiling,
        _architecture,
        _tokenizer,
    ):
        rule(draft)


def choose_parallel_size(draft: SettingsBuilder) -> None:
    """Read TENSOR_PARALLEL_SIZE; `default_parallel_size` fills it in when it is not set."""
    size = draft.parsed(catalog()["TENSOR_PARALLEL_SIZE"])
    if size is not None:
        draft.set_flag("TENSOR_PARALLEL_SIZE", size, ENVIRONMENT, "TENSOR_PARALLEL_SIZE")


def default_parallel_size(draft: SettingsBuilder) -> None:
    """Set TENSOR_PARALLEL_SIZE to as many GPUs as the heads allow, unless it is set already."""
    others = [draft.flag_value(f"{kind}_PARALLEL_SIZE") or 1 for kind in ("PIPELINE", "DATA")]
    free = (draft.facts.gpus or 1) // (others[0] * others[1])
    if "TENSOR_PARALLEL_SIZE" in draft.engine or free < 2:
        return
    heads = attention_heads(draft.facts.model_config)
    size = automatic_size(free, heads)
    if size < free:
        why = (
            f"its {heads} attention heads do not divide by {free}"
            if heads
            else "the model's config.json is not on disk yet"
        )
        draft.warn(f"TENSOR_PARALLEL_SIZE is {size} of {free} GPUs: {why}")
    draft.set_flag("TENSOR_PARALLEL_SIZE", size, "default", "TENSOR_PARALLEL_SIZE")


def _closed_lists(draft: SettingsBuilder) -> None:
    for name, chosen in draft.engine.items():
        flag, plugin = draft.table.flags[name], PLUGINS.get(name, "")
        if (
            name == "CHAT_TEMPLATE"
            or not flag.known
            or not isinstance(chosen.value, str)
            or chosen.value in flag.known
        ):
            continue
        word = chosen.value.lower()
        if word not in flag.known and (gone := DROPPED.get((name, word))):
            draft.refuse(chosen.key, "a value that vLLM still has", gone, chosen.value)
        elif name == "ATTENTION_BACKEND" and chosen.value.upper() in flag.known:
            continue
        elif plugin not in draft.engine and not (name == "DISTRIBUTED_EXECUTOR_BACKEND" and "." in chosen.value):
            meant = nearest(chosen.value, flag.known)
            change = f"write {meant}" if meant else "choose one of them"
            draft.refuse(chosen.key, f"one of {', '.join(flag.known)}", change, chosen.value)


def _tool_calls(draft: SettingsBuilder) -> None:
    if draft.flag_value("ENABLE_AUTO_TOOL_CHOICE") and not draft.flag_value("TOOL_CALL_PARSER"):
        parsers = ", ".join(draft.table.flags["TOOL_CALL_PARSER"].known)
        draft.refuse(
            "ENABLE_AUTO_TOOL_CHOICE", "TOOL_CALL_PARSER beside it", f"set TOOL_CALL_PARSER to one of {parsers}"
        )


def _log_outputs(draft: SettingsBuilder) -> None:
    if draft.flag_value("ENABLE_LOG_OUTPUTS") and not draft.flag_value("ENABLE_LOG_REQUESTS"):
        draft.refuse("ENABLE_LOG_OUTPUTS", "ENABLE_LOG_REQUESTS=1 beside it", "set it, or remove ENABLE_LOG_OUTPUTS")


def _chat_template(draft: SettingsBuilder) -> None:
    chosen, flag = draft.engine.get("CHAT_TEMPLATE"), draft.table.flags["CHAT_TEMPLATE"]
    if chosen is None:
        return
    literal = not JINJA.isdisjoint(chosen.value)
    if literal and len(chosen.value.encode()) > LONGEST_ARGUMENT:
        draft.refuse(chosen.key, f"at most {LONGEST_ARGUMENT} bytes", "put it into a file and give the file's path")
    elif not literal and not draft.facts.exists(chosen.value) and chosen.value not in flag.known:
        draft.refuse(
            chosen.key, "a Jinja template, or the path of an existing file", "correct the path", chosen.value
        )


def _adapters(draft: SettingsBuilder) -> None:
    chosen = draft.engine.get("LORA_MODULES")
    if chosen is None:
        return
    try:
        names = [read_adapters(item)[0]["name"] for item in chosen.value]
    except BadValue as bad:
        draft.refuse(chosen.key, bad.expected, bad.change, chosen.value)
        return
    served = draft.fields["engine.served_names"].value
    for name in sorted({name for name in names if name in served}):
        draft.refuse(chosen.key, "adapter names that differ from the model's", f"rename the adapter {name}", name)
    if not draft.flag_value("ENABLE_LORA"):
        draft.set_flag("ENABLE_LORA", True, chosen.source, chosen.key)


def _lora_sizes(draft: SettingsBuilder) -> None:
    most, batch = draft.flag_value("MAX_CPU_LORAS"), draft.flag_value("MAX_LORAS") or 1
    if draft.flag_value("ENABLE_LORA") and most is not None and most < batch:
        key = draft.engine["MAX_CPU_LORAS"].key
        draft.refuse(key, f"at least MAX_LORAS, which is {batch}", f"write {batch} or more", most)


def _speculative_sizes(draft: SettingsBuilder) -> None:
    config = draft.flag_value("SPECULATIVE_CONFIG") or {}
    size = config.get("draft_tensor_parallel_size") if isinstance(config, dict) else None
    target = draft.flag_value("TENSOR_PARALLEL_SIZE") or 1
    if size not in (None, 1, target):
        key = draft.first_set("SPECULATIVE_DRAFT_TENSOR_PARALLEL_SIZE") or draft.engine["SPECULATIVE_CONFIG"].key
        draft.refuse(key, f"1, or as many as the model's {target}", "write one of these", size)


def _unchunked_prefill(draft: SettingsBuilder) -> None:
    """Without chunked prefill a prompt of MAX_MODEL_LEN must fit into one step."""
    step, longest = draft.flag_value("MAX_NUM_BATCHED_TOKENS"), draft.flag_value("MAX_MODEL_LEN")
    if draft.flag_value("ENABLE_CHUNKED_PREFILL") is False and step and longest and 0 < step < longest:
        change = f"write {longest} or more, or leave ENABLE_CHUNKED_PREFILL empty"
        draft.refuse(draft.engine["MAX_NUM_BATCHED_TOKENS"].key, f"at least MAX_MODEL_LEN, {longest}", change, step)


def _keep_alive(draft: SettingsBuilder) -> None:
    seconds = draft.flag_value("SSE_KEEP_ALIVE_INTERVAL") or 0
    if seconds < 0:
        draft.refuse(
            draft.engine["SSE_KEEP_ALIVE_INTERVAL"].key, "0 or more seconds", "write 0 to switch it off", seconds
        )


def _ray_profiling(draft: SettingsBuilder) -> None:
    if draft.flag_value("RAY_WORKERS_USE_NSIGHT") and draft.flag_value("DISTRIBUTED_EXECUTOR_BACKEND") != "ray":
        draft.refuse(
            "RAY_WORKERS_USE_NSIGHT", "DISTRIBUTED_EXECUTOR_BACKEND=ray beside it", "set it too, or remove this"
        )


def _architecture(draft: SettingsBuilder) -> None:
    """Refuse an architecture that this vLLM cannot serve, with the nearest one that it can."""
    config = draft.facts.model_config or {}
    listed = config.get("architectures")
    named = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    if not named or config.get("auto_map") or any(name in draft.table.servable for name in named):
        return
    past = named[0] in draft.table.architectures.get("no longer supported", ())
    meant = nearest(named[0], draft.table.servable)
    expected = (
        f"a model whose architecture vLLM {draft.table.version} {'still ' if past else ''}serves, not {named[0]}"
    )
    change = f"choose another model; the nearest architecture is {meant}" if meant else "choose another model"
    model = draft.fields.get("engine.model")
    draft.refuse("MODEL_NAME", expected, change, model.value if model else None)


def _tokenizer(draft: SettingsBuilder) -> None:
    if draft.flag_value("SKIP_TOKENIZER_INIT"):
        draft.warn("SKIP_TOKENIZER_INIT: without a tokenizer only token ids work; every text route fails")
