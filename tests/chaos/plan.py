"""What the clients of a chaos run ask for, and what they may be told. Pure, and the same for the same seed."""

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
    """One job: its text is its right answer. A job with a patience is cancelled after so many seconds."""

    number: int
    way: Way
    text: str
    cancel_after_s: float | None


@dataclass(frozen=True, slots=True)
class Told:
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
        patient = way not in (Way.RUN, Way.STREAM) or dice.random() > 0.2
        asks.append(Ask(number, way, f"job {number}: {words}|", None if patient else dice.random() * 0.4))
    return asks


def fault_in(ask: Ask, told: Told) -> str:
    """What is wrong with how a job ended; empty when it is right.

    Its own right answer, a clear error after part of it, or cancelled if it was: nothing lost, doubled or swapped.
    """
    if told.status == "COMPLETED":
        return "" if told.text == ask.text else f"wrong text {told.text!r}"
    if not ask.text.startswith(told.text):
        return f"{told.status} after a wrong text {told.text!r}"
    if told.status == "CANCELLED":
        return "" if ask.cancel_after_s is not None else "cancelled by nobody"
    if told.status in ("FAILED", "TIMED_OUT"):
        return "" if len(told.error) > 10 else f"{told.status} without a clear error: {told.error!r}"
    return f"ended as {told.status}"


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
