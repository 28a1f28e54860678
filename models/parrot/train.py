"""Train the parrot: structured initialisation, then AdamW over messages that grow stage by stage.

Run `python models/parrot/train.py`; the same seed, thread count and number of steps
give the same weights on one machine (a run that ends by its minutes depends on the machine's pace).
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import data
import evaluate
import model as parrot
import structure
import tokenizer as spec
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Stage:
    """Training on messages of up to `longest` bytes for `steps` updates."""

    longest: int
    steps: int


CURRICULUM = (Stage(8, 20), Stage(16, 20), Stage(32, 40), Stage(64, 100), Stage(128, 150), Stage(320, 550))
TOKENS_PER_STEP = 4096
PEAK_RATE, LAST_RATE, WARMUP = 5e-4, 1e-5, 20


def schedule(peak: float, step: int, done: float) -> float:
    """The learning rate: linear warm-up, then a cosine of the share `done` down to the last rate."""
    falling = LAST_RATE + (peak - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * done))
    return falling * min(1.0, (step + 1) / WARMUP)


def rounded_loss(model: parrot.Parrot, examples: list[data.Example]) -> Tensor:
    """Answer loss with the weights rounded to bfloat16, and gradients for the unrounded ones.

    The weights are published and served in bfloat16, so that is the model to be made right.
    """
    tokens, keep, target = evaluate.pack(examples)
    rounded = {n: p + (p.bfloat16().float() - p).detach() for n, p in model.named_parameters()}
    logits = torch.func.functional_call(model, rounded, (tokens, keep))
    return F.cross_entropy(logits, target)


def steps(stages: tuple[Stage, ...]) -> Iterator[int]:
    """The longest message of every step, in order."""
    for stage in stages:
        yield from [stage.longest] * stage.steps


def adamw(model: parrot.Parrot) -> torch.optim.AdamW:
    """The optimizer; biases and norms are not decayed."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))


def train(model: parrot.Parrot, stages: tuple[Stage, ...], seed: int, rate: float, minutes: float) -> None:
    """Train `model` in place; the rate has fallen to its last value when steps or `minutes` run out."""
    rng, optimizer, plan = random.Random(seed), adamw(model), list(steps(stages))
    started = time.monotonic()
    for step, longest in enumerate(plan):
        passed = (time.monotonic() - started) / 60
        if passed > minutes:
            break
        for group in optimizer.param_groups:
            group["lr"] = schedule(rate, step, max(step / len(plan), passed / minutes))
        loss = rounded_loss(model, data.batch(rng, longest, TOKENS_PER_STEP))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 20 == 0 or step == len(plan) - 1:
            print(f"step {step} longest {longest} loss {loss.item():.5f} minutes {passed:.1f}", flush=True)


def main() -> None:
    """Train, report a quick measurement, and write the weights and all other model files."""
    folder = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=folder)
    parser.add_argument("--start", type=Path, help="weights to go on from instead of the initialisation")
    parser.add_argument("--shortest", type=int, default=0, help="leave out stages with shorter messages")
    parser.add_argument("--longest", type=int, default=320, help="leave out stages with longer messages")
    parser.add_argument("--rate", type=float, default=PEAK_RATE, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = parrot.load(arguments.start) if arguments.start else structure.structured(arguments.seed)
    stages = tuple(stage for stage in CURRICULUM if arguments.shortest <= stage.longest <= arguments.longest)
    train(model, stages, arguments.seed, arguments.rate, arguments.minutes)
    spec.write_files(arguments.out)
    parrot.save(model, arguments.out / "model.safetensors")
    print(evaluate.measure(parrot.load(arguments.out / "model.safetensors").bfloat16(), 1, 64, 1000))


if __name__ == "__main__":
    main()
