"""`worker-vllm bake`: put the model that the environment names into the image, with its tokenizer, adapters, draft.

Reads the same variables as a start (MODEL_NAME, MODEL_REVISION, TOKENIZER_NAME, LORA_MODULES, SPECULATIVE_CONFIG …),
so that what is baked is what will be looked for. Without MODEL_NAME it does nothing: the image stays without a model.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from worker_vllm.errors import ConfigurationError
from worker_vllm.models.bake import BakeError, Recipe, bake
from worker_vllm.models.directories import MANIFEST
from worker_vllm.models.hub_client import HubError
from worker_vllm.models.references import Reference, Role, references
from worker_vllm.settings.arguments import EngineArguments
from worker_vllm.settings.load import load

EXIT_CONFIGURATION = 78
SECRET = "/run/secrets/HF_TOKEN"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to put it, where the token is, how closely to look."""
    default = os.environ.get("WORKER_MANIFEST") or MANIFEST
    parser.add_argument("--manifest", type=Path, default=Path(default), help=f"the models go beside it ({default})")
    parser.add_argument("--token-file", type=Path, default=Path(SECRET), help=f"used without HF_TOKEN ({SECRET})")
    parser.add_argument("--check-hashes", action="store_true", help="compare every large file's SHA-256 too")


def run(args: argparse.Namespace) -> int:
    """Bake; 0 also when there is nothing to bake, 78 for settings that cannot work, 1 when the model did not come."""
    if not os.environ.get("MODEL_NAME", "").strip():
        print("MODEL_NAME is not set: no model goes into this image")
        return 0
    try:
        recipe = _recipe(args)
    except ConfigurationError as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return EXIT_CONFIGURATION
    with TemporaryDirectory() as scratch:
        # The hub's client keeps caches of its own; none of them may end up in a layer.
        os.environ |= {"HF_HOME": scratch, "HF_XET_CACHE": f"{scratch}/xet", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        try:
            bake(recipe, _token(args.token_file), lambda line: print(line, flush=True))
        except (BakeError, HubError) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


def _recipe(args: argparse.Namespace) -> Recipe:
    settings = load(os.environ).engine
    model = Reference(Role.MODEL, settings.model, EngineArguments(settings.arguments).get("--revision"))
    return Recipe(
        references=(model, *references(settings.arguments)),
        manifest=args.manifest.absolute(),
        load_format=EngineArguments(settings.arguments).get("--load-format") or "auto",
        check_hashes=args.check_hashes,
    )


def _token(file: Path) -> str | None:
    """HF_TOKEN, or the build secret; never printed, never kept."""
    token = os.environ.get("HF_TOKEN", "").strip()
    try:
        return token or file.read_text().strip() or None
    except OSError:
        return None
