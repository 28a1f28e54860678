"""Old names and values with one modern counterpart."""

from __future__ import annotations

from worker_vllm.settings.builder import ENVIRONMENT, SettingsBuilder
from worker_vllm.settings.catalog.catalog import catalog

OLD_BLOCK_SIZE = 16


def translate(draft: SettingsBuilder) -> None:
    """Translate tokenizer, executor, structured output, chat template, task and attention settings."""
    _tokenizer_mode(draft)
    _executor(draft)
    _tokenizer_pool(draft)
    _block_size(draft)
    _structured_outputs(draft)
    _task(draft)
    if template := draft.env.get("CUSTOM_CHAT_TEMPLATE"):
        draft.set_flag("CHAT_TEMPLATE", template, ENVIRONMENT, "CUSTOM_CHAT_TEMPLATE")
    backend = draft.env.get("VLLM_ATTENTION_BACKEND")
    if backend and "ATTENTION_BACKEND" not in draft.engine and "VLLM_ATTENTION_BACKEND" not in draft.table.variables:
        draft.set_flag("ATTENTION_BACKEND", backend, ENVIRONMENT, "VLLM_ATTENTION_BACKEND")
        draft.warn("VLLM_ATTENTION_BACKEND is read as ATTENTION_BACKEND: vLLM made it a flag")


def _tokenizer_mode(draft: SettingsBuilder) -> None:
    mode = draft.env.get("TOKENIZER_MODE")
    if mode is None:
        return
    mode = mode.lower()
    if mode == "slow" and mode not in draft.table.flags["TOKENIZER_MODE"].known:
        draft.warn("TOKENIZER_MODE=slow is read as hf: vLLM removed slow tokenizers")
        mode = "hf"
    draft.set_flag("TOKENIZER_MODE", mode, ENVIRONMENT, "TOKENIZER_MODE")


def _executor(draft: SettingsBuilder) -> None:
    if draft.parsed(catalog()["WORKER_USE_RAY"]) and "DISTRIBUTED_EXECUTOR_BACKEND" not in draft.engine:
        draft.set_flag("DISTRIBUTED_EXECUTOR_BACKEND", "ray", ENVIRONMENT, "WORKER_USE_RAY")
        draft.warn("WORKER_USE_RAY is read as DISTRIBUTED_EXECUTOR_BACKEND=ray")


def _tokenizer_pool(draft: SettingsBuilder) -> None:
    size = draft.parsed(catalog()["TOKENIZER_POOL_SIZE"])
    if size is not None and size > 1 and "RENDERER_NUM_WORKERS" not in draft.engine:
        draft.set_flag("RENDERER_NUM_WORKERS", size, ENVIRONMENT, "TOKENIZER_POOL_SIZE")
        draft.warn(f"TOKENIZER_POOL_SIZE={size} is read as RENDERER_NUM_WORKERS={size}")


def _block_size(draft: SettingsBuilder) -> None:
    """16 is the old forms' default, which some attention backends, the CPU's among them, refuse."""
    size = draft.parsed(catalog()["BLOCK_SIZE"])
    if size == OLD_BLOCK_SIZE:
        draft.warn("BLOCK_SIZE=16, the old default, is left to vLLM: not every attention backend supports it")
    elif size is not None:
        draft.set_flag("BLOCK_SIZE", size, ENVIRONMENT, "BLOCK_SIZE")


def _structured_outputs(draft: SettingsBuilder) -> None:
    backend = draft.env.get("GUIDED_DECODING_BACKEND")
    if backend is None:
        return
    flag = draft.table.flags["STRUCTURED_OUTPUTS_CONFIG"]
    allowed = [option.removeprefix("=") for option in flag.fields.get("backend", ()) if option.startswith("=")]
    if allowed and backend not in allowed:
        draft.refuse(
            "GUIDED_DECODING_BACKEND", f"one of {', '.join(allowed)}", "choose one of them, or leave it empty"
        )
        return
    config = draft.flag_value("STRUCTURED_OUTPUTS_CONFIG") or {}
    if config.get("backend", backend) != backend:
        draft.warn(f"GUIDED_DECODING_BACKEND={backend} is ignored: STRUCTURED_OUTPUTS_CONFIG names another backend")
        return
    merged = {**config, "backend": backend}
    draft.set_flag("STRUCTURED_OUTPUTS_CONFIG", merged, ENVIRONMENT, "GUIDED_DECODING_BACKEND")


def _task(draft: SettingsBuilder) -> None:
    """Translate TASK to RUNNER and CONVERT."""
    task = draft.env.get("TASK", "").lower()
    if task in ("", "auto"):
        return
    words = {
        "generate": ("generate", "auto"),
        "embed": ("pooling", "embed"),
        "embedding": ("pooling", "embed"),
        "classify": ("pooling", "classify"),
        "score": ("pooling", "classify"),
        "reward": ("pooling", "auto"),
        "transcription": ("generate", "auto"),
    }
    if task not in words:
        draft.refuse("TASK", f"one of {', '.join(words)}", "choose one of them, or set RUNNER and CONVERT")
        return
    for name, value in zip(("RUNNER", "CONVERT"), words[task], strict=True):
        if name not in draft.engine and value != "auto":
            draft.set_flag(name, value, ENVIRONMENT, "TASK")
    draft.warn(f"TASK={task} is read as RUNNER={words[task][0]}, CONVERT={words[task][1]}")
