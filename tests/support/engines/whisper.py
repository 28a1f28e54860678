"""A speech model in the shape of Whisper: one layer each way, no weights (`LOAD_FORMAT=dummy`), one token per byte.

What it hears means nothing, but everything around it is real: form, decoder, features, prompt, counts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.paths import PARROT

END = "<|endoftext|>"
MARKS = (END, "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>", "<|prev|>", "<|notimestamps|>")
BYTES = 256
FEATURES = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "processor_class": "WhisperProcessor",
    "feature_size": 80,
    "sampling_rate": 16000,
    "hop_length": 160,
    "chunk_length": 30,
    "n_fft": 400,
    "padding_value": 0.0,
    "return_attention_mask": False,
}
SIZES = {
    "d_model": 64,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
    "max_target_positions": 448,
}


def whisper_settings(directory: Path) -> dict[str, str]:
    """Write the model into `directory`; the settings that serve it as `whisper`."""
    vocabulary = json.loads((PARROT / "tokenizer.json").read_text())["model"]["vocab"]
    vocabulary = {token: index for token, index in vocabulary.items() if index < BYTES}
    marks = {mark: BYTES + index for index, mark in enumerate(MARKS)}
    _write(directory, "vocab.json", vocabulary | marks)
    (directory / "merges.txt").write_text("#version: 0.2\n")
    added = {str(index): {"content": mark, "special": True, "normalized": False} for mark, index in marks.items()}
    _write(directory, "tokenizer_config.json", {"tokenizer_class": "WhisperTokenizer", "added_tokens_decoder": added})
    _write(directory, "preprocessor_config.json", FEATURES)
    _write(directory, "config.json", _config(marks))
    return {
        "MODEL_NAME": str(directory),
        "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "whisper",
        "LOAD_FORMAT": "dummy",
    }


def _config(marks: dict[str, int]) -> dict[str, Any]:
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "is_encoder_decoder": True,
        "activation_function": "gelu",
        "dtype": "float32",
        "vocab_size": BYTES + len(MARKS),
        "bos_token_id": marks[END],
        "eos_token_id": marks[END],
        "pad_token_id": marks[END],
        "decoder_start_token_id": marks["<|startoftranscript|>"],
        **SIZES,
    }


def _write(directory: Path, name: str, content: Any) -> None:
    (directory / name).write_text(json.dumps(content))
