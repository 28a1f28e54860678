"""The image's name and versions for generated files."""

from __future__ import annotations

from worker_vllm import __version__
from worker_vllm.settings import versions

CUDA = versions.MINIMUM_CUDA
IMAGE = versions.image_name(__version__)
VLLM = versions.VLLM
