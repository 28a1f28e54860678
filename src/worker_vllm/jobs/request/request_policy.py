"""What a request may ask the engine to fetch or to run, in every form of request and in both modes. Pure.

vLLM 0.32 fetches a media URL from any host unless `--allowed-media-domains` is set (multimodal/media/connector.py),
which makes the engine a proxy into the operator's network. Here every remote address is refused unless the operator
has listed its host, whatever the engine's own flag says.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from worker_vllm.jobs.request.request_limits import GRAMMAR_KEYS
from worker_vllm.jobs.request.routes import Family, Route
from worker_vllm.settings.types import RequestPolicy

# Fields whose text the engine reads as a URL. `image_url` and its like may also be objects with a `url`.
URL_KEYS = frozenset({"image_url", "audio_url", "video_url", "file_url"})
# Fields that hold base64 text, or a URL in some engines.
DATA_KEYS = frozenset({"image", "images", "audio", "video", "videos", "ref_audio"})
SOURCE = "source"  # of Anthropic's content blocks: {"type": "url", "url": …}
# Fields without media: what the caller's tools received or are, and the schemas.
NO_MEDIA = frozenset({*GRAMMAR_KEYS, "tool_calls", "arguments", "function", "metadata"} - {"text"})
TOOL_USE = frozenset({"tool_use", "server_tool_use", "function_call"})
TEMPLATE, TEMPLATE_KWARGS = "chat_template", "chat_template_kwargs"
MM_KWARGS = ("mm_processor_kwargs", "media_io_kwargs")
# The engine's parser is urllib3's. A URL outside this form is refused, so that no two parsers can read different
# hosts out of it: no user, no backslash, no percent sign or bracket in the host, no blank or control character.
REMOTE = re.compile(r"https?://([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::\d{1,5})?(?:[/?#][^\x00-\x20\\\x7f]*)?", re.I)
SCHEME = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*:|//)", re.I)
ANY_HOST = "*"
LOCAL_ENDINGS = (".local", ".localhost", ".internal", ".lan", ".home.arpa")
SHOWN = 80


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the policy refuses a request: the field, the reason, and what to change."""

    param: str
    reason: str
    change: str

    def __str__(self) -> str:
        return f"{self.param}: {self.reason}; {self.change}"


def find_refusal(body: Mapping[str, Any], policy: RequestPolicy, route: Route | None = None) -> Refusal | None:
    """The first part of the request's body that the policy refuses; None when it refuses none.

    On the completions route, which renders no template, a template is a field that nothing reads.
    """
    renders = route is None or route.family is not Family.COMPLETIONS
    return (
        (_check_templates(body, policy) if renders else None)
        or _check_mm_kwargs(body, policy)
        or _check_media(body, policy)
    )


def _check_templates(body: Mapping[str, Any], policy: RequestPolicy) -> Refusal | None:
    if policy.chat_templates:
        return None
    kwargs = body.get(TEMPLATE_KWARGS)
    inner = isinstance(kwargs, Mapping) and kwargs.get(TEMPLATE) is not None
    if body.get(TEMPLATE) is None and not inner:
        return None
    return Refusal(
        f"{TEMPLATE_KWARGS}.{TEMPLATE}" if inner else TEMPLATE,
        "a chat template is a program that the engine runs, and this endpoint runs only its own",
        "leave it out, or set the endpoint's TRUST_REQUEST_CHAT_TEMPLATE=1",
    )


def _check_mm_kwargs(body: Mapping[str, Any], policy: RequestPolicy) -> Refusal | None:
    found = next((key for key in MM_KWARGS if body.get(key)), None)
    if policy.mm_kwargs or found is None:
        return None
    return Refusal(
        found,
        "it changes how much work the engine does for one image, sound or video",
        "leave it out, or set the endpoint's TRUST_REQUEST_MM_KWARGS=1",
    )


def _check_media(body: Mapping[str, Any], policy: RequestPolicy) -> Refusal | None:
    for count, (key, value) in enumerate(media(body), 1):
        if policy.media and count > policy.media:
            return Refusal(
                key,
                f"images, sounds and videos in one request: expected at most {policy.media}, got more",
                "split the request, or raise the endpoint's MAX_MEDIA",
            )
        if (refusal := _check_url(key, value, policy)) is not None:
            return refusal
    return None


def media(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every field of a request's body that holds an image, a sound or a video, with its text."""
    waiting: list[Any] = [body]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += [item for item in value if isinstance(item, dict | list)]
            continue
        skips_input = value.get("type") in TOOL_USE if isinstance(value.get("type"), str) else False
        for key, inner in value.items():
            if key in URL_KEYS or key in DATA_KEYS:
                yield from ((key, text) for text in _texts(inner))
            elif key == "input_audio" and isinstance(inner, Mapping):
                yield key, "data:"
            elif key == SOURCE and isinstance(inner, Mapping) and isinstance(inner.get("url"), str):
                yield "source.url", inner["url"]
            if isinstance(inner, dict | list) and key not in NO_MEDIA and not (skips_input and key == "input"):
                waiting.append(inner)


def _texts(value: Any) -> Iterator[str]:
    """The texts of a media field: itself, its `url`, or those of a list's elements."""
    for item in value if isinstance(value, list) else [value]:
        text = item.get("url") if isinstance(item, Mapping) else item
        if isinstance(text, str):
            yield text


def _check_url(key: str, text: str, policy: RequestPolicy) -> Refusal | None:
    if text[:5].lower() == "data:" or not text or (key in DATA_KEYS and not SCHEME.match(text[:64])):
        return None
    if text[:7].lower() == "file://" and policy.local_media:
        return None  # the engine checks that the file lies below ALLOWED_LOCAL_MEDIA_PATH
    remote = REMOTE.fullmatch(text)
    host = remote[1].lower() if remote else ""
    if remote and (host in policy.media_domains or (ANY_HOST in policy.media_domains and is_public(host))):
        return None
    return Refusal(
        key,
        f"this endpoint does not fetch {text[:SHOWN]!r}",
        "send the content as a data: URL, or add the host to the endpoint's ALLOWED_MEDIA_DOMAINS"
        if remote or not SCHEME.match(text[:64])
        else "send the content as a data: URL",
    )


def is_public(host: str) -> bool:
    """Whether a host is, by its text alone, the name or the address of a machine on the internet.

    A name is not resolved: one that resolves to a private address is not recognised.
    """
    try:
        address = ipaddress.ip_address(host)
        return address.is_global and not address.is_multicast
    except ValueError:
        pass
    labels = host.split(".")
    if len(labels) < 2 or "" in labels or not re.search("[a-z]", labels[-1]):
        return False  # a bare name, or an address in octal, hexadecimal or as one number
    return not re.fullmatch(r"0x[0-9a-f]*", labels[-1]) and not host.endswith(LOCAL_ENDINGS)
