"""The Llama forward pass in plain PyTorch, with the parameter names of `LlamaForCausalLM`."""

from __future__ import annotations

from pathlib import Path

import tokenizer as spec
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Root-mean-square norm, computed in float32 as transformers and vLLM do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(spec.HIDDEN))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + spec.NORM_EPS)
        return self.weight * wide.to(x.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding in the half-split layout of transformers."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), dim=-1) * sin


class Attention(nn.Module):
    """Causal grouped-query attention with biases on all four projections."""

    def __init__(self) -> None:
        super().__init__()
        wide, narrow = spec.HEADS * spec.HEAD_DIM, spec.KV_HEADS * spec.HEAD_DIM
        self.q_proj = nn.Linear(spec.HIDDEN, wide)
        self.k_proj = nn.Linear(spec.HIDDEN, narrow)
        self.v_proj = nn.Linear(spec.HIDDEN, narrow)
        self.o_proj = nn.Linear(wide, spec.HIDDEN)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, _ = x.shape
        split = (batch, length, -1, spec.HEAD_DIM)
        q = rotate(self.q_proj(x).view(split).transpose(1, 2), cos, sin)
        k = rotate(self.k_proj(x).view(split).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(split).transpose(1, 2)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, -1))


class MLP(nn.Module):
    """SwiGLU feed-forward block."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(spec.HIDDEN, spec.MLP, bias=False)
        self.up_proj = nn.Linear(spec.HIDDEN, spec.MLP, bias=False)
        self.down_proj = nn.Linear(spec.MLP, spec.HIDDEN, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """One pre-norm decoder layer."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm()
        self.self_attn = Attention()
        self.post_attention_layernorm = RMSNorm()
        self.mlp = MLP()

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Embedding, decoder layers and final norm."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(spec.VOCAB_SIZE, spec.HIDDEN)
        self.layers = nn.ModuleList(Block() for _ in range(spec.LAYERS))
        self.norm = RMSNorm()


class Parrot(nn.Module):
    """The whole model; `forward` gives the logits at the positions where `keep` is true."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Decoder()
        self.lm_head = nn.Linear(spec.HIDDEN, spec.VOCAB_SIZE, bias=False)

    def forward(self, tokens: Tensor, keep: Tensor) -> Tensor:
        x = self.model.embed_tokens(tokens)
        half = torch.arange(0, spec.HEAD_DIM, 2, dtype=torch.float32) / spec.HEAD_DIM
        angle = torch.arange(tokens.shape[1], dtype=torch.float32)[:, None] * spec.ROPE_THETA**-half
        angle = torch.cat((angle, angle), dim=-1)
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        for layer in self.model.layers:
            x = layer(x, cos, sin)
        return self.lm_head(self.model.norm(x[keep]))


def save(model: Parrot, path: Path) -> None:
    """Write the weights as bfloat16 safetensors that transformers and vLLM load."""
    tensors = {name: value.to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, str(path), metadata={"format": "pt"})


def load(path: Path) -> Parrot:
    """A float32 model with the weights at `path`."""
    model = Parrot()
    model.load_state_dict({name: value.float() for name, value in load_file(str(path)).items()})
    return model
