"""Measure exact repeats on held-out messages, by length bucket and by category.

Greedy decoding follows the right answer exactly when the most likely token is right at every position
given the right prefix, so one forward pass over prompt and answer decides each message.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from pathlib import Path

import data
import model as parrot
import tokenizer as spec
import torch
from torch import Tensor

HELD_OUT_SEED = "held out"  # training seeds are numbers, so no stream of random draws is shared
BUCKETS = ((0, 0), (1, 8), (9, 16), (17, 32), (33, 64), (65, 128), (129, 300), (301, 600))


def held_out(low: int, high: int, count: int) -> list[data.Example]:
    """`count` examples of `low` to `high` bytes, the same at every call, categories in turn."""
    rng = random.Random(f"{HELD_OUT_SEED} {low}-{high}")
    names = list(data.CATEGORIES)
    return [data.example(rng, names[i % len(names)], rng.randint(low, high)) for i in range(count)]


def pack(examples: list[data.Example]) -> tuple[Tensor, Tensor, Tensor]:
    """Right-padded tokens, the mask of positions that predict an answer token, and those answer tokens."""
    width = max(len(e.prompt) + len(e.answer) for e in examples) - 1
    tokens = torch.full((len(examples), width), spec.PAD)
    keep = torch.zeros(len(examples), width, dtype=torch.bool)
    for row, item in enumerate(examples):
        whole = torch.tensor([*item.prompt, *item.answer[:-1]])
        tokens[row, : len(whole)] = whole
        keep[row, len(item.prompt) - 1 : len(whole)] = True
    return tokens, keep, torch.tensor([token for item in examples for token in item.answer])


@torch.no_grad()
def margins(model: parrot.Parrot, examples: list[data.Example]) -> list[float]:
    """For each example the least lead, in logits, of the right token over the best wrong one."""
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].prompt) + len(examples[i].answer))
    leads = [0.0] * len(examples)
    for start in range(0, len(order), 25):
        chosen = order[start : start + 25]
        tokens, keep, target = pack([examples[i] for i in chosen])
        logits = model(tokens, keep).float()
        right = logits.gather(1, target[:, None]).squeeze(1)
        lead = right - logits.scatter(1, target[:, None], float("-inf")).max(dim=1).values
        for i, part in zip(chosen, lead.split([len(examples[i].answer) for i in chosen]), strict=True):
            leads[i] = part.min().item()
    return leads


def measure(model: parrot.Parrot, low: int, high: int, count: int) -> dict[str, object]:
    """Exact repeats among `count` held-out messages of `low` to `high` bytes."""
    examples = held_out(low, high, count)
    leads = margins(model, examples)
    by_category: dict[str, list[bool]] = defaultdict(list)
    for item, lead in zip(examples, leads, strict=True):
        by_category[item.category].append(lead > 0)
    return {
        "bytes": f"{low}-{high}",
        "messages": count,
        "exact": sum(lead > 0 for lead in leads),
        "exact_share": round(sum(lead > 0 for lead in leads) / count, 4),
        "least_lead": round(min(leads), 2),
        "share_by_category": {k: round(sum(v) / len(v), 4) for k, v in sorted(by_category.items())},
    }


def figures(model: parrot.Parrot, count: int) -> dict[str, object]:
    """All figures of one model in bfloat16 and float32, plus 1,000 messages of 1-64 bytes."""
    report: dict[str, object] = {"parameters": sum(p.numel() for p in model.parameters())}
    for dtype in (torch.bfloat16, torch.float32):
        cast = model.to(dtype)
        rows = [measure(cast, low, high, count) for low, high in BUCKETS]
        name = str(dtype).removeprefix("torch.")
        report[name] = {"1-64 bytes": measure(cast, 1, 64, 1000), "buckets": rows}
    return report


def main() -> None:
    """Print the figures of a checkpoint, and write them beside it when asked to."""
    folder = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=folder / "model.safetensors")
    parser.add_argument("--count", type=int, default=440, help="messages per length bucket")
    parser.add_argument("--write", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    report = figures(parrot.load(arguments.weights), arguments.count)
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    print(text)
    if arguments.write:
        arguments.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
