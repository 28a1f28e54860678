"""Upstream's tests that pass against the bare engine and must not pass through gateway and worker, and why.

A name without parameters stands for all of its cases. An entry that no longer differs fails the run.
"""

from __future__ import annotations

FOLDER = "tests/entrypoints"

INVOCATIONS = "/invocations is SageMaker's second name of the other routes; it is closed to jobs"
STORED = "a stored response stays in one worker's memory, and the next job may reach another: closed to jobs"
ROOT = "a model's `root` is its repository's name: paths of the worker stay private"
PROCESS = "/health and /version describe one server process; an endpoint has many workers"
DETAIL = "the engine's own 404 for a route that its model has not gets the form of OpenAI's errors"

INTENDED: dict[str, str] = {
    f"{FOLDER}/{test}": reason
    for test, reason in {
        "openai/chat_completion/test_chat.py::test_invocations": INVOCATIONS,
        "openai/models/test_models.py::test_check_models": ROOT,
        "openai/responses/test_stateful.py::test_background": STORED,
        "openai/responses/test_stateful.py::test_cancel_completed": STORED,
        "openai/responses/test_stateful.py::test_store": STORED,
        "pooling/classify/test_online.py::test_invocations_chat_request": INVOCATIONS,
        "pooling/classify/test_online.py::test_invocations_completion_request": INVOCATIONS,
        "pooling/classify/test_online.py::test_rerank": DETAIL,
        "pooling/classify/test_online.py::test_score": DETAIL,
        "pooling/embed/test_online.py::test_invocations_chat_request": INVOCATIONS,
        "pooling/embed/test_online.py::test_invocations_completion_request": INVOCATIONS,
        "pooling/scoring/test_bi_encoder_online.py::test_invocations": INVOCATIONS,
        "serve/instrumentator/test_basic.py::test_check_health": PROCESS,
        "serve/instrumentator/test_basic.py::test_show_version": PROCESS,
        "serve/instrumentator/test_orca_metrics.py::test_completion_with_orca_header": (
            "a job's output is the answer's body: headers of the engine do not travel"
        ),
        "serve/lora/test_lora_adapters.py::test_dynamic_lora_lineage": ROOT,
        "serve/lora/test_lora_adapters.py::test_static_lora_lineage": ROOT,
        "serve/middleware/test_optional_middleware.py::test_no_request_id_header": (
            "every answer of the gateway carries X-Request-Id, which is the job's id"
        ),
    }.items()
}
