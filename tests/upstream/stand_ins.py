"""What stands in for models that a test names by their place on a hub: the embedded model, under the name `parrot`.

`python -m pytest` runs in a folder of links, so that `parrot` is a model's name and a folder at the same time.
"""

from __future__ import annotations

from pathlib import Path

MODELS = Path(__file__).resolve().parents[2] / "models"  # upstream's run cannot import tests.support
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
        "claude-3-7-sonnet-latest",
        "answerdotai/answerai-colbert-small-v1",
        "facebook/opt-125m",
        "internlm/internlm2-1_8b-reward",
        "intfloat/multilingual-e5-small",
        "jason9693/Qwen2.5-1.5B-apeach",
        "sentence-transformers/all-MiniLM-L12-v2",
    }
)
# Adapters that fixtures download: repositories of a throw-away hub cache, each holding our own adapter.
ADAPTERS = (
    "charent/self_cognition_Alice",
    "peft-internal-testing/opt-125m-dummy-lora",
    "typeof/zephyr-7b-beta-lora",
)
REVISION = "0" * 40
HUB = "hub-home"  # in the folder of links; HF_HOME


def snapshot(name: str) -> str:
    """Where a repository's files lie, below the folder of links."""
    return f"{HUB}/hub/models--{name.replace('/', '--')}/snapshots/{REVISION}"


ADAPTER = snapshot(ADAPTERS[0])


def lay_out(folder: Path) -> Path:
    """The links and the hub cache in `folder`; the address of the cache, for HF_HOME."""
    (folder / MODEL).symlink_to(MODELS / "parrot")
    for name in ADAPTERS:
        files = folder / snapshot(name)
        files.mkdir(parents=True)
        for file in (MODELS / "parrot-upper").iterdir():
            (files / file.name).symlink_to(file)
        refs = files.parents[1] / "refs"
        refs.mkdir()
        (refs / "main").write_text(REVISION)
    return folder / HUB
