"""docs/migration.md: every name is known to the settings, and what it says of a setting is what the settings do."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.paths import ROOT
from worker_vllm.errors import ConfigurationError
from worker_vllm.settings.catalog.catalog import Handling, catalog, names
from worker_vllm.settings.flags.flag_table import flag_table, known_versions
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import load
from worker_vllm.settings.resemblance import aliases
from worker_vllm.settings.sources.environment import OURS

PAGE = (ROOT / "docs" / "migration.md").read_text()
# Names that this worker does not read: build arguments of the original, and variables of vLLM and of other programs.
NOT_READ = {"VLLM_NIGHTLY", "VLLM_PORT", "VLLM_USE_DEEP_GEMM", "REQUEST_TIMEOUT", "CUDA", "CUDA_VERSION", "COMPLETED"}
MODEL = {"MODEL_NAME": "org/model"}


def section(title: str) -> str:
    """The text of one section of the page."""
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_every_name_of_the_page_is_known() -> None:
    """As a setting, a flag of some listed vLLM, or a name that a warning answers with ours."""
    named = set(re.findall(r"`([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)*)(?:=[^`]*)?`", PAGE))
    flags = {name for version in known_versions() for name in flag_table(HostFacts(vllm=version).vllm).flags}
    assert named - {*names(), *flags, *aliases(), *OURS, *NOT_READ} == set()


def test_settings_without_effect_are_those_of_the_catalogue() -> None:
    """All of them, each with the catalogue's reason."""
    rows = re.findall(r"^\| (`.*`) \| (.*) \|$", section("Settings without effect"), re.MULTILINE)
    page = {name: reason for cell, reason in rows for name in re.findall(r"`(\w+)`", cell)}
    assert page == {one.name: one.note for one in catalog().values() if one.handling is Handling.GONE}


@pytest.mark.parametrize(
    ("environment", "warning"),
    [
        ({"SWAP_SPACE": "4"}, ""),
        ({"SWAP_SPACE": "8"}, "SWAP_SPACE has no effect"),
        ({"TOKENIZER_MODE": "slow"}, "TOKENIZER_MODE=slow is read as hf"),
        ({"ENABLE_LORA": "1", "LORA_DTYPE": "float32"}, "LORA_DTYPE=float32 is read as auto"),
        ({"ENABLE_LORA": "1", "MAX_LORA_RANK": "20"}, "MAX_LORA_RANK=20 is rounded up to 32"),
        ({"BLOCK_SIZE": "16"}, "BLOCK_SIZE=16, the old default, is left to vLLM"),
        ({"TASK": "embed"}, "TASK=embed is read as RUNNER=pooling, CONVERT=embed"),
        ({"LORA_MODULES": json.dumps({"name": "a", "path": "org/a"})}, ""),
        ({"LORA_MODULES": json.dumps([{"name": "a", "path": "org/a", "base_model_name": "org/model"}])}, ""),
        ({"LIMIT_MM_PER_PROMPT": "image=1"}, ""),
        ({"RAW_OPENAI_OUTPUT": "true"}, ""),
        ({"QUANTIZATION": "None"}, ""),
        ({"GUIDED_DECODING_BACKEND": "outlines"}, ""),
        ({"TRANSFORMERS_VERSION": "5.0"}, "TRANSFORMERS_VERSION has no effect"),
        ({"VLLM_BASE_URL": "http://127.0.0.1:8000"}, "did you mean ENGINE_URL?"),
        ({"CUDA_GRAPH_SIZES": "8"}, "did you mean COMPILATION_CONFIG?"),
        ({"OVERRIDE_POOLER_CONFIG": "{}"}, "did you mean POOLER_CONFIG?"),
        ({"MAX_NUM_PARTIAL_PREFILLS": "4"}, "MAX_NUM_PARTIAL_PREFILLS has no effect"),
    ],
    ids=str,
)
def test_an_old_setting_does_what_the_page_says(environment: dict[str, str], warning: str) -> None:
    """Obeyed without a word, or with one warning."""
    found = load({**MODEL, **environment}).warnings
    assert len(found) == (1 if warning else 0)
    assert all(warning in line for line in found)


@pytest.mark.parametrize(
    "environment",
    [
        {"QUANTIZATION": "squeezellm"},
        {"QUANTIZATION": "bitsandbytes"},
        {"LOAD_FORMAT": "bitsandbytes"},
        {"ENABLE_AUTO_TOOL_CHOICE": "1"},
    ],
    ids=str,
)
def test_an_old_setting_that_cannot_work_is_refused(environment: dict[str, str]) -> None:
    """With the setting's name in the message."""
    with pytest.raises(ConfigurationError, match=next(iter(environment))):
        load({**MODEL, **environment})
