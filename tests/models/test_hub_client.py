"""Exceptions of the hub's library become a cause and a message with the remedy."""

from __future__ import annotations

import errno

import pytest

from worker_vllm.models.hub_client import SETTINGS_CAUSES, Cause, HubError, translate_errors
from worker_vllm.models.references import Reference, Role

REFERENCE = Reference(Role.MODEL, "org/model")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_or_a_quota_that_fills_up_is_a_disk_error(number: int) -> None:
    """Neither a retry nor another setting of the model helps."""
    with pytest.raises(HubError) as raised, translate_errors(REFERENCE):
        raise OSError(number, "full")
    assert raised.value.cause is Cause.DISK
    assert str(raised.value) == "the disk is full: org/model does not fit; use a larger disk"


def test_any_other_transfer_failure_is_temporary() -> None:
    """With the first line of the original error."""
    with pytest.raises(HubError) as raised, translate_errors(REFERENCE):
        raise ConnectionResetError("peer went away\nand more")
    assert raised.value.cause is Cause.UNREACHABLE
    assert str(raised.value).endswith("peer went away")


def test_an_unrelated_exception_passes_unchanged() -> None:
    """Only failures of the hub and the disk are converted."""
    with pytest.raises(KeyError), translate_errors(REFERENCE):
        raise KeyError("ours")


def test_only_causes_that_a_setting_can_change_count_as_settings() -> None:
    """The others belong to the host or are temporary."""
    assert set(Cause) - SETTINGS_CAUSES == {Cause.UNREACHABLE, Cause.DISK}
