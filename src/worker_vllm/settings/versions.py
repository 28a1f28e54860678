"""Versions that this release is built on. Image, forms and documents read them; `tools/bump.py` changes them.

CUDA is the base image's own: vLLM 0.32.0 requires torch 2.13.0, whose wheel requires the CUDA toolkit 13.0.3, and
vLLM's Dockerfile builds its default image with that version since 0.30.
"""

from __future__ import annotations

VLLM = "0.32.0"
CUDA = "13.0.3"
REPOSITORY = "runpod/worker-v1-vllm"

BASE_IMAGE = f"vllm/vllm-openai:v{VLLM}"
MINIMUM_CUDA = ".".join(CUDA.split(".")[:2])  # that the host's driver must support


def image_name(worker_version: str, channel: str = "stable") -> str:
    """The image's full name, with the original worker's tag format: `…:v3.0.0stable-cuda13.0.3`."""
    return f"{REPOSITORY}:v{worker_version}{channel}-cuda{CUDA}"
