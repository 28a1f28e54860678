"""Run by the engine's interpreter: vLLM's own verdict on each command line, one JSON object a line.

In: {"argv": [...], "depth": "parse" | "engine"}; out: {"accepted": bool, "error": text}. `parse` is vLLM's parser
and validate_parsed_serve_args, `engine` adds create_engine_config, which reads the model's files.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys

os.environ.update({"VLLM_LOGGING_LEVEL": "CRITICAL", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"})

from vllm.engine.arg_utils import AsyncEngineArgs

try:
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
except ImportError:  # before vLLM 0.30
    from vllm.entrypoints.openai.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser


def judge(argv: list[str], depth: str, parser: argparse.ArgumentParser) -> str | None:
    """Why vLLM refuses the command line; None when it does not."""
    spoken = io.StringIO()
    try:
        with contextlib.redirect_stderr(spoken), contextlib.redirect_stdout(spoken):
            arguments = parser.parse_args(argv)
            arguments.model = arguments.model_tag
            validate_parsed_serve_args(arguments)
            if depth == "engine":
                AsyncEngineArgs.from_cli_args(arguments).create_engine_config()
    except SystemExit:
        return spoken.getvalue()[-500:]
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:500]
    return None


def main() -> None:
    """Answer every line of standard input on standard output."""
    out = os.fdopen(os.dup(1), "w")
    parser = make_arg_parser(FlexibleArgumentParser(prog="vllm serve"))
    for line in sys.stdin:
        asked = json.loads(line)
        error = judge(asked["argv"], asked["depth"], parser)
        out.write(json.dumps({"accepted": error is None, "error": error or ""}) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
