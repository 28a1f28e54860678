"""What `load` may know besides the environment; whoever calls it at the rim looks, `load` itself never does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from worker_vllm.settings.flags.flag_table import SHIPPED


def _anything(_path: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The machine and the image around an environment; everything may be unknown."""

    vllm: str = SHIPPED  # version of the engine
    manifest: Mapping[str, Any] | None = None  # the baked image's manifest, as JSON
    config_file: Mapping[str, Any] | None = None  # what VLLM_CONFIG_FILE holds: flag → value
    config_file_problem: str | None = None  # what should have been there instead
    model_config: Mapping[str, Any] | None = None  # the model's config.json, where it is on disk
    model_on_disk: bool = False  # whether the model's files are here, with or without a config.json
    gpus: int | None = None  # GPUs that the engine may use
    exists: Callable[[str], bool] = _anything  # whether a path is there

    def with_model(self, config: Mapping[str, Any] | None, *, on_disk: bool = False) -> HostFacts:
        """The same facts, with the model's config.json."""
        return replace(self, model_config=config, model_on_disk=on_disk)
