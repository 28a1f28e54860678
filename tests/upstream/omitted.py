"""Upstream's other modules that start a server, and why the embedded model and a shared engine cannot serve them."""

from __future__ import annotations

from pathlib import Path

from tests.upstream.modules import ENGINES, FOLDER

SEES = "needs a model that sees or hears, and pictures or recordings from the network"
GPT_OSS = "needs gpt-oss, whose format of answers no other model has"
THINKS = "needs a model that reasons or calls tools of its own accord"
QUALITY = "measures the quality of a particular model, with packages and data sets of its own"
STARTS = "tests how the server is started or stopped, with an engine of its own for each case"
CLOSED = "asks routes that are closed to jobs, of servers in a mode that this worker does not start"

# A module, or a folder of them, below FOLDER.
OMITTED: dict[str, str] = {
    "cohere/": CLOSED,
    "generate/structured_decisions/": "needs a model that supports vLLM's structured decisions",
    "launchers/": STARTS,
    "multimodal/": SEES,
    "openai/chat_completion/test_enable_force_include_usage.py": STARTS,
    "openai/chat_completion/test_extra_content_fields.py": SEES,
    "openai/chat_completion/test_root_path.py": STARTS,
    "openai/chat_completion/test_serving_chat.py": "needs gpt-oss for its server; its other tests ask no server",
    "openai/chat_completion/test_thinking_token_budget.py": THINKS,
    "openai/completion/test_prompt_validation.py": "its two tests of a server need gpt2; the others ask no server",
    "openai/completion/test_tensorizer_entrypoint.py": STARTS,
    "openai/completion/test_token_in_token_out.py": STARTS,
    "openai/correctness/": QUALITY,
    "openai/responses/test_harmony.py": GPT_OSS,
    "openai/responses/test_mcp_tools.py": GPT_OSS,
    "openai/responses/test_parsable_context.py": THINKS,
    "openai/responses/test_structured_output.py": THINKS,
    "openai/test_chunked_prompt.py": "needs prompts of 12,000 tokens; the shared engine takes 8,192",
    "openai/test_openai_schema.py": SEES,
    "pooling/classify/test_online_vision.py": SEES,
    "pooling/embed/test_cohere_online_vision.py": SEES,
    "pooling/embed/test_correctness_mteb.py": QUALITY,
    "pooling/embed/test_online_dimensions.py": QUALITY,
    "pooling/embed/test_online_vision.py": SEES,
    "pooling/scoring/test_cross_encoder_correctness_mteb.py": QUALITY,
    "pooling/scoring/test_cross_encoder_online_vision.py": SEES,
    "pooling/scoring/test_late_interaction_online_vision.py": SEES,
    "rl/": CLOSED,
    "scale_out/": CLOSED,
    "serve/dev/rpc/test_collective_rpc.py": CLOSED,
    "serve/instrumentator/test_uds.py": STARTS,
    "serve/sagemaker/": CLOSED,
    "serve/tokenize/test_tokenization_vlm.py": SEES,
    "serve/tokenize/test_tokenize_then_chat_vlm.py": SEES,
    "speech_to_text/": SEES,
    "tool_parsers/": THINKS,
    "unit_tests/test_remote_vllm_server.py": STARTS,
}

# Single tests of modules that run, each of which ends the engine that the others share.
ENDS_ENGINE: dict[str, str] = {
    "openai/completion/test_completion.py::test_prompt_logprobs_completion": (
        "vLLM 0.32.0 on a CPU with adapters: prompt logprobs of two prompts in one step end EngineCore "
        "(lora/punica_wrapper/punica_cpu.py, add_lora_logits takes one row of indices per request, not per token)"
    ),
    "openai/completion/test_completion_with_prompt_embeds.py::test_completions_with_prompt_embeds": (
        "vLLM 0.32.0 on a CPU: prompt embeddings for an adapter ended EngineCore in one of four runs"
    ),
}


# Single tests that need an unused engine: the bare run leaves its state in the engine that both runs share.
NEEDS_UNUSED_ENGINE: dict[str, str] = {
    "anthropic/test_messages.py::test_anthropic_streaming_cache_usage": (
        "it expects an empty prefix cache, which the bare run has filled with the same prompt"
    ),
    "serve/lora/test_lora_adapters.py::test_loading_invalid_adapters_does_not_break_others": (
        "it loads an adapter under a name that the bare run has left loaded"
    ),
}


def unaccounted(source: Path) -> list[str]:
    """Modules that start a server and are neither run nor omitted with a reason, as a new release may bring some."""
    folder = source / FOLDER
    run = {module for engine in ENGINES for module in engine.modules}
    starting = (file for file in folder.rglob("test_*.py") if "RemoteOpenAIServer(" in file.read_text())
    names = sorted(str(file.relative_to(folder)) for file in starting)
    return [name for name in names if name not in run and not name.startswith(tuple(OMITTED))]
