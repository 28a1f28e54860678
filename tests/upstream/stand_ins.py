"""What stands in for models that a test names by their place on a hub: the embedded model, under the name `parrot`.

`python -m pytest` runs in a folder of links, so that `parrot` is a model's name and a folder at the same time.
"""

from __future__ import annotations

from pathlib import Path

MODELS = Path(__file__).resolve().parents[2] / "models"
MODEL = "parrot"
# Names that upstream's tests give to the model under test; each becomes `parrot` when the module is compiled.
NAMES = frozenset(
    {
        "BAAI/bge-base-en-v1.5",
        "BAAI/bge-reranker-base",
        "HuggingFaceH4/zephyr-7b-beta",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "Qwen/Qwen2-1.5B-Instruct",
        "Qwen/Qwen2.5-1.5B-Instruct",
        "Qwen/Qwen3-0.6B",
        "Qwen/Qwen3-1.7B",
        "Qwen/Qwen3-8B",
        "answerdotai/answerai-colbert-small-v1",
        "facebook/opt-125m",
        "internlm/internlm2-1_8b-reward",
        "intfloat/multilingual-e5-small",
        "jason9693/Qwen2.5-1.5B-apeach",
        "sentence-transformers/all-MiniLM-L12-v2",
    }
)
# Adapters that fixtures download: repositories of a throw-away hub cache, each holding our own adapter.
ADAPTERS = ("charent/self_cognition_Alice", "peft-internal-testing/opt-125m-dummy-lora")
REVISION = "0" * 40


def lay_out(folder: Path) -> Path:
    """The links and the hub cache in `folder`; the address of the cache, for HF_HOME."""
    (folder / MODEL).symlink_to(MODELS / "parrot")
    for name in ADAPTERS:
        repository = folder / "hub-home" / "hub" / f"models--{name.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(REVISION)
        snapshot = repository / "snapshots" / REVISION
        snapshot.mkdir(parents=True)
        for file in (MODELS / "parrot-upper").iterdir():
            (snapshot / file.name).symlink_to(file)
    return folder / "hub-home"
