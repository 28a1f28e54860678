"""`worker-vllm bench`: `run` sends load to endpoints in alternation, `plan` says how many workers a load needs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from worker_vllm.commands import bench_plan

if TYPE_CHECKING:
    from worker_vllm.bench.load_plan import LoadPlan
    from worker_vllm.bench.rounds import Generator, RoundProgress
    from worker_vllm.bench.targets import BenchTarget
    from worker_vllm.bench.text_report import BenchReport

EXIT_FAILURES = 1
EXIT_USAGE = 2
KEY_VARIABLES = ("RUNPOD_API_KEY", "OPENAI_API_KEY")
EXAMPLES = """
examples:
  worker-vllm bench run http://127.0.0.1:8000/v2/local/openai/v1
  worker-vllm bench run queue=http://127.0.0.1:8000/v2/local/openai/v1 plain=http://127.0.0.1:8001/v1 --concurrency 32
  worker-vllm bench run jobs=https://api.runpod.ai/v2/ENDPOINT_ID --rate 2 --html report.html
  worker-vllm bench plan load.jsonl --curve curve.json --price-per-hour 0.69
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare both verbs."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="{run,plan}")
    run_parser = verbs.add_parser("run", help="measure endpoints")
    _add_targets(run_parser)
    _add_load(run_parser)
    bench_plan.add_arguments(verbs.add_parser("plan", help="how many workers a load needs, and what they cost"))


def run(args: argparse.Namespace) -> int:
    """Exit status 0, 1 when requests failed or a target cannot be measured, 2 for wrong usage."""
    try:
        return bench_plan.run(args) if args.verb == "plan" else _measure(args)
    except ValueError as error:
        print(f"worker-vllm bench: {error}", file=sys.stderr)
        return EXIT_USAGE
    except (OSError, RuntimeError, TimeoutError) as error:
        print(f"worker-vllm bench: {error or type(error).__name__}", file=sys.stderr)
        return EXIT_FAILURES
    except KeyboardInterrupt:
        return 130


def _add_targets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "targets",
        nargs="+",
        metavar="[NAME=]URL",
        help="OpenAI routes (…/v1), RunPod jobs (…/v2/ENDPOINT_ID) or unix:/path/of.sock; ratios are to the first",
    )
    parser.add_argument("--model", default="", help="the model's name (default: the first that the target lists)")
    parser.add_argument(
        "--key-variable",
        default="",
        metavar="NAME",
        help=f"the environment variable with the API key (default: {' or '.join(KEY_VARIABLES)})",
    )
    parser.add_argument("--rounds", type=_positive, default=3, help="rounds at each target, in alternation")
    parser.add_argument("--warmup", type=_count, default=8, help="requests to each target before the first round")
    parser.add_argument("--timeout", type=float, default=600, help="seconds after which a request is given up")
    parser.add_argument(
        "--generator",
        choices=("auto", "vllm", "built-in"),
        default="auto",
        help="who sends the requests: `vllm bench serve` (streamed OpenAI routes, needs --tokenizer) or this command",
    )
    parser.add_argument("--tokenizer", default="", help="a model's directory or name, for --generator vllm")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a report with plots there")


def _add_load(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--requests", type=_positive, default=64, help="requests of a round")
    parser.add_argument("--concurrency", type=_positive, default=16, help="requests at once, at most")
    parser.add_argument("--rate", type=float, help="arrivals a second (open loop); default: a closed loop")
    lengths = "a count (128), a range (16-512), or lognormal:MEDIAN:SIGMA:MOST"
    parser.add_argument("--prompt-words", default="64", metavar="LENGTHS", help=f"words of a prompt: {lengths}")
    parser.add_argument("--output-tokens", default="128", metavar="LENGTHS", help="tokens of an answer, likewise")
    parser.add_argument("--completions", action="store_true", help="completions instead of chat")
    parser.add_argument("--no-stream", action="store_true", help="whole answers instead of streams")
    parser.add_argument("--ignore-eos", action="store_true", help="generate all tokens of each answer (vLLM)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed sends the same requests")


def _measure(args: argparse.Namespace) -> int:
    import asyncio

    from worker_vllm.bench.html_report import page
    from worker_vllm.bench.targets import parse_target
    from worker_vllm.bench.text_report import as_json, text

    key = next((os.environ[name] for name in (args.key_variable, *KEY_VARIABLES) if os.environ.get(name)), "")
    if args.key_variable and args.key_variable not in os.environ:
        raise ValueError(f"--key-variable {args.key_variable}: the environment has no such variable")
    if args.rate is not None and args.rate <= 0:
        raise ValueError(f"--rate {args.rate}: expected arrivals a second, more than 0")
    targets = [parse_target(one, position, args.model, key) for position, one in enumerate(args.targets)]
    if len({target.name for target in targets}) < len(targets):
        raise ValueError("two targets have the same name: expected NAME=URL with different names")
    report = asyncio.run(_report(args, targets))
    print(text(report))
    if args.json:
        args.json.write_text(json.dumps(as_json(report), indent=2) + "\n")
    if args.html:
        args.html.write_text(page(report, " / ".join(report.names)))
    return EXIT_FAILURES if any(figures.failures for figures in report.rounds) else 0


async def _report(args: argparse.Namespace, targets: list[BenchTarget]) -> BenchReport:
    from worker_vllm.bench.load_plan import LoadPlan
    from worker_vllm.bench.progress_line import ProgressLine
    from worker_vllm.bench.rounds import Schedule, measure, with_models
    from worker_vllm.bench.text_report import BenchReport
    from worker_vllm.simulation.arrivals import parse_lengths

    plan = LoadPlan(
        requests=args.requests,
        concurrency=args.concurrency,
        rate=args.rate,
        prompt_words=parse_lengths(args.prompt_words),
        output_tokens=parse_lengths(args.output_tokens),
        chat=not args.completions,
        stream=not args.no_stream,
        ignore_eos=args.ignore_eos,
        seed=args.seed,
    )
    progress = ProgressLine(sys.stderr)
    targets = await with_models(targets, args.timeout)
    generator, name = _generator(args, targets, plan, progress)
    try:
        rounds = await measure(targets, plan, Schedule(args.rounds, args.warmup), generator, progress)
    finally:
        progress.close()
    return BenchReport([target.name for target in targets], plan, rounds, name)


def _generator(
    args: argparse.Namespace, targets: list[BenchTarget], plan: LoadPlan, progress: RoundProgress
) -> tuple[Generator, str]:
    from worker_vllm.bench.rounds import BuiltInGenerator, VllmBenchGenerator
    from worker_vllm.bench.vllm_generator import why_unfit

    unfit = why_unfit(targets, plan, args.tokenizer)
    if args.generator == "vllm" and unfit:
        raise ValueError(f"--generator vllm: {unfit}")
    if args.generator == "built-in" or unfit:
        return BuiltInGenerator(args.timeout, progress), "worker-vllm bench"
    return VllmBenchGenerator(args.tokenizer, args.timeout), "vllm bench serve"


def _whole(lowest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < lowest:
            raise argparse.ArgumentTypeError(f'"{text}": expected a whole number from {lowest}')
        return int(text)

    return parse


_positive = _whole(1)
_count = _whole(0)
