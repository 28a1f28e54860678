"""A model for long prompts: one layer that looks back 256 tokens, so that its prefill grows with the prompt's length
and not with its square, which is what makes the embedded model's take hours on a CPU. It has no weights of its own
(`LOAD_FORMAT=dummy`), the embedded model's tokenizer and its context of 131,072 tokens.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.support.paths import PARROT

CONFIG = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "sliding_window": 256,
    "vocab_size": 272,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "rope_theta": 1e6,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
    "bos_token_id": 256,
    "eos_token_id": 258,
}


def windowed_settings(directory: Path) -> dict[str, str]:
    """Write the model into `directory`; the settings that serve it as `windowed`."""
    (directory / "config.json").write_text(json.dumps(CONFIG))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(PARROT / name, directory / name)
    return {
        "MODEL_NAME": str(directory),
        "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "windowed",
        "LOAD_FORMAT": "dummy",
    }
