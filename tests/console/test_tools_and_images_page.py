"""Tool calls and images in the playground: what the model asks for, and what is sent."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.console.conftest import OpenPage

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
# A picture of one point.
POINT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def pieces(*deltas: dict[str, Any], finish: str) -> str:
    """A stream as vLLM sends it."""
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    events = [json.dumps({"choices": [choice]}) for choice in choices]
    return "".join(f"data: {event}\n\n" for event in (*events, "[DONE]"))


CALL = pieces(
    {"role": "assistant", "tool_calls": [{"index": 0, "id": "c1", "function": {"name": "weather", "arguments": ""}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]},
    finish="tool_calls",
)
ANSWER = pieces({"role": "assistant", "content": "It is "}, {"content": "3 degrees."}, finish="stop")


def test_a_tool_call_is_shown_and_answered(open_page: OpenPage) -> None:
    """The call arrives in pieces; its result goes back under its id, with the conversation before it."""
    page = open_page()
    page.wait_for_selector("#send:not([disabled])")
    asked: list[Any] = []

    def answer(route: Any) -> None:
        asked.append(json.loads(route.request.post_data))
        body = CALL if len(asked) == 1 else ANSWER
        route.fulfill(status=200, content_type="text/event-stream", body=body)

    page.route("**/v1/chat/completions", answer)
    page.click(".params details summary")
    page.fill("label:has-text('Tools') textarea", json.dumps(TOOLS))
    page.fill("#prompt", "How is the weather?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".tool-call")
    assert '{"city": "Oslo"}' in page.inner_text(".tool-call")
    page.fill("textarea[name=result]", "3")
    page.click("text=Send the results")
    page.wait_for_function("() => document.body.textContent.includes('It is 3 degrees.')")
    assert asked[0]["tools"] == TOOLS
    assert asked[1]["messages"] == [
        {"role": "user", "content": "How is the weather?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
    ]


def test_an_image_travels_with_its_message(open_page: OpenPage) -> None:
    """As a data URL beside the text; the page shows it."""
    page = open_page()
    page.wait_for_selector("#send:not([disabled])")
    page.set_input_files("input[type=file]", {"name": "point.png", "mimeType": "image/png", "buffer": POINT})
    page.wait_for_selector(".composer .picture img")
    page.fill("#prompt", "What is this?")
    with page.expect_request("**/v1/chat/completions") as sent:
        page.keyboard.press("Enter")
    url = f"data:image/png;base64,{base64.b64encode(POINT).decode()}"
    expected = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    assert json.loads(sent.value.post_data)["messages"] == [{"role": "user", "content": expected}]
    assert page.get_attribute(".message.user .pictures img", "src") == url


def test_a_text_is_completed(open_page: OpenPage) -> None:
    """Completion mode sends the prompt as it is."""
    page = open_page()
    page.click("text=Completion")
    page.wait_for_selector("#send:not([disabled])")
    page.fill("#prompt", "Once upon a time")
    with page.expect_request("**/v1/completions") as sent:
        page.keyboard.press("Enter")
    page.wait_for_selector('.answer[data-state="done"]')
    assert json.loads(sent.value.post_data)["prompt"] == "Once upon a time"
    assert "Once upon a time" in page.inner_text(".answer .markdown")
