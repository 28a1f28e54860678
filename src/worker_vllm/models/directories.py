"""The directories that are searched for models, in order, and the directory that downloads go to.

The original image set HF_HOME and HUGGINGFACE_HUB_CACHE to the same `$BASE_PATH/huggingface-cache/hub` and
downloaded into HF_HOME itself, where huggingface_hub would use HF_HOME/hub. Both are searched, so that a volume that
the original filled is reused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

VOLUME = "/runpod-volume"
CACHE_IN_BASE = "huggingface-cache/hub"
MANIFEST = "/opt/worker-vllm/model/manifest.json"


@dataclass(frozen=True, slots=True)
class ModelDirectories:
    """The hub caches to search, the one to download into, and the manifest of baked models."""

    caches: tuple[Path, ...]  # hub caches (directories of models--org--name), searched in this order
    target: Path  # the hub cache that downloads go to
    fallback: Path  # the hub cache that downloads go to when `target` is not writable
    manifest: Path  # of the models baked into the image

    @classmethod
    def from_environment(cls, env: Mapping[str, str], download_dir: str | None = None) -> ModelDirectories:
        """The directories that this environment names; BASE_PATH and RunPod's mount are always searched."""

        def named(name: str) -> Path | None:
            text = env.get(name, "").strip()
            return Path(text).expanduser() if text else None

        base = named("BASE_PATH") or Path(VOLUME)
        home = named("HF_HOME")
        target = (
            (Path(download_dir) if download_dir else None)
            or named("HF_HUB_CACHE")
            or named("HUGGINGFACE_HUB_CACHE")
            or home
            or base / CACHE_IN_BASE
        )
        candidates = [target, named("HF_HUB_CACHE"), named("HUGGINGFACE_HUB_CACHE"), home]
        candidates += [home / "hub" if home else None, base / CACHE_IN_BASE, Path(VOLUME) / CACHE_IN_BASE]
        fallback = Path(env.get("HOME") or "/root") / ".cache/huggingface/hub"
        caches = tuple(dict.fromkeys(directory for directory in (*candidates, fallback) if directory is not None))
        return cls(caches, target, fallback, named("WORKER_MANIFEST") or Path(MANIFEST))
