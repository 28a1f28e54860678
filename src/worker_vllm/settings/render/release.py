"""What the generated files say about the image: one place for its name, its CUDA and its vLLM."""

from __future__ import annotations

from worker_vllm import __version__
from worker_vllm.settings.flags import SHIPPED

REPOSITORY = "runpod/worker-v1-vllm"
CUDA = "13.0"
IMAGE = f"{REPOSITORY}:v{__version__}stable-cuda{CUDA}.0"
VLLM = SHIPPED
