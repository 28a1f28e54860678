"""The CPU engine with a process for the model beside its core, as vLLM has it on several GPUs; data only."""

from __future__ import annotations

MODEL_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
