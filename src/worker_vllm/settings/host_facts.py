"""The facts of machine and image that `load` gets besides the environment; its caller inspects the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from worker_vllm.settings.flags.flag_table import SHIPPED


def _always(_path: str) -> bool:
    return True


class ModelSource(NamedTuple):
    """The settings that decide which directory a model's files are in."""

    model: str
    revision: str | None = None
    download_dir: str | None = None


class ModelFiles(NamedTuple):
    """What is known of a model's files before the start."""

    config: Mapping[str, Any] | None  # of its config.json, where that is on disk
    on_disk: bool  # whether its directory is on disk, with or without a config.json


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The machine and the image around an environment; every fact may be unknown."""

    vllm: str = SHIPPED  # version of the engine
    manifest: Mapping[str, Any] | None = None  # the baked image's manifest, as JSON
    config_file: Mapping[str, Any] | None = None  # content of VLLM_CONFIG_FILE: flag → value
    config_file_problem: str | None = None  # what was expected instead of that file
    find_model: Callable[[ModelSource], ModelFiles] | None = None  # called once, as soon as the model is known
    model_config: Mapping[str, Any] | None = None  # the model's config.json, where it is on disk
    model_on_disk: bool = False  # whether the model's directory is on disk, with or without a config.json
    gpus: int | None = None  # GPUs that the engine may use
    exists: Callable[[str], bool] = _always  # whether a path exists

    def with_model(self, source: ModelSource) -> HostFacts:
        """These facts with the files of a model, where the host can be searched for them."""
        if self.find_model is None:
            return self
        files = self.find_model(source)
        return replace(self, model_config=files.config, model_on_disk=files.on_disk)
