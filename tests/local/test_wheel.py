"""The wheel carries the embedded model."""

from __future__ import annotations

import tomllib

from tests.support.paths import ROOT
from worker_vllm.local.launch_config import PACKAGED_PARROT

SERVED = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def test_every_file_that_serving_needs_is_in_it() -> None:
    """And lies where `local` looks first."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    included = build["targets"]["wheel"]["force-include"]
    place = f"{PACKAGED_PARROT.parent.name}/{PACKAGED_PARROT.name}"
    assert included == {f"models/parrot/{name}": f"{place}/{name}" for name in SERVED}
    assert all((ROOT / source).is_file() for source in included)
