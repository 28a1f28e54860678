"""The directories that may hold models already, in the order in which they are searched.

The original image set HF_HOME and HUGGINGFACE_HUB_CACHE to the same `$BASE_PATH/huggingface-cache/hub` and
downloaded into HF_HOME itself, where huggingface_hub would use HF_HOME/hub: both are searched, so that a volume it
filled is reused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

VOLUME = "/runpod-volume"
CACHE_IN_BASE = "huggingface-cache/hub"
MANIFEST = "/opt/worker-vllm/model/manifest.json"


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look for models and where to put new ones."""

    caches: tuple[Path, ...]  # hub caches (directories of models--org--name), searched in this order
    target: Path  # the hub cache that downloads go to
    spare: Path  # and where they go when that one cannot be written to
    manifest: Path  # of the models baked into the image

    @classmethod
    def from_environment(cls, env: Mapping[str, str], download_dir: str | None = None) -> Places:
        """The places that this environment names; BASE_PATH and RunPod's own mount are always searched."""

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
        spare = Path(env.get("HOME") or "/root") / ".cache/huggingface/hub"
        caches = tuple(dict.fromkeys(place for place in (*candidates, spare) if place is not None))
        return cls(caches, target, spare, named("WORKER_MANIFEST") or Path(MANIFEST))
