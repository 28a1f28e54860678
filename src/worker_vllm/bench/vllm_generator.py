"""vLLM's own load generator, `vllm bench serve`, as a process: one round's requests in, its samples out.

Used where it measures the same thing: OpenAI routes over TCP, streamed. Known from vLLM 0.32.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from worker_vllm.bench.load_plan import LoadPlan, PlannedRequest
from worker_vllm.bench.openai_requests import failure_text
from worker_vllm.bench.samples import Sample
from worker_vllm.bench.targets import BenchTarget, TargetKind

# The `vllm` command asks for its version by the distribution's name, which is another one for the CPU wheel.
PROGRAM = """
import argparse
from vllm.benchmarks.serve import add_cli_args, main
parser = argparse.ArgumentParser("vllm bench serve")
add_cli_args(parser)
main(parser.parse_args())
"""


def why_unfit(targets: Sequence[BenchTarget], plan: LoadPlan, tokenizer: str) -> str | None:
    """Why vLLM's generator cannot measure this; None where it can."""
    if importlib.util.find_spec("vllm") is None:
        return "vLLM is not installed here"
    if not tokenizer:
        return "it needs --tokenizer: a model's directory or name"
    if not plan.stream:
        return "it only streams"
    if any(target.kind is not TargetKind.OPENAI or target.socket for target in targets):
        return "it only knows OpenAI routes over TCP"
    return None


def arguments(target: BenchTarget, plan: LoadPlan, tokenizer: str, dataset: Path, result: Path) -> list[str]:
    """The command's arguments after `bench serve`."""
    found = [
        *("--backend", "openai-chat" if plan.chat else "openai"),
        *("--base-url", target.url),
        *("--endpoint", "/chat/completions" if plan.chat else "/completions"),
        *("--model", target.model, "--tokenizer", tokenizer),
        *("--dataset-name", "custom", "--dataset-path", str(dataset)),
        *("--custom-output-len", "-1", "--disable-shuffle", "--skip-chat-template"),
        *("--num-prompts", str(plan.requests), "--max-concurrency", str(plan.concurrency)),
        *("--request-rate", str(plan.rate or "inf"), "--seed", str(plan.seed)),
        *("--save-result", "--save-detailed", "--result-dir", str(result.parent), "--result-filename", result.name),
        "--disable-tqdm",
    ]
    return [*found, "--ignore-eos"] if plan.ignore_eos else found


async def send_by_vllm(
    target: BenchTarget, plan: LoadPlan, requests: Sequence[PlannedRequest], tokenizer: str, timeout_s: float
) -> list[Sample]:
    """Run the generator once. Raises RuntimeError with the end of its output when it fails, TimeoutError."""
    with tempfile.TemporaryDirectory() as directory:
        dataset, result = Path(directory, "requests.jsonl"), Path(directory, "result.json")
        lines = [json.dumps({"prompt": one.prompt, "output_tokens": one.output_tokens}) for one in requests]
        await asyncio.to_thread(dataset.write_text, "\n".join(lines) + "\n")
        command = [sys.executable, "-c", PROGRAM, *arguments(target, plan, tokenizer, dataset, result)]
        status, output = await _run(command, {**os.environ, "OPENAI_API_KEY": target.key or "none"}, timeout_s)
        try:
            return samples(json.loads(await asyncio.to_thread(result.read_text)))
        except OSError:
            raise RuntimeError(f"vllm bench serve ended with status {status}:\n{output[-2000:]}") from None


async def _run(command: Sequence[str], environment: dict[str, str], timeout_s: float) -> tuple[int, str]:
    """Run a process to its end; it is killed when this is cancelled or late. Returns its status and its output."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdout=pipe, stderr=asyncio.subprocess.STDOUT, env=environment
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace")


def samples(result: Mapping[str, Sequence[Any]]) -> list[Sample]:
    """The samples of a detailed result of `vllm bench serve`."""
    found = []
    columns = ("start_times", "ttfts", "itls", "input_lens", "output_lens", "errors")
    for start, first, gaps, prompt, output, error in zip(*(result[name] for name in columns), strict=True):
        sample = Sample(start, prompt_tokens=prompt, output_tokens=output, gaps=list(gaps))
        if error:
            sample.failure = failure_text(error.strip().splitlines()[-1])
        else:
            sample.first_at = start + first
            sample.ended_at = sample.first_at + sum(gaps)
        found.append(sample)
    return found
