"""Every option of the gateway can be set on the command line and is documented."""

from __future__ import annotations

import pytest

from tests.support.paths import ROOT
from worker_vllm.errors import RequestError
from worker_vllm.gateway.option_flags import apply_option_flags, option_flags
from worker_vllm.gateway.options import GatewayOptions, GetBody, WaitTimeouts

PAGE = ROOT / "docs" / "gateway.md"


def test_options_of_every_type_can_be_set() -> None:
    """Later ones win; what is not named keeps its default."""
    given = ["waits.take_s=3", "waits.take_s=2.5", "sort_keys=off", "get_body=null", "limits.queued_jobs=7"]
    given += ["allowed_origins=https://a.example, https://b.example"]
    options = apply_option_flags(GatewayOptions(), given)
    assert options.waits == WaitTimeouts(take_s=2.5)
    assert (options.sort_keys, options.get_body, options.limits.queued_jobs) == (False, GetBody.NULL, 7)
    assert options.allowed_origins == ("https://a.example", "https://b.example")


BAD = [
    ("waits.taek_s=3", '--set waits.taek_s=3: unknown option "waits.taek_s"; the nearest is waits.take_s'),
    ("sort_keys=maybe", "--set sort_keys=maybe: expected true or false"),
    ("get_body=full", "--set get_body=full: expected one of absent, null, empty"),
    ("waits.take_s=soon", "--set waits.take_s=soon: expected a number from 0"),
    ("limits.queued_jobs=-1", "--set limits.queued_jobs=-1: expected a whole number from 0"),
]


@pytest.mark.parametrize(("given", "message"), BAD, ids=[row[0] for row in BAD])
def test_an_option_that_cannot_be_set_is_refused(given: str, message: str) -> None:
    """What, got, expected."""
    with pytest.raises(RequestError) as refused:
        apply_option_flags(GatewayOptions(), [given])
    assert refused.value.message == message


def test_the_page_documents_every_option_with_its_default() -> None:
    """One row each, no row too many."""
    section = PAGE.read_text().partition("## Options\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    shown = {name.strip(" `"): default.strip(" `") for name, default in rows}
    assert shown == {name: _shown(value) for name, value in option_flags(GatewayOptions()).items()}


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(value) or "none"
    return f"{value:g}" if isinstance(value, float) else f"{value}"
