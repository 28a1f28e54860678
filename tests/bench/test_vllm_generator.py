"""`vllm bench serve` as the sender of requests: its command line, its result file, when it cannot be used."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from worker_vllm.bench.load_plan import LoadPlan
from worker_vllm.bench.samples import Sample
from worker_vllm.bench.targets import BenchTarget, parse_target
from worker_vllm.bench.vllm_generator import arguments, samples, why_unfit
from worker_vllm.simulation.arrivals import FixedLength

PLAN = LoadPlan(20, 4, None, FixedLength(8), FixedLength(5))
OPENAI = parse_target("http://127.0.0.1:1/v1", 0, "m")


def test_a_result_file_becomes_samples() -> None:
    """Its columns, in the form that vLLM 0.32 writes with --save-detailed."""
    result: dict[str, list[Any]] = {
        "start_times": [10.0, 10.5],
        "ttfts": [0.5, 0.0],
        "itls": [[0.25, 0.25], []],
        "input_lens": [7, 7],
        "output_lens": [3, 0],
        "errors": ["", "Traceback (most recent call last):\n  …\naiohttp.ClientError: refused"],
    }
    assert samples(result) == [
        Sample(10.0, 10.5, 11.0, 7, 3, [0.25, 0.25]),
        Sample(10.5, prompt_tokens=7, failure="aiohttp.ClientError: refused"),
    ]


@pytest.mark.parametrize(
    ("target", "plan", "tokenizer", "reason"),
    [
        (OPENAI, PLAN, "", "it needs --tokenizer"),
        (OPENAI, replace(PLAN, stream=False), "t", "it only streams"),
        (parse_target("http://h/v2/x", 0), PLAN, "t", "it only knows OpenAI routes over TCP"),
        (parse_target("unix:/e.sock", 0), PLAN, "t", "it only knows OpenAI routes over TCP"),
    ],
)
def test_what_it_cannot_measure_is_named(target: BenchTarget, plan: LoadPlan, tokenizer: str, reason: str) -> None:
    """The built-in generator takes over, or --generator vllm is refused with the reason."""
    assert reason in str(why_unfit([target], plan, tokenizer))


@pytest.mark.vllm
@pytest.mark.timeout(120)
@pytest.mark.parametrize("plan", [PLAN, replace(PLAN, rate=2.5, chat=False, ignore_eos=True)], ids=["chat", "open"])
def test_vllms_own_parser_accepts_the_command_line(plan: LoadPlan) -> None:
    """Every argument is one that the installed vLLM knows."""
    program = (
        "import argparse, sys\n"
        "from vllm.benchmarks.serve import add_cli_args\n"
        "parser = argparse.ArgumentParser()\n"
        "add_cli_args(parser)\n"
        "print(parser.parse_args().num_prompts)\n"
    )
    given = arguments(OPENAI, plan, "t", Path("/d.jsonl"), Path("/r.json"))
    ran = subprocess.run([sys.executable, "-c", program, *given], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.split()[-1:]) == (0, ["20"]), ran.stderr[-500:]
