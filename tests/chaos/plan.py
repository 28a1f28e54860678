"""The requests of a chaos run's clients, and the outcomes they may get. Pure, and the same for the same seed."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from enum import StrEnum


class Way(StrEnum):
    """How a job is asked for."""

    RUN = "run"
    RUNSYNC = "runsync"
    STREAM = "stream"  # /run, then /stream until it ends
    OPENAI = "openai"
    OPENAI_STREAM = "openai stream"


@dataclass(frozen=True, slots=True)
class Ask:
    """One job: `text` is its expected answer. With `cancel_after_s` it is cancelled after so many seconds."""

    number: int
    way: Way
    text: str
    cancel_after_s: float | None


@dataclass(frozen=True, slots=True)
class ClientOutcome:
    """How a job ended for its client: COMPLETED, FAILED, CANCELLED or TIMED_OUT; the text it got; the error."""

    status: str
    text: str = ""
    error: str = ""


def plan(count: int, seed: int) -> list[Ask]:
    """So many asks; every tenth job or so is cancelled, somewhere between at once and after its end."""
    dice = random.Random(seed)
    asks = []
    for number in range(count):
        way = dice.choice(list(Way))
        words = "".join(dice.choice("abcdefgh é😀") for _ in range(dice.randint(1, 24)))
        stays = way not in (Way.RUN, Way.STREAM) or dice.random() > 0.2
        asks.append(Ask(number, way, f"job {number}: {words}|", None if stays else dice.random() * 0.4))
    return asks


def fault_in(ask: Ask, outcome: ClientOutcome) -> str:
    """What is wrong with how a job ended; empty when it is right.

    Its own right answer, a clear error after part of it, or cancelled if it was: nothing lost, doubled or swapped.
    """
    if outcome.status == "COMPLETED":
        return "" if outcome.text == ask.text else f"wrong text {outcome.text!r}"
    if not ask.text.startswith(outcome.text):
        return f"{outcome.status} after a wrong text {outcome.text!r}"
    if outcome.status == "CANCELLED":
        return "" if ask.cancel_after_s is not None else "cancelled without a request"
    if outcome.status in ("FAILED", "TIMED_OUT"):
        return "" if len(outcome.error) > 10 else f"{outcome.status} without a clear error: {outcome.error!r}"
    return f"ended as {outcome.status}"


def text_of(outputs: list[object]) -> str:
    """The text in the outputs of a native job: items of choices of tokens."""
    return "".join(
        token
        for item in outputs
        if isinstance(item, dict)
        for token in item.get("choices", [{}])[0].get("tokens", [])
    )


def read_events(body: str) -> tuple[str, str]:
    """Text and error of a stream of server-sent events, which must end with `[DONE]`."""
    text, error, ended = "", "", False
    for event in body.split("\n\n"):
        data = event.removeprefix("data: ").strip()
        if data == "[DONE]":
            ended = True
        elif data:
            value = json.loads(data)
            if "error" in value:
                error = json.dumps(value["error"])
            else:
                text += value["choices"][0]["text"]
    return text, error or ("" if ended else "cut off without [DONE]")
