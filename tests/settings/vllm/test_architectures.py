"""A model that this vLLM cannot serve is refused before the start."""

from __future__ import annotations

import pytest

from worker_vllm.errors import ConfigurationError
from worker_vllm.settings.flags.flag_table import SHIPPED
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import load


@pytest.mark.parametrize(
    "config",
    [
        {"architectures": ["LlamaForCausalLM"]},
        {"architectures": ["BertModel"]},
        {"architectures": ["Qwen2_5_VLForConditionalGeneration"]},
        {"architectures": ["MyOwnForCausalLM"], "auto_map": {"AutoModelForCausalLM": "code.MyOwn"}},
        {"architectures": []},
        {},
    ],
)
def test_what_vllm_or_the_model_itself_implements_is_served(config: dict[str, object]) -> None:
    """A model without architectures is left to vLLM."""
    assert load({"MODEL_NAME": "m"}, HostFacts(model_config=config)).warnings == ()


def test_an_unknown_architecture_is_refused_with_the_nearest() -> None:
    """And the sentence names the model."""
    with pytest.raises(ConfigurationError) as caught:
        load({"MODEL_NAME": "org/m"}, HostFacts(model_config={"architectures": ["Qwen3ForCausalLMM"]}))
    assert str(caught.value) == (
        f'MODEL_NAME="org/m": expected a model whose architecture vLLM {SHIPPED} serves, not Qwen3ForCausalLMM; '
        "choose another model; the nearest architecture is Qwen3ForCausalLM"
    )
