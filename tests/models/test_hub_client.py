"""What the hub's library raises becomes a cause and a sentence that says what to do."""

from __future__ import annotations

import errno

import pytest

from worker_vllm.models.hub_client import SETTINGS_CAUSES, Cause, HubError, told
from worker_vllm.models.references import Reference, Role

REFERENCE = Reference(Role.MODEL, "org/model")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_or_a_quota_that_fills_up_is_the_disk_s_fault(number: int) -> None:
    """Neither a retry nor another setting of the model helps."""
    with pytest.raises(HubError) as raised, told(REFERENCE):
        raise OSError(number, "full")
    assert raised.value.cause is Cause.DISK
    assert str(raised.value) == "the disk is full: org/model does not fit; make it larger"


def test_any_other_failure_of_the_transfer_is_passing() -> None:
    """With the first line of what went wrong."""
    with pytest.raises(HubError) as raised, told(REFERENCE):
        raise ConnectionResetError("peer went away\nand more")
    assert raised.value.cause is Cause.UNREACHABLE
    assert str(raised.value).endswith("peer went away")


def test_a_mistake_of_ours_stays_what_it_is() -> None:
    """Nothing is swallowed that is no failure of the hub."""
    with pytest.raises(KeyError), told(REFERENCE):
        raise KeyError("ours")


def test_only_what_the_user_can_mend_counts_as_settings() -> None:
    """The rest is the host's or passes."""
    assert set(Cause) - SETTINGS_CAUSES == {Cause.UNREACHABLE, Cause.DISK}
