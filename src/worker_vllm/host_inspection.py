"""Inspect the machine and the image for `settings.load`, which reads no files itself.

Reads a few small files and directory names, without network access. It uses the standard library alone, unless there
is a YAML file to read.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker_vllm.engine.preflight.vllm_version import engine_version
from worker_vllm.models.directories import MANIFEST
from worker_vllm.models.locate import locate_model
from worker_vllm.settings.flags.flag_table import SHIPPED
from worker_vllm.settings.host_facts import HostFacts, ModelFiles, ModelSource
from worker_vllm.settings.parsers import cleaned
from worker_vllm.settings.types import EngineSettings

CONFIG_FILE = "/vllm_config.yaml"  # read if it exists and VLLM_CONFIG_FILE is unset, as by the original worker
DEVICES = Path("/dev")


def inspect_host(env: Mapping[str, str]) -> HostFacts:
    """The facts of this machine and image that the settings depend on."""
    config_file, problem = _config_file(env)
    return HostFacts(
        vllm=engine_version(sys.path) or SHIPPED,
        manifest=_json(Path(cleaned(env.get("WORKER_MANIFEST", "")) or MANIFEST)),
        config_file=config_file,
        config_file_problem=problem,
        find_model=lambda source: find_model(source, env),
        gpus=count_gpus(env, DEVICES),
        exists=os.path.exists,
    )


def find_model(source: ModelSource, env: Mapping[str, str]) -> ModelFiles:
    """The files of the model that the worker would serve, in the directory where the engine would read them."""
    flags = {"--revision": source.revision, "--download-dir": source.download_dir}
    arguments = tuple(item for flag, text in flags.items() if text for item in (flag, text))
    directory = Path(locate_model(EngineSettings(model=source.model, arguments=arguments), env).model)
    return ModelFiles(_json(directory / "config.json"), directory.is_dir())


def count_gpus(env: Mapping[str, str], devices: Path) -> int:
    """The number of NVIDIA GPUs visible to the engine: the device files, limited by CUDA_VISIBLE_DEVICES."""
    present = sum(1 for path in devices.glob("nvidia*") if path.name.removeprefix("nvidia").isdigit())
    visible = env.get("CUDA_VISIBLE_DEVICES")
    if visible is None or visible.strip() == "all":
        return present
    named = [item.strip() for item in visible.split(",")]
    return min(present, len([item for item in named if item and not item.startswith("-")]))


def _config_file(env: Mapping[str, str]) -> tuple[Mapping[str, Any] | None, str | None]:
    """The content of the YAML file, and the problem when it cannot be used."""
    named = cleaned(env.get("VLLM_CONFIG_FILE", ""))
    path = Path(named or CONFIG_FILE)
    if not named and not path.is_file():
        return None, None
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        return None, f"a readable file ({error})"
    except yaml.YAMLError as error:
        return None, f"YAML ({_reason(error)})"
    if document is None or isinstance(document, dict):
        return document, None
    return None, "a YAML mapping of flag: value"


def _reason(error: Exception) -> str:
    """The YAML error and its position, without quoting the text, which may contain a secret."""
    mark = getattr(error, "problem_mark", None)
    fault = str(getattr(error, "problem", None) or "it cannot be read").split(" but found")[0]
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{fault}{where}"


def _json(path: Path) -> Mapping[str, Any] | None:
    """A file's JSON object; None when it cannot be read, which the code that needs the file reports."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None
