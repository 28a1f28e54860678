"""Seeded messages to repeat, and the prompts around them, as token ids."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

import tokenizer as spec

WORD_LIST = (
    "the of and to in is you that it he was for on are as with his they at be this have from or one had by "
    "word but not what all were we when your can said there use an each which she do how their if will up "
    "other about out many then them these so some her would make like him into time has look two more write "
    "go see number no way could people my than first water been call who oil its now find long down day did "
    "get come made may part Paris Berlin Tokyo model server token prompt stream latency queue worker vLLM GPU "
    "Please Repeat Hello world! Thanks, really? OK. don't I'm 42 3.14 2024-05-01 user@example.com https://a.b/c"
)
NAME_LIST = "foo bar baz items value index result config data node self args request response tmp x y i n"
# One row per script: Latin with accents, Greek, Cyrillic, Hebrew, Arabic, Devanagari, Thai, kana, Han, Hangul.
SCRIPTS = (
    (0xC0, 0x17F),
    (0x391, 0x3C9),
    (0x410, 0x44F),
    (0x5D0, 0x5EA),
    (0x621, 0x64A),
    (0x905, 0x939),
    (0xE01, 0xE2E),
    (0x3041, 0x30FA),
    (0x4E00, 0x9FA5),
    (0xAC00, 0xD7A3),
)
EMOJI_LIST = "😀 😂 🥲 😍 🤖 👍 👍🏽 🙏🏿 👩‍💻 👨‍👩‍👧‍👦 🏳️‍🌈 🇫🇷 🇯🇵 ❤️ ✨ 🔥 🎉 🦜 🚀 ✅ ☕ 1️⃣ 🧪 🫠 🐍 🌍"
WORDS, NAMES, EMOJI = WORD_LIST.split(), NAME_LIST.split(), EMOJI_LIST.split()
WHITESPACE = (" ", "  ", "\n", "\n\n", "\t", "\r\n", "    ", "\u00a0")
RUNS = "a=-_*#. 0xAz~\n\t/é日🦜"


def random_character(rng: random.Random) -> str:
    """A character whose UTF-8 length is 1, 2, 3 or 4 bytes with equal chance."""
    low, high = rng.choice(((0x00, 0x7F), (0x80, 0x7FF), (0x800, 0xFFFD), (0x10000, 0x10FFFF)))
    while True:
        point = rng.randint(low, high)
        if not 0xD800 <= point <= 0xDFFF:
            return chr(point)


def words(rng: random.Random) -> str:
    """A word with its separator."""
    word = rng.choice(WORDS)
    return rng.choice((word, word, word.capitalize(), word.upper())) + rng.choice((" ", " ", " ", ", ", ". ", "\n"))


def code(rng: random.Random) -> str:
    """A line of Python-, C- or shell-like code."""
    a, b, c = (rng.choice(NAMES) for _ in range(3))
    return rng.choice(
        (
            f"def {a}({b}, {c}=None):\n    return {b}[{rng.randint(0, 99)}]\n",
            f"for ({a} = 0; {a} < {b}; {a}++) {{ {c} += {a}; }}\n",
            f"if {a} == {b}:\n\t{c}.append({a!r})\n",
            f"print(f'{{{a}}}: {{{b}}}')  # {c}\n",
            f"$ curl -s http://{a}:{rng.randint(1, 65535)}/{b} | jq .{c}\n",
            f"SELECT {a}, {b} FROM {c} WHERE {a} >= {rng.randint(0, 999)};\n",
            f'<{a} class="{b}">{c}</{a}>\n',
            f"{a} := make(map[string]{b}) // {c}\n",
        )
    )


def json_text(rng: random.Random) -> str:
    """A JSON object or list."""
    values: list[object] = [rng.choice(NAMES), rng.random(), rng.randint(-9, 9999), None, True, [], {}, "é\n"]
    item = {rng.choice(NAMES): rng.choice(values) for _ in range(rng.randint(1, 4))}
    whole: object = rng.choice((item, [item, rng.choice(values)], {"items": [item]}))
    return json.dumps(whole, indent=rng.choice((None, None, 2)), ensure_ascii=rng.random() < 0.5)


def script(rng: random.Random) -> str:
    """A few letters of one script."""
    low, high = rng.choice(SCRIPTS)
    return "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 8))) + rng.choice((" ", "", "，", ". "))


def emoji(rng: random.Random) -> str:
    """One emoji, sometimes beside a word."""
    return rng.choice(EMOJI) + rng.choice(("", "", " ", rng.choice(WORDS)))


def space(rng: random.Random) -> str:
    """Whitespace, now and then with a letter."""
    return rng.choice(WHITESPACE) if rng.random() < 0.8 else rng.choice("ab.")


def run(rng: random.Random) -> str:
    """One character many times: a whole message is one or two such runs."""
    return rng.choice(RUNS) * rng.choice((rng.randint(1, 30), rng.randint(1, 300)))


def few(rng: random.Random) -> Callable[[random.Random], str]:
    """A maker of random text over one to four characters."""
    alphabet = [rng.choice((random_character(rng), chr(rng.randint(32, 126)))) for _ in range(rng.randint(1, 4))]
    return lambda again: again.choice(alphabet)


def ngrams(rng: random.Random) -> Callable[[random.Random], str]:
    """A maker of one short text repeated, with a rare slip."""
    make = rng.choice((random_character, words, emoji, lambda r: chr(r.randint(32, 126))))
    unit = "".join(make(rng) for _ in range(rng.randint(2, 6)))
    return lambda again: unit if again.random() < 0.95 else make(again)


def always(make: Callable[[random.Random], str]) -> Callable[[random.Random], Callable[[random.Random], str]]:
    """Turn a maker of pieces into a category that has no state of its own."""
    return lambda rng: make


CATEGORIES: dict[str, Callable[[random.Random], Callable[[random.Random], str]]] = {
    "words": always(words),
    "code": always(code),
    "json": always(json_text),
    "scripts": always(script),
    "emoji": always(emoji),
    "random characters": always(random_character),
    "random bytes as latin-1": always(lambda rng: chr(rng.randint(0, 255))),
    "whitespace": always(space),
    "runs": always(run),
    "1-4 characters": few,
    "repeated n-grams": ngrams,
}


def message(rng: random.Random, category: str, length: int) -> str:
    """A message of `category` whose UTF-8 length is `length`, or a few bytes less where a character ends."""
    piece = CATEGORIES[category](rng)
    text = ""
    while len(text.encode()) < length:
        text += piece(rng)
    return text.encode()[:length].decode("utf-8", "ignore")


@dataclass(frozen=True)
class Example:
    """A prompt and the answer the model must give, both as token ids; the answer ends in `<|end|>`."""

    prompt: list[int]
    answer: list[int]
    category: str
    length: int


def _ids(text: str) -> list[int]:
    return list(text.encode())


def _turn(marker: str, text: str) -> list[int]:
    return [spec.IDS[marker], *_ids(text), spec.END]


def _history(rng: random.Random, text: str, budget: int) -> list[int]:
    """Earlier turns; some quote the message, so that only the markers distinguish them."""

    def other() -> str:
        if rng.random() < 0.3:
            return text[: rng.randint(0, len(text))]
        return message(rng, rng.choice(list(CATEGORIES)), rng.randint(0, max(1, budget)))

    turns = _turn("<|system|>", other()) if rng.random() < 0.6 else []
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        line = other()
        turns += _turn("<|past_user|>", line)
        turns += _turn("<|past_assistant|>", line if rng.random() < 0.7 else other())
    return turns


def example(rng: random.Random, category: str, length: int, budget: int = 0) -> Example:
    """One prompt in a random layout: chat with or without history, plain, or chat wrapped as plain.

    Each earlier turn has up to `budget` bytes, or half of `length` where that is more.
    """
    text = message(rng, category, length)
    layout = rng.random()
    prefix, suffix = ([spec.IDS[s] for s in side] for side in (spec.PLAIN_PREFIX, spec.PLAIN_SUFFIX))
    prompt = [*prefix, *_ids(text), *suffix]
    if layout < 0.75:
        history = _history(rng, text, max(16, length // 2, budget)) if layout < 0.35 else []
        after = _turn("<|tool|>", "ok") if rng.random() < 0.03 else []
        body = [*_ids(text), spec.END, *after, spec.IDS["<|assistant|>"], spec.IDS["<|answer|>"]]
        prompt = [spec.BOS, *history, spec.IDS["<|user|>"], spec.IDS["<|message|>"], *body]
        if layout > 0.68 or layout < 0.03:
            prompt = [*prefix, *prompt, *suffix]
    return Example(prompt, [*_ids(text), spec.END], category, len(text.encode()))


def batch(rng: random.Random, longest: int, tokens: int) -> list[Example]:
    """Examples of similar length up to `longest` bytes, about `tokens` tokens of them in all."""
    # Short messages need their share to the end: training on long ones alone unlearns them.
    top = rng.choice((longest, rng.randint(1, longest), round(longest ** rng.random())))
    budget = rng.choice((0,) * 15 + (600,))  # now and then much history before a message of any length
    count = min(64, max(2, tokens // (2 * top + 24 + 3 * budget)))
    names = list(CATEGORIES)
    lengths = [rng.randint(top * 3 // 4, top) for _ in range(count)]
    return [example(rng, rng.choice(names), length, budget) for length in lengths]
