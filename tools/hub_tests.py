"""`python -m tools.hub_tests`: run the test cases of RunPod's Hub against a gateway and check the answers' format.

Sends every case of `.runpod/tests.json` as a job to a gateway (`worker-vllm local` in another terminal) and checks
that the listing is complete. The cases' `config`, GPU and model, is used by the Hub only.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.publish import answer_shape, listing

DEFAULT_URL = "http://127.0.0.1:8000/v2/local"
TIMEOUT_MS = 300_000  # of a case without one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options: the gateway and the checkout."""
    parser.add_argument("--url", default=DEFAULT_URL, help="the endpoint to send the jobs to (default: %(default)s)")
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout (default: here)")
    parser.add_argument("--only-files", action="store_true", help="check the files and send no job")


def run(args: argparse.Namespace) -> int:
    """Exit status 0 when the listing is complete and every answer has the right format, else 1."""
    problems = listing.problems(args.root)
    for problem in problems:
        print(f"FAIL  {problem}")
    if args.only_files or problems:
        print("the listing is complete" if not problems else f"{len(problems)} problems in the listing")
        return 1 if problems else 0
    cases = json.loads((args.root / ".runpod" / "tests.json").read_text(encoding="utf-8"))["tests"]
    failed = 0
    for case in cases:
        reason = try_case(args.url, case, os.environ.get("RUNPOD_API_KEY", ""))
        failed += reason is not None
        print(f"FAIL  {case['name']}: {reason}" if reason else f"ok    {case['name']}")
    print(f"{len(cases) - failed} of {len(cases)} cases answered correctly")
    return 1 if failed else 0


def try_case(url: str, case: Mapping[str, Any], key: str) -> str | None:
    """Send one case as a job and wait for its answer; return why that is wrong, None for a right one."""
    timeout_s = case.get("timeout", TIMEOUT_MS) / 1000
    body = json.dumps({"input": case["input"]}).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    wait_ms = int(min(timeout_s, 300) * 1000)
    request = urllib.request.Request(f"{url}/runsync?wait={wait_ms}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            status = json.load(answer)
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}: {error.read(300).decode(errors='replace')}"
    except OSError as error:
        return f"no answer from {url}: {error}"
    except ValueError as error:
        return f"the answer is not JSON: {error}"
    return answer_shape.mismatch(case["input"], status)


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m tools.hub_tests", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
