"""Versions that this release is built on. Image, forms and documents read them; `tools/bump.py` changes them.

CUDA is the base image's own: vLLM 0.32.0 requires torch 2.13.0, whose wheel requires the CUDA toolkit 13.0.3, and
vLLM's Dockerfile builds its default image with that version since 0.30.
"""

from __future__ import annotations

VLLM = "0.32.0"
CUDA = "13.0.3"
# Published beside the two above: vLLM's images on an older CUDA, by the suffix of their tags, and an older vLLM.
OTHER_CUDA = {"12.9.1": "-cu129"}
OTHER_VLLM = ("0.31.0",)
REPOSITORY = "runpod/worker-v1-vllm"

BASE_IMAGE = f"vllm/vllm-openai:v{VLLM}"
MINIMUM_CUDA = ".".join(CUDA.split(".")[:2])  # that the host's driver must support


def image_name(worker_version: str, channel: str = "stable", cuda: str = CUDA, vllm: str = VLLM) -> str:
    """The image's full name, with the original worker's tag format: `…:v3.0.0stable-cuda13.0.3`."""
    suffix = "" if vllm == VLLM else f"-vllm{vllm}"
    return f"{REPOSITORY}:v{worker_version}{channel}-cuda{cuda}{suffix}"
