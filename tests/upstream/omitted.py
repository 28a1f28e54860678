"""Upstream's other modules that start a server, and why the embedded model and a shared engine cannot serve them."""

from __future__ import annotations

from pathlib import Path

from upstream.modules import ENGINES, FOLDER

OMITTED: dict[str, str] = {
    **dict.fromkeys(
        ("multimodal/", "pooling/embed/test_cohere_online_vision.py", "pooling/embed/test_online_vision.py")
        + ("pooling/classify/test_online_vision.py", "pooling/scoring/test_cross_encoder_online_vision.py")
        + ("pooling/scoring/test_late_interaction_online_vision.py", "openai/test_openai_schema.py")
        + ("scale_out/render/test_render_multimodal.py", "serve/tokenize/test_tokenization_vlm.py")
        + ("scale_out/token_in_token_out/test_serving_multimodal_tokens.py",)
        + ("serve/tokenize/test_tokenize_then_chat_vlm.py", "openai/chat_completion/test_extra_content_fields.py"),
        "needs a model that sees or hears, and pictures or recordings from the network",
    ),
    "speech_to_text/": "needs a model that hears, and recordings from the network",
    **dict.fromkeys(
        ("openai/responses/test_harmony.py", "openai/responses/test_mcp_tools.py")
        + ("tool_parsers/test_openai_tool_parser.py",),
        "needs gpt-oss, whose format of answers no other model has",
    ),
    **dict.fromkeys(
        ("openai/chat_completion/test_thinking_token_budget.py", "openai/responses/test_parsable_context.py")
        + ("openai/responses/test_namespace_tool_separator.py", "scale_out/derender/test_derender_parity.py")
        + ("tool_parsers/test_granite4_tool_parser.py", "tool_parsers/test_hermes_tool_parser.py"),
        "needs a model that reasons or calls tools of its own accord",
    ),
    **dict.fromkeys(
        ("openai/correctness/test_lmeval.py", "pooling/embed/test_correctness_mteb.py")
        + ("pooling/embed/test_online_dimensions.py", "pooling/scoring/test_cross_encoder_correctness_mteb.py"),
        "measures the quality of a particular model, with packages and data sets of its own",
    ),
    **dict.fromkeys(
        (
            "launchers/",
            "openai/chat_completion/test_enable_force_include_usage.py",
            "serve/instrumentator/test_uds.py",
        )
        + ("openai/chat_completion/test_root_path.py", "openai/completion/test_tensorizer_entrypoint.py")
        + ("openai/completion/test_token_in_token_out.py", "unit_tests/test_remote_vllm_server.py"),
        "tests how the server is started or stopped, with an engine of its own for each case",
    ),
    **dict.fromkeys(
        ("cohere/", "rl/", "serve/dev/rpc/test_collective_rpc.py", "serve/sagemaker/"),
        "asks routes that are closed to jobs, of servers in a mode that this worker does not start",
    ),
}


def unaccounted(source: Path) -> list[str]:
    """Modules that start a server and are neither run nor omitted with a reason, as a new release may bring some."""
    folder = source / FOLDER
    run = {module for engine in ENGINES for module in engine.modules}
    starting = (file for file in folder.rglob("test_*.py") if "RemoteOpenAIServer(" in file.read_text())
    names = sorted(str(file.relative_to(folder)) for file in starting)
    return [name for name in names if name not in run and not name.startswith(tuple(OMITTED))]
