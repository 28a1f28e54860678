"""From command to first answer, warm: plain `vllm serve` beside `worker-vllm start` behind a gateway, in one run.

Each variant once a round, in turn, so that all see the same machine; the first round fills every cache and is not
counted. A client asks from the first moment on: `vllm serve` on its socket until it answers, the worker by a job that
waits in the gateway's queue. Needs the engine for CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.record import Report, Table, add_output, deliver
from tests.support.attached import START, gateway_process, worker_environment
from tests.support.http import Http
from tests.support.paths import PARROT
from tests.support.processes import INHERITED
from worker_vllm.engine.client.http import HttpEngine
from worker_vllm.engine.interface import EngineRequest
from worker_vllm.engine.process.guard import PR_SET_CHILD_SUBREAPER, descendants, prctl
from worker_vllm.engine.supervision.startup_phases import StartTimeline
from worker_vllm.errors import WorkerError

SERVE = (
    sys.executable,
    "-m",
    "worker_vllm.engine.child.launch",
    "serve",
    str(PARROT),
    "--served-model-name",
    "parrot",
)
ASK = {"prompt": "hello", "max_tokens": 2}
JOB = {"input": {"prompt": "hello", "sampling_params": {"max_tokens": 2}}}
REQUEST = EngineRequest(
    "POST",
    "/v1/completions",
    json.dumps({"model": "parrot", **ASK}).encode(),
    {"content-type": "application/json"},
)
# Without a KV cache's size vLLM on CPU claims 92% of the machine's memory; usage statistics would ask the network.
BOTH = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
SPAWNED = {"VLLM_WORKER_MULTIPROC_METHOD": "spawn"}  # vLLM's own way, and the worker's on GPUs
COMPILED = {"ENFORCE_EAGER": "0"}
LAST_PROCESS_S = 30.0
SHARE = re.compile(r"the engine was spawned ([\d.]+) s after this process started")
READY = re.compile(r"the engine is ready after [\d.]+ s \((.*)\)")
PHASE = re.compile(r"([\w-]+)(?: /\S+)? ([\d.]+)")


@dataclass(slots=True)
class Start:
    """One start, in seconds from the command on; `ready_s` is what its own log says is the end of the start."""

    answer_s: float = 0.0
    ready_s: float = 0.0
    share_s: float = 0.0  # until the engine was spawned
    cpu_s: float = 0.0  # of all processes, until they ended
    phases: dict[str, float] = field(default_factory=dict)


Variant = Callable[[str, str], Awaitable[Start]]  # given the endpoint's address and a new worker's name


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks engine_start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compiled", action="store_true", help="vLLM's compiled default too: warm caches, and none")
    parser.add_argument("--only", default="", help="just the variants whose names hold this")
    add_output(parser)
    given = parser.parse_args()
    prctl(PR_SET_CHILD_SUBREAPER, 1)  # `vllm serve` ends before its processes do: their CPU time comes to us
    with tempfile.TemporaryDirectory() as kept, gateway_process() as url:
        chosen = {**EAGER, **(compiled(Path(kept)) if given.compiled else {})}
        wanted = {name: start for name, start in chosen.items() if given.only in name}
        starts = asyncio.run(measure(wanted, url, given.rounds))
    figures = {name: [asdict(start) for start in found] for name, found in starts.items()}
    deliver(Report("engine_start", tables(starts), figures), given)


def plain(*arguments: str, **more: str) -> Variant:
    """`vllm serve` as its user types it, by the entry point that copes with the CPU wheel's name."""

    async def start(url: str, name: str) -> Start:
        with tempfile.TemporaryDirectory() as directory:
            socket = f"{directory}/engine.sock"
            environment = {**inherited(), **BOTH, **SPAWNED, **more}
            return await measured(
                (*SERVE, "--uds", socket, *arguments), environment, lambda: polled(f"unix:{socket}")
            )

    return start


def ours(**more: str) -> Variant:
    """`worker-vllm start` as the platform runs it."""

    async def start(url: str, name: str) -> Start:
        served = {"MODEL_NAME": str(PARROT), "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "parrot"}
        environment = {**inherited(), **BOTH, **worker_environment(url, name), **served, **more}
        return await measured(START, environment, lambda: queued(url))

    return start


def fresh(start: Callable[..., Variant], *arguments: str, **more: str) -> Variant:
    """A new container's home: nothing that was compiled before is in it."""

    async def begin(url: str, name: str) -> Start:
        with tempfile.TemporaryDirectory() as home:
            return await start(*arguments, HOME=home, **more)(url, name)

    return begin


EAGER: dict[str, Variant] = {
    "vllm serve --enforce-eager": plain("--enforce-eager"),
    "worker-vllm start, engine spawned": ours(**SPAWNED),
    "worker-vllm start": ours(),
}


def compiled(kept: Path) -> dict[str, Variant]:
    """vLLM's default. On the platform a container's home is new every time, and a volume is kept."""
    volume = {"VLLM_CACHE_ROOT": str(kept), "TORCHINDUCTOR_CACHE_DIR": str(kept / "inductor")}
    return {
        "vllm serve, warm home": plain("--no-enforce-eager"),
        "worker-vllm start, compiled, engine spawned, warm home": ours(**COMPILED, **SPAWNED),
        "worker-vllm start, compiled, warm home": ours(**COMPILED),
        "vllm serve, new home": fresh(plain, "--no-enforce-eager"),
        "worker-vllm start, compiled, new home, warm volume": fresh(ours, **COMPILED, **volume),
    }


async def measure(variants: Mapping[str, Variant], url: str, rounds: int) -> dict[str, list[Start]]:
    """All rounds, one start at a time; the first is left out."""
    starts: dict[str, list[Start]] = {name: [] for name in variants}
    for count in range(rounds + 1):
        for number, (name, start) in enumerate(variants.items()):
            found = await start(url, f"w{count}-{number}")
            print(f"round {count}: {name}: {found.answer_s:.1f} s", file=sys.stderr, flush=True)
            if count:
                starts[name].append(found)
    return starts


async def measured(
    command: Iterable[str], environment: Mapping[str, str], answered: Callable[[], Awaitable[None]]
) -> Start:
    """One start to its first answer; the process has ended when this returns."""
    others = set(descendants(os.getpid()))
    found, cpu_s, began = Start(), children_cpu_s(), time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, limit=1 << 20
    )
    assert process.stdout is not None
    reading = asyncio.create_task(read(process.stdout, found, began))
    ended = asyncio.create_task(process.wait())
    answer = asyncio.ensure_future(answered())
    try:
        await asyncio.wait([answer, ended], return_when=asyncio.FIRST_COMPLETED)
        found.answer_s = time.monotonic() - began
        if ended.done():
            raise SystemExit(f"the start failed with status {ended.result()}: {(await reading)[-2000:]}")
        answer.result()
        process.terminate()
        await ended
        await reading
    finally:
        answer.cancel()
        if not ended.done():
            process.kill()
            await ended
    reap(others)
    found.cpu_s = children_cpu_s() - cpu_s
    return found


def reap(others: set[int]) -> None:
    """Wait until every process but the others has ended."""
    deadline = time.monotonic() + LAST_PROCESS_S
    while time.monotonic() < deadline:
        pid, _ = os.waitpid(-1, os.WNOHANG)
        if not pid:
            if set(descendants(os.getpid())) <= others:
                return
            time.sleep(0.05)  # processes of processes have no event here
    raise SystemExit(f"processes of the engine are still there after {LAST_PROCESS_S:.0f} s")


async def read(log: asyncio.StreamReader, found: Start, began: float) -> str:
    """Take the figures out of a log: of the worker its own lines, of `vllm serve` as the worker parses them."""
    timeline = StartTimeline(time.monotonic, began)
    lines = []
    async for raw in log:
        line = raw.decode(errors="replace").rstrip()
        lines.append(line)
        if share := SHARE.search(line):
            found.share_s = float(share[1])
        elif ready := READY.search(line):
            found.ready_s = time.monotonic() - began
            found.phases = {name: float(took) for name, took in PHASE.findall(ready[1])}
        elif not found.ready_s:
            timeline.read(line)
            if timeline.phase == "ready":
                found.ready_s = time.monotonic() - began
                found.phases = dict(timeline.phases)
    return "\n".join(lines)


async def polled(address: str) -> None:
    """Ask a server that says nothing by itself until it answers."""
    engine = HttpEngine(address)
    try:
        while not await answers(engine):  # noqa: ASYNC110 a starting server says nothing by itself
            await asyncio.sleep(0.02)
    finally:
        await engine.aclose()


async def answers(engine: HttpEngine) -> bool:
    """Whether it answers the request."""
    try:
        response = await engine.request(REQUEST)
        await response.read()
    except WorkerError:
        return False
    return response.status == 200


async def queued(url: str) -> None:
    """One job, put into the queue at once."""
    async with Http(url) as endpoint:
        answer = (await endpoint.post("/runsync?wait=300000", JOB)).json
    if answer["status"] != "COMPLETED":
        raise SystemExit(f"the job ended with {answer}")


def inherited() -> dict[str, str]:
    """What of this environment is no setting."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ} | {"PYTHONUNBUFFERED": "1"}


def children_cpu_s() -> float:
    """CPU seconds of every child that ended so far."""
    times = os.times()
    return times.children_user + times.children_system


def tables(starts: Mapping[str, list[Start]]) -> list[Table]:
    """Two tables: the whole, and where the time went."""
    first = next(iter(starts.values()))
    rows = []
    for name, found in starts.items():
        share = median(start.share_s for start in found)
        columns = [median(start.answer_s for start in found), median(start.ready_s for start in found)]
        cells = [f"{column:.1f} s" for column in columns]
        ratio = median(own.answer_s / other.answer_s for own, other in zip(found, first, strict=True))
        cpu_s = median(start.cpu_s for start in found)
        rows.append([name, *cells, f"{share:.2f} s" if share else "-", f"{cpu_s:.0f} s", f"{ratio:.2f}"])
    head = ["", "first answer", "ready", "spawned", "CPU", f"first answer / {next(iter(starts))}"]
    whole = Table(f"Medians of {len(first)} warm starts", head, rows)
    phases = list(dict.fromkeys(phase for found in starts.values() for start in found for phase in start.phases))
    rows = []
    for name, found in starts.items():
        medians = (median(start.phases.get(phase, 0.0) for start in found) for phase in phases)
        rows.append([name, *(f"{took_s:.1f}" for took_s in medians)])
    return [whole, Table("Phases in seconds", ["", *phases], rows)]
