"""`.runpod/hub.json`, `.runpod/load-balancer.json`, `.runpod/tests.json`: the Hub's forms and its test cases."""

from __future__ import annotations

from typing import Any

from worker_vllm.forms.form import choices, form_value, offered, title
from worker_vllm.forms.image import CUDA
from worker_vllm.settings.catalog.catalog import Kind, Setting, catalog

MODEL_KEYS = ("MODEL_NAME",)
FIRST = (
    "MAX_MODEL_LEN",
    "MODEL_REVISION",
    "OPENAI_SERVED_MODEL_NAME_OVERRIDE",
    "TENSOR_PARALLEL_SIZE",
    "GPU_MEMORY_UTILIZATION",
    "MAX_CONCURRENCY",
    "ENABLE_AUTO_TOOL_CHOICE",
    "TOOL_CALL_PARSER",
    "REASONING_PARSER",
)  # shown first; all others are under "advanced"
TEST_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
HTTP_MODE = {"WORKER_MODE": "http", "PORT": "8000", "PORT_HEALTH": "8000"}
TIMEOUT_MS = 300_000
PRESETS = (
    (
        "Qwen3 8B: chat with tools and reasoning",
        {
            "MODEL_NAME": "Qwen/Qwen3-8B",
            "MAX_MODEL_LEN": "auto",
            "ENABLE_AUTO_TOOL_CHOICE": "true",
            "TOOL_CALL_PARSER": "hermes",
            "REASONING_PARSER": "qwen3",
        },
    ),
    (
        "Llama 3.1 8B Instruct: chat with tools",
        {
            "MODEL_NAME": "meta-llama/Llama-3.1-8B-Instruct",
            "MAX_MODEL_LEN": "auto",
            "ENABLE_AUTO_TOOL_CHOICE": "true",
            "TOOL_CALL_PARSER": "llama3_json",
        },
    ),
    ("Mistral 7B Instruct: chat", {"MODEL_NAME": "mistralai/Mistral-7B-Instruct-v0.3", "MAX_MODEL_LEN": "auto"}),
    ("Qwen3 Embedding 0.6B: embeddings", {"MODEL_NAME": "Qwen/Qwen3-Embedding-0.6B", "RUNNER": "pooling"}),
    ("SmolLM2 135M: a quick trial", {"MODEL_NAME": TEST_MODEL, "FAST_START": "true"}),
)


def hub() -> dict[str, Any]:
    """The Hub's listing and form."""
    model = catalog()["MODEL_NAME"]
    settings = [setting for setting in offered() if setting.name not in MODEL_KEYS]
    settings.sort(key=lambda setting: FIRST.index(setting.name) if setting.name in FIRST else len(FIRST))
    model_input = {"name": "Model", "type": "huggingface", "description": model.help, "required": True}
    return {
        "title": "vLLM",
        "description": "Any Hugging Face model as a fast, OpenAI-compatible endpoint, powered by vLLM.",
        "type": "serverless",
        "category": "language",
        "config": {
            "runsOn": "GPU",
            "containerDiskInGb": 150,
            "gpuCount": 1,
            "gpuIds": "ADA_80_PRO,AMPERE_80",
            "allowedCudaVersions": [CUDA],
            "presets": [{"name": name, "defaults": dict(defaults)} for name, defaults in PRESETS],
            "env": [
                {"key": model.name, "input": model_input},
                *({"key": s.name, "input": _input(s)} for s in settings),
            ],
        },
    }


def load_balancer() -> dict[str, Any]:
    """The form of a load-balancing endpoint: http mode, and the port that such an endpoint must set and expose."""
    listing = hub()
    asked = [entry for entry in listing["config"]["env"] if entry["key"] not in HTTP_MODE]
    fixed = [{"key": key, "value": value} for key, value in HTTP_MODE.items()]
    config = {**listing["config"], "endpointType": "LB", "env": [*asked[:1], *fixed, *asked[1:]]}
    return {**listing, "title": "vLLM behind a load balancer", "config": config}


def _input(setting: Setting) -> dict[str, Any]:
    """One field, without a default where the engine chooses the value."""
    value = form_value(setting)
    field: dict[str, Any] = {
        "name": title(setting.name),
        "type": "string",
        "description": setting.help,
        "required": False,
    }
    if setting.kind is Kind.BOOL and value != "":
        field |= {"type": "boolean", "default": bool(value), "trueValue": "true", "falseValue": "false"}
    elif setting.kind in (Kind.INT, Kind.FLOAT):
        field |= {"type": "number"} | ({} if value == "" else {"default": value})
        field |= {} if setting.least is None or setting.zero_unset else {"min": setting.least}
    else:
        options = ["true", "false"] if setting.kind is Kind.BOOL else choices(setting)
        field |= {} if value == "" else {"default": value}
        empty = [{"label": "engine's choice", "value": ""}] if options and value == "" else []
        field |= {"options": empty + [{"label": o, "value": o} for o in options]} if options else {}
    return field | ({} if setting.name in FIRST else {"advanced": True})


def hub_tests() -> dict[str, Any]:
    """The Hub's test cases: each kind of request once."""
    chat = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 16}
    cases = {
        "native prompt": {"prompt": "Hello, my name is", "sampling_params": {"max_tokens": 16}},
        "native messages": {"messages": chat["messages"], "sampling_params": {"max_tokens": 16}},
        "native stream": {"prompt": "Hello, my name is", "stream": True, "sampling_params": {"max_tokens": 16}},
        "openai chat": {"openai_route": "/v1/chat/completions", "openai_input": chat},
        "openai chat stream": {"openai_route": "/v1/chat/completions", "openai_input": {**chat, "stream": True}},
        "openai completion": {
            "openai_route": "/v1/completions",
            "openai_input": {"prompt": "Hello", "max_tokens": 16},
        },
        "openai models": {"openai_route": "/v1/models", "openai_input": {}},
    }
    return {
        "tests": [{"name": name, "input": job, "timeout": TIMEOUT_MS} for name, job in cases.items()],
        "config": {
            "gpuTypeId": "NVIDIA A40",
            "gpuCount": 1,
            "env": [{"key": "MODEL_NAME", "value": TEST_MODEL}],
            "allowedCudaVersions": [CUDA],
        },
    }
