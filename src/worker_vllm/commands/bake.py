"""`worker-vllm bake`: put the model that the environment names, with its tokenizer and adapters, into the image.

It reads the same variables as `start` (MODEL_NAME, MODEL_REVISION, TOKENIZER_NAME, LORA_MODULES …), so that the image
contains what a start looks for. Without MODEL_NAME it does nothing.
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
    """Declare the manifest's path, the token's file and the check of hashes."""
    default = os.environ.get("WORKER_MANIFEST") or MANIFEST
    parser.add_argument("--manifest", type=Path, default=Path(default), help=f"the models go beside it ({default})")
    parser.add_argument("--token-file", type=Path, default=Path(SECRET), help=f"used without HF_TOKEN ({SECRET})")
    parser.add_argument("--check-hashes", action="store_true", help="compare every large file's SHA-256 too")


def run(args: argparse.Namespace) -> int:
    """Exit status 0 when baked or without MODEL_NAME, 78 for invalid settings, 1 when the download failed."""
    if not os.environ.get("MODEL_NAME", "").strip():
        print("MODEL_NAME is not set: no model goes into this image")
        return 0
    try:
        recipe = _recipe(args)
    except ConfigurationError as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return EXIT_CONFIGURATION
    with TemporaryDirectory() as scratch:
        # The hub client writes caches; none of them may end up in an image layer.
        os.environ |= {"HF_HOME": scratch, "HF_XET_CACHE": f"{scratch}/xet", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        try:
            bake(recipe, _token(args.token_file), lambda line: print(line, flush=True))
        except (BakeError, HubError) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


def _recipe(args: argparse.Namespace) -> Recipe:
    """The repositories that the environment names. Raises ConfigurationError."""
    settings = load(os.environ).engine
    model = Reference(Role.MODEL, settings.model, EngineArguments(settings.arguments).get("--revision"))
    return Recipe(
        references=(model, *references(settings.arguments)),
        manifest=args.manifest.absolute(),
        load_format=EngineArguments(settings.arguments).get("--load-format") or "auto",
        check_hashes=args.check_hashes,
    )


def _token(file: Path) -> str | None:
    """HF_TOKEN, else the content of the build secret, else None."""
    token = os.environ.get("HF_TOKEN", "").strip()
    try:
        return token or file.read_text().strip() or None
    except OSError:
        return None
