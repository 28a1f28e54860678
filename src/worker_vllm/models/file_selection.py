"""Select which files of a repository to download: one weight format, and the small files that the engine may read.

A repository often contains the same weights in several formats. The choice follows vLLM 0.32's loader: consolidated
safetensors if present, else safetensors, else .bin, else .pt, unless LOAD_FORMAT names one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from worker_vllm.models.references import Role

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
CONSOLIDATED = "consolidated*.safetensors"
TOKENIZER = (
    *("tokenizer*", "*vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model", "*.tiktoken"),
    *("tekken.json", "chat_template*", "additional_chat_templates/*", "config.json", "*.py"),
)
ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin", "adapter_model.pt")
UNUSED = (
    *("*.gguf", "*.ggml", "*.onnx", "*.onnx_data", "*.msgpack", "*.h5", "*.ot", "*.tflite", "*.mlmodel", "*.npz"),
    *("*.png", "*.jpg", "*.jpeg", "*.gif", "*.webp", "*.svg", "*.mp4", "*.mp3", "*.wav", "*.pdf", "*.zip", "*.md"),
    *("original/*", "onnx/*", "openvino/*", "coreml/*", "metal/*", "mlx/*", "gguf/*", "runs/*", "checkpoint-*/*"),
    *(".git*", "training_args.bin", "optimizer*", "scheduler.*", "rng_state*", "events.out*", "trainer_state.json"),
)
_BY_LOAD_FORMAT = {"mistral": (CONSOLIDATED,), "pt": ("*.pt",), "npcache": ("*.bin",), "dummy": ()}
_BY_DEFAULT = (CONSOLIDATED, "*.safetensors", "*.bin", "*.pt", "*.pth")
_HUGGING_FACE = ("*.safetensors", "*.bin", "*.pt", "*.pth")


def choose(
    names: Collection[str], role: Role, load_format: str = "auto", shards: Collection[str] | None = None
) -> tuple[str, ...]:
    """The files to download, sorted. `shards` are the weight files in the model's index; None without an index."""
    if role is Role.TOKENIZER:
        return tuple(sorted(name for name in names if _matches_any(name, TOKENIZER)))
    if role is Role.ADAPTER:
        weights = [name for name in ADAPTER[1:] if name in names][:1]
        return tuple(sorted({"adapter_config.json"} & set(names)) + weights)
    candidates = [name for name in names if not _matches_any(name, UNUSED)]
    chosen = [name for name in candidates if not name.endswith(WEIGHTS)]
    for folder in sorted({PurePosixPath(name).parent for name in candidates}):
        here = [name for name in candidates if PurePosixPath(name).parent == folder and name.endswith(WEIGHTS)]
        chosen += weights_of(here, load_format)
    if shards is not None:
        chosen = [name for name in chosen if "/" in name or not name.endswith(WEIGHTS) or name in shards]
    return tuple(sorted(chosen))


def index_of(names: Collection[str], load_format: str = "auto") -> str | None:
    """The weight index for the root files that `choose` selects; None when the repository has none."""
    chosen = weights_of([name for name in names if "/" not in name and name.endswith(WEIGHTS)], load_format)
    indexes = [name for name in names if "/" not in name and name.endswith(".index.json")]
    for index in sorted(
        indexes, key=lambda name: (not name.startswith(("model.", "consolidated.", "pytorch_")), name)
    ):
        stem, suffix = index.removesuffix(".index.json").rsplit(".", 1)
        if any(name.startswith(stem) and name.endswith(f".{suffix}") for name in chosen):
            return index
    return None


def weights_of(names: Sequence[str], load_format: str) -> list[str]:
    """Of the weight files of one directory, those of the format that vLLM loads."""
    if load_format in _BY_LOAD_FORMAT:
        formats: Sequence[str] = _BY_LOAD_FORMAT[load_format]
    else:
        formats = _BY_DEFAULT if load_format == "auto" else _HUGGING_FACE
    for pattern in formats:
        found = [name for name in names if fnmatchcase(PurePosixPath(name).name, pattern)]
        if pattern == "*.safetensors":
            found = [name for name in found if not fnmatchcase(PurePosixPath(name).name, CONSOLIDATED)] or found
        if found:
            return found
    return []


def _matches_any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) or fnmatchcase(name.rsplit("/", 1)[-1], pattern) for pattern in patterns)
