"""Receipts of starts over a hub: the first downloads, the second finds the files, the third proves the saving."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.hub.repositories import MODEL
from tests.hub.server import Repository, serving
from tests.support.engines.fake_vllm import with_fake_vllm
from tests.support.engines.supervised import followed
from worker_vllm.engine.client.http import HttpEngine
from worker_vllm.engine.interface import EngineState
from worker_vllm.engine.records.engine_records import EngineRecords
from worker_vllm.engine.records.start_receipt import StartReceipt, Transfer
from worker_vllm.engine.supervision.startup import plan_start
from worker_vllm.engine.supervision.supervisor import Supervisor
from worker_vllm.settings.types import EngineSettings, Settings

WEIGHTS_BYTES = len(MODEL["model.safetensors"])
ALL_BYTES = sum(map(len, MODEL.values()))


async def start(environment: dict[str, str]) -> StartReceipt:
    """One start to READY; its receipt."""
    plan = plan_start(EngineSettings(model="org/parrot", served_names=("org/parrot",)), environment)
    records = EngineRecords(Settings(), environment)
    supervisor = Supervisor(plan, HttpEngine, observer=records)
    async with followed(supervisor) as run:
        assert await run.supervisor.wait_until_decided() is EngineState.READY, run.supervisor.diagnosis
    await records.aclose()
    assert records.receipt is not None
    return records.receipt


@pytest.mark.timeout(60)
async def test_a_download_is_measured_and_a_later_one_is_compared_with_a_start_without(tmp_path: Path) -> None:
    """Bytes that came from the hub alone, and seconds saved that were measured here."""
    home = tmp_path / "home"
    home.mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    with serving(org__parrot=Repository(MODEL)) as hub:
        places = {"HF_ENDPOINT": hub.address, "BASE_PATH": str(tmp_path), "HOME": str(home)}
        environment = with_fake_vllm(tmp_path / "fake", {**inherited, **places})
        cold = await start(environment)
        found = await start(environment)
        shutil.rmtree(tmp_path / "huggingface-cache")
        again = await start(environment)
    assert (cold.record.origin, found.record.origin, again.record.origin) == ("hub", "local", "hub")
    assert [receipt.weights_bytes for receipt in (cold, found, again)] == [WEIGHTS_BYTES] * 3
    assert isinstance(cold.download, Transfer)
    assert cold.download.bytes == ALL_BYTES
    assert 0 < cold.download.seconds < cold.record.total_s
    assert found.download is None
    assert (cold.savings["warm_cache"].seconds, cold.savings["warm_cache"].starts) == (None, 0)
    saved = again.savings["warm_cache"]
    assert saved.starts == 1
    assert saved.seconds == pytest.approx(again.record.total_s - found.record.total_s, abs=0.001)
