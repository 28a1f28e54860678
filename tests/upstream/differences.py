"""Upstream's tests that pass against the bare engine and must not pass through gateway and worker, and why.

A name without parameters stands for all of its cases. An entry that no longer differs fails the run.
"""

from __future__ import annotations

FOLDER = "tests/entrypoints"

INVOCATIONS = "/invocations is SageMaker's second name of the other routes; it is closed to jobs"
BINARY = "a job's output is JSON: binary answers travel as base64 with their content type, and without headers"
DETAIL = "the engine's own 404 for a route that its model has not gets the form of OpenAI's errors"

INTENDED: dict[str, str] = {
    f"{FOLDER}/{test}": reason
    for test, reason in {
        "pooling/classify/test_online.py::test_invocations_chat_request": INVOCATIONS,
        "pooling/classify/test_online.py::test_invocations_completion_request": INVOCATIONS,
        "pooling/classify/test_online.py::test_rerank": DETAIL,
        "pooling/classify/test_online.py::test_score": DETAIL,
        "pooling/embed/test_online.py::test_bytes_embed_dtype_and_endianness": BINARY,
        "pooling/embed/test_online.py::test_bytes_only_embed_dtype_and_endianness": BINARY,
        "pooling/embed/test_online.py::test_invocations_chat_request": INVOCATIONS,
        "pooling/embed/test_online.py::test_invocations_completion_request": INVOCATIONS,
        "pooling/scoring/test_bi_encoder_online.py::test_invocations": INVOCATIONS,
        "serve/middleware/test_optional_middleware.py::test_no_request_id_header": (
            "every answer of the gateway carries X-Request-Id, which is the job's id"
        ),
    }.items()
}
