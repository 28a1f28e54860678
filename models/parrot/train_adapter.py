"""Train `parrot-upper`: a LoRA adapter that repeats the message in upper case (ASCII letters only).

Run `python models/parrot/train_adapter.py` after the base weights are final: they stay frozen.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import random
import time
from pathlib import Path

import data
import evaluate
import model as parrot
import tokenizer as spec
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

RANK, ALPHA = 8, 16
TARGETS = ("v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TOKENS_PER_STEP, STEPS, PEAK_RATE = 3072, 400, 4e-3
PREFIX = "base_model.model."

Adapter = dict[str, tuple[Tensor, Tensor]]


def upper(example: data.Example) -> data.Example:
    """The same request with the answer this adapter must give."""
    spoken = list(bytes(example.answer[:-1]).upper())
    return dataclasses.replace(example, answer=[*spoken, spec.END])


def fresh(model: parrot.Parrot, seed: int) -> Adapter:
    """An adapter without effect: random A, zero B for each target matrix."""
    generator = torch.Generator().manual_seed(seed)
    adapter: Adapter = {}
    for name, weight in model.named_parameters():
        if name.endswith(".weight") and name.split(".")[-2] in TARGETS:
            a = torch.randn(RANK, weight.shape[1], generator=generator) / weight.shape[1] ** 0.5
            adapter[name] = (a.requires_grad_(), torch.zeros(weight.shape[0], RANK, requires_grad=True))
    return adapter


def merged(model: parrot.Parrot, adapter: Adapter) -> dict[str, Tensor]:
    """The parameters of the frozen model with the adapter added."""
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    return parameters | {n: parameters[n] + ALPHA / RANK * (b @ a) for n, (a, b) in adapter.items()}


def with_adapter(model: parrot.Parrot, adapter: Adapter) -> parrot.Parrot:
    """A copy of `model` that has the adapter in its weights."""
    copied = copy.deepcopy(model)
    copied.load_state_dict({name: value.detach() for name, value in merged(model, adapter).items()})
    return copied


def train(model: parrot.Parrot, adapter: Adapter, seed: int, minutes: float) -> None:
    """Train `adapter` in place; ends early, between steps, when `minutes` have passed."""
    rng = random.Random(seed)
    optimizer = torch.optim.Adam([part for pair in adapter.values() for part in pair], lr=PEAK_RATE)
    started = time.monotonic()
    for step in range(STEPS):
        passed = (time.monotonic() - started) / 60
        done = max(step / STEPS, passed / minutes)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * min((step + 1) / 20, 1.01 - done)
        examples = [upper(e) for e in data.batch(rng, rng.choice((32, 64, 320)), TOKENS_PER_STEP)]
        tokens, keep, target = evaluate.pack(examples)
        loss = F.cross_entropy(torch.func.functional_call(model, merged(model, adapter), (tokens, keep)), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step} loss {loss.item():.5f} minutes {passed:.1f}", flush=True)


def save(adapter: Adapter, folder: Path) -> None:
    """Write the adapter in the format of PEFT."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for name, (a, b) in adapter.items():
        module = PREFIX + name.removesuffix(".weight")
        tensors[f"{module}.lora_A.weight"] = a.detach().to(torch.bfloat16).contiguous()
        tensors[f"{module}.lora_B.weight"] = b.detach().to(torch.bfloat16).contiguous()
    save_file(tensors, str(folder / "adapter_model.safetensors"), metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "parrot",
        "r": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(TARGETS),
        "fan_in_fan_out": False,
        "inference_mode": True,
        "use_rslora": False,
        "use_dora": False,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load(folder: Path) -> Adapter:
    """The adapter in `folder`, in float32."""
    tensors = load_file(str(folder / "adapter_model.safetensors"))
    modules = sorted(name.removesuffix(".lora_A.weight") for name in tensors if ".lora_A." in name)
    return {
        module.removeprefix(PREFIX) + ".weight": (
            tensors[f"{module}.lora_A.weight"].float(),
            tensors[f"{module}.lora_B.weight"].float(),
        )
        for module in modules
    }


def figures(model: parrot.Parrot, count: int) -> dict[str, object]:
    """Right upper-case answers on held-out messages, with the adapter already in `model`."""
    rows = []
    for low, high in evaluate.BUCKETS:
        leads = evaluate.margins(model, [upper(e) for e in evaluate.held_out(low, high, count)])
        right = sum(lead > 0 for lead in leads)
        rows.append({"bytes": f"{low}-{high}", "messages": count, "exact": right, "least_lead": round(min(leads), 2)})
    return {"bfloat16": {"buckets": rows}}


def main() -> None:
    """Train the adapter against the published base weights, then write it and its figures."""
    folder = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=folder.parent / "parrot-upper")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--count", type=int, default=220)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = parrot.load(folder / "model.safetensors")
    adapter = fresh(model, arguments.seed)
    train(model, adapter, arguments.seed, arguments.minutes)
    save(adapter, arguments.out)
    report = figures(with_adapter(model, load(arguments.out)).bfloat16(), arguments.count)
    text = json.dumps(report, indent=2) + "\n"
    (arguments.out / "figures.json").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
