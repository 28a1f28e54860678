"""Models for the GPU tests: real shapes, no weights (`--load-format dummy`), the embedded model's tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.support.paths import PARROT

LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "bos_token_id": 256,
    "eos_token_id": 258,
}


def llama(directory: Path, layers: int = 32) -> Path:
    """A directory that vLLM takes for a Llama of this many layers (32: eight billion parameters)."""
    model = directory / "llama"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text(json.dumps({**LLAMA_8B, "num_hidden_layers": layers}))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(PARROT / name, model / name)
    return model
