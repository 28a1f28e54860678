"""Deploy in a real browser, by keyboard alone: a mistake is named at its field, then the endpoint starts."""

from __future__ import annotations

import pytest

from tests.console.browser import keep_picture, tab_to
from tests.console.conftest import OpenPage

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


def test_a_mistake_gets_the_focus_and_its_sentence_then_the_endpoint_starts(open_page: OpenPage) -> None:
    """`8k tokens` is refused at its field; 8192 starts an endpoint, whose phases have seconds."""
    page = open_page()
    page.keyboard.press("g")
    page.keyboard.press("d")
    page.wait_for_selector("#form-search")
    page.keyboard.press("/")
    page.keyboard.type("max model len")
    tab_to(page, "#field-MAX_MODEL_LEN")
    page.keyboard.type("8k tokens")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#field-MAX_MODEL_LEN[aria-invalid=true]:focus")
    problem = page.inner_text("#field-MAX_MODEL_LEN-problem")
    assert "Got “8k tokens”, expected a whole number" in problem
    assert page.query_selector(".deployment") is None
    keep_picture(page, "mistake-light")

    page.keyboard.press("Control+a")
    page.keyboard.type("8192")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector('.deployment[data-endpoint="demo"][data-state="ready"]')
    phases = page.inner_text('.deployment[data-endpoint="demo"] .phases')
    assert "starting the worker" in phases
    assert "s" in phases.split()[-1]
    assert "--max-model-len 8192" in page.inner_text("#outputs-panel pre")
    assert page.query_selector("[aria-invalid=true]") is None


def test_a_link_carries_the_form_and_no_secret(open_page: OpenPage) -> None:
    """The fragment restores every value but the token; `only what I changed` shows what it restored."""
    page = open_page("#/deploy")
    page.fill("#field-MODEL_NAME", "Qwen/Qwen3-8B")
    page.fill("#field-HF_TOKEN", "hf_abcdefghijklmnopqrstuvwxyz")
    page.wait_for_function("() => location.hash.includes('?c=')")
    page.click("#outputs-tab-link")
    page.wait_for_function("() => document.querySelector('#outputs-panel pre')?.textContent.includes('?c=')")
    link = page.inner_text("#outputs-panel pre")
    other = open_page(link.partition("/#")[2].join(["#", ""]))
    other.wait_for_function("() => document.getElementById('field-MODEL_NAME')?.value === 'Qwen/Qwen3-8B'")
    assert other.input_value("#field-HF_TOKEN") == ""
    other.check(".form-tools input[type=checkbox]")
    assert [field.get_attribute("data-field") for field in other.query_selector_all(".setting")] == ["MODEL_NAME"]


def test_the_outputs_hold_the_settings_and_leave_secrets_to_the_shell(open_page: OpenPage) -> None:
    """Every tab by arrow keys."""
    page = open_page("#/deploy")
    page.fill("#field-MODEL_NAME", "Qwen/Qwen3-8B")
    page.fill("#field-HF_TOKEN", "hf_abcdefghijklmnopqrstuvwxyz")
    page.wait_for_function("() => document.querySelector('#outputs-panel pre')?.textContent.includes('Qwen3')")
    page.focus("#outputs-tab-engine_command")
    shown = {}
    for name in ("env_file", "docker_run", "compose", "template"):
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(f"#outputs-tab-{name}[aria-selected=true]:focus")
        shown[name] = page.inner_text("#outputs-panel pre")
    assert "MODEL_NAME=Qwen/Qwen3-8B" in shown["env_file"]
    assert "-e MODEL_NAME=Qwen/Qwen3-8B" in shown["docker_run"]
    assert "-e HF_TOKEN" in shown["docker_run"]
    assert "{{ RUNPOD_SECRET_HF_TOKEN }}" in shown["template"]
    assert all("hf_abc" not in text for text in shown.values())


@pytest.mark.parametrize("kind", ["queue", "load-balancer"])
def test_a_failed_start_shows_its_diagnosis_and_leads_to_the_field(open_page: OpenPage, kind: str) -> None:
    """A model directory that does not exist, with the real engine where it is installed."""
    page = open_page("#/deploy")
    page.wait_for_selector("#endpoint-engine")
    if page.is_disabled("#endpoint-engine option[value=vllm]"):
        pytest.skip("vLLM is not installed here")
    page.select_option("#endpoint-engine", "vllm")
    page.select_option("#endpoint-kind", kind)
    page.fill("#field-MODEL_NAME", "/no/such/model")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector('.deployment[data-state="failed"] .banner', timeout=60_000)
    assert "MODEL_NAME" in page.inner_text(".deployment .banner")
    assert "the failed start names it" in page.inner_text('[data-field="MODEL_NAME"]')
    tab_to(page, ".deployment .banner button")
    page.keyboard.press("Enter")
    page.wait_for_selector("#field-MODEL_NAME:focus")
