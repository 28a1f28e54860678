"""The requests of one round: how many, when, how long, streamed or not. The same seed gives the same requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from worker_vllm.simulation.arrivals import Lengths

# Short common words: one token each in most vocabularies.
WORDS = ("the", "of", "and", "to", "in", "is", "you", "that", "it", "was", "for", "on", "are", "as", "with", "at")


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """The load of one round.

    Closed loop: `concurrency` clients send `requests` in all, each the next one when its last has ended. Open loop,
    where `rate` is set: requests arrive at random moments, `rate` a second on average, whether others have ended or
    not; `concurrency` is then the most that may be open at once, and a request that must wait for one is sent late.
    """

    requests: int
    concurrency: int
    rate: float | None
    prompt_words: Lengths
    output_tokens: Lengths
    chat: bool = True
    stream: bool = True
    ignore_eos: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One request: seconds after the round's beginning (0 in a closed loop), its prompt, the tokens to generate."""

    at_s: float
    prompt: str
    output_tokens: int


def planned_requests(plan: LoadPlan, round_number: int) -> Sequence[PlannedRequest]:
    """The requests of a round. Every target gets the same ones; prompts differ from round to round."""
    random = Random(f"{plan.seed}/{round_number}")
    now, found = 0.0, []
    for _ in range(plan.requests):
        now += random.expovariate(plan.rate) if plan.rate else 0.0
        words = plan.prompt_words.draw(random)
        # The number first, so that no two prompts share a prefix that an engine could have cached.
        text = " ".join([str(random.randrange(10**6)), *random.choices(WORDS, k=words - 1)])
        found.append(PlannedRequest(now, text, plan.output_tokens.draw(random)))
    return found
