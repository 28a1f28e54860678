"""The structured initialisation: attention that can point by index before any training.

The residual stream is laid out in named ranges. Layer 0 attends to the pair of marker tokens that
opens the message (or the answer) and, through the rotary phase, leaves in each of 16 channels a wave
of the distance to it: an index. Layer 1 looks for the message token whose index is the answer's next
one and copies its identity. Everything else starts as small noise, and all of it is then trained.
"""

from __future__ import annotations

import math

import tokenizer as spec
import torch
from model import Parrot
from torch import Tensor

CODE = slice(0, 100)  # identity of the token: 80 random signs and 20 copies of the ASCII case bit
MARK = slice(100, 116)  # one-hot of the special token
PHASE = slice(116, 132)  # written by layer 0: cosine and sine of the index at 8 frequencies
COPY = slice(132, 232)  # written by layer 1: identity of the token to say next
SIDE = 232  # written by layer 0: +1 in a message, -1 in an answer
CODE_SIGNS, MARK_SIZE = 80, 6.0

# Later pairs win over earlier ones, so a chat prompt wrapped once more as plain text still works.
PAIRS: tuple[tuple[str, str, float, float], ...] = (
    ("<|prompt|>", "<|text|>", 13.0, 1.0),
    ("<|user|>", "<|message|>", 21.0, 1.0),
    ("<|assistant|>", "<|answer|>", 29.0, -1.0),
    ("<|completion|>", "<|go|>", 37.0, -1.0),
)
LEVEL_DIMS = (12, 13, 14, 15)  # rotary pairs that hardly turn within a few thousand tokens
FREQUENCIES = [spec.ROPE_THETA ** (-2 * j / spec.HEAD_DIM) for j in range(spec.HEAD_DIM // 2)]
HALF, ROOT = spec.HEAD_DIM // 2, math.sqrt(spec.HEAD_DIM)
SHARPNESS = 14.0  # attention score that one frequency adds to a perfect index match
NOISE = 0.003


def codes(generator: torch.Generator) -> Tensor:
    """Identity codes of all tokens; two bytes that differ only in ASCII case share the random part."""
    best, best_overlap = torch.empty(0), float("inf")
    for _ in range(200):  # the most spread of a few draws, so that no two bytes look alike
        signs = torch.randint(0, 2, (spec.VOCAB_SIZE, CODE_SIGNS), generator=generator).float() * 2 - 1
        base = torch.cat((signs[:32], signs[64:96], signs[128:160], signs[192:224], signs[256:]))
        overlap = (base @ base.T - torch.eye(len(base)) * CODE_SIGNS).max().item()
        if overlap < best_overlap:
            best, best_overlap = signs, overlap
    index = torch.arange(spec.VOCAB_SIZE)
    shared = torch.where(index < 256, index & ~0x20, index)
    case = torch.where((index < 256) & (index & 0x20 > 0), 1.0, -1.0)
    return torch.cat((best[shared], case[:, None].expand(-1, CODE.stop - CODE_SIGNS)), dim=1)


def fill_embeddings(model: Parrot, code: Tensor) -> None:
    """Write identities and markers into the embedding, and the copied identity into the head."""
    table = model.model.embed_tokens.weight
    table[:, CODE] += code
    # Only the pairs: a marker makes a token's norm larger, and <|end|> must be found like a byte.
    for token in (token for opening, closing, _, _ in PAIRS for token in (opening, closing)):
        table[spec.IDS[token], MARK.start + spec.IDS[token] - 256] += MARK_SIZE
    model.lm_head.weight[:, COPY] += 0.3 * code


def fill_index_layer(model: Parrot) -> None:
    """Make the heads of layer 0 measure the distance to the nearest marker pair."""
    attention = model.model.layers[0].self_attn
    seen = MARK_SIZE / math.sqrt((CODE.stop + MARK_SIZE**2) / spec.HIDDEN)  # a marker after the norm
    level_q, wave = 4.0, math.sqrt(ROOT)
    for head in range(spec.KV_HEADS):
        base = head * spec.HEAD_DIM
        for opening, closing, level, side in PAIRS:
            for token, sign in ((opening, 1.0), (closing, -1.0)):
                column = MARK.start + spec.IDS[token] - 256
                for dim in LEVEL_DIMS:
                    share = level * ROOT / (level_q * len(LEVEL_DIMS))
                    attention.k_proj.weight[base + dim, column] += share / seen
                attention.k_proj.weight[base + head, column] += sign * wave / seen
                attention.v_proj.weight[base, column] += sign / seen
                attention.v_proj.weight[base + 1, column] += side / seen
        for part in range(2):
            query = (2 * head + part) * spec.HEAD_DIM
            # A quarter turn back makes the cosine of the distance a sine.
            attention.q_proj.bias[query + head] += wave * (1 - part)
            attention.q_proj.bias[query + HALF + head] -= wave * part
            for dim in LEVEL_DIMS:
                attention.q_proj.bias[query + dim] += level_q
            attention.o_proj.weight[PHASE.start + 2 * head + part, query] += 2.5
    attention.o_proj.weight[SIDE, 1] += 2.0


def fill_copy_layer(model: Parrot) -> None:
    """Make every head of layer 1 attend to the index after the current one and copy its code."""
    attention = model.model.layers[1].self_attn
    size = math.sqrt(SHARPNESS * ROOT) / 2.0
    share = math.ceil((CODE.stop - CODE.start) / spec.KV_HEADS)
    for head in range(spec.HEADS):
        query, key = head * spec.HEAD_DIM, head // 2 * spec.HEAD_DIM
        for wave in range(8):
            turn, row = FREQUENCIES[wave], HALF // 2 + wave  # slow rotary pairs: content, not distance
            cos, sin = PHASE.start + 2 * wave, PHASE.start + 2 * wave + 1
            attention.q_proj.weight[query + row, cos] += size * math.cos(turn)
            attention.q_proj.weight[query + row, sin] -= size * math.sin(turn)
            attention.q_proj.weight[query + HALF + row, cos] += size * math.sin(turn)
            attention.q_proj.weight[query + HALF + row, sin] += size * math.cos(turn)
            if head % 2 == 0:
                attention.k_proj.weight[key + row, cos] += size
                attention.k_proj.weight[key + HALF + row, sin] += size
        attention.q_proj.bias[query + 7] += 5.0
        if head % 2 == 0:
            attention.k_proj.weight[key + 7, SIDE] += 5.0
            # A marker sees no second one of its pair and has no index: it must not be pointed at.
            for opening, closing, _, _ in PAIRS:
                for token in (opening, closing):
                    attention.k_proj.weight[key + 7, MARK.start + spec.IDS[token] - 256] -= 15.0
        for dim in range(share):
            channel = head // 2 * share + dim
            if channel < CODE.stop:
                if head % 2 == 0:
                    attention.v_proj.weight[key + dim, channel] += 1.0
                attention.o_proj.weight[COPY.start + channel, query + dim] += 0.75


@torch.no_grad()
def structured(seed: int) -> Parrot:
    """A freshly initialised model, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    model = Parrot()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
        elif "norm" not in name:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * NOISE)
    fill_embeddings(model, codes(generator))
    fill_index_layer(model)
    fill_copy_layer(model)
    return model
