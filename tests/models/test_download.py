"""Downloads with the real hub client against a local stand-in of the hub."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Event as Gate

import pytest

from tests.hub.repositories import ADAPTER, COMMIT, MODEL, lay_cached, safetensors, sharded
from tests.hub.server import Hub, Repository, serving
from worker_vllm.errors import ConfigurationError
from worker_vllm.models.download_process import DownloadFailed, fetch
from worker_vllm.models.hub_client import Cause
from worker_vllm.models.locate import FoundModel, Source, locate_model
from worker_vllm.settings.types import EngineSettings

NAME = "org/model"
BIG = safetensors(300_000)
REPOSITORY = {**MODEL, "model.safetensors": BIG, "pytorch_model.bin": b"x" * 1000, "README.md": b"# model"}
NEEDED = sorted(MODEL)

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(org__model=Repository(REPOSITORY), org__adapter=Repository(ADAPTER)) as running:
        yield running


class Worker:
    """A worker's side: its volume, its environment, and its progress reports."""

    def __init__(self, hub: Hub, root: Path) -> None:
        self.cache = root / "huggingface-cache" / "hub"
        self.env = {"BASE_PATH": str(root), "HF_ENDPOINT": hub.address, "HOME": str(root / "home"), "PATH": ""}
        self.env["WORKER_MANIFEST"] = str(root / "none.json")
        self.reports: list[str] = []

    async def get(self, *arguments: str, model: str = NAME, **env: str) -> FoundModel:
        """Locate the model and download missing files, as the worker's start does."""
        settings = EngineSettings(model=model, arguments=arguments)
        environment = {**self.env, **env}
        found = locate_model(settings, environment)
        assert found.problems == ()
        return found if found.offline else await fetch(found, settings, environment, self.reports.append)


@pytest.fixture
def worker(hub: Hub, tmp_path: Path) -> Worker:
    return Worker(hub, tmp_path)


def contents(found: FoundModel) -> dict[str, bytes]:
    directory = Path(found.model)
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


async def test_exactly_what_is_needed_arrives_and_serves_offline_from_then_on(hub: Hub, worker: Worker) -> None:
    """One weight format, no pictures; the second start does not contact the hub."""
    found = await worker.get()
    assert contents(found) == {name: REPOSITORY[name] for name in NEEDED}
    assert (found.source, found.commit, found.offline) == (Source.CACHE, COMMIT, True)
    assert sorted(hub.downloads) == NEEDED
    hub.requests.clear()
    assert (await worker.get()).model == found.model
    assert hub.requests == []


async def test_a_volume_filled_by_the_original_is_reused_without_a_byte(hub: Hub, worker: Worker) -> None:
    """The same directory, the same layout: found before the hub is thought of."""
    snapshot = lay_cached(worker.cache, NAME, MODEL)
    assert (await worker.get()).model == str(snapshot)
    assert hub.requests == []


async def test_a_cut_connection_continues_where_it_broke(hub: Hub, worker: Worker) -> None:
    """At most the client's last buffer of 10 MB travels twice."""
    large = safetensors(6_000_000)
    hub.repositories[NAME] = Repository({**MODEL, "model.safetensors": large})
    hub.cut_once["model.safetensors"] = 15_000_000
    found = await worker.get()
    assert contents(found)["model.safetensors"] == large
    assert hub.sent["model.safetensors"] < len(large) + 10_000_000


async def test_a_download_that_always_breaks_ends_and_claims_nothing(hub: Hub, worker: Worker) -> None:
    """After a few attempts, with the reason; the next start detects the incomplete model."""
    hub.cut_always["model.safetensors"] = 1000
    with pytest.raises(DownloadFailed) as raised:
        await worker.get()
    assert raised.value.cause is Cause.UNREACHABLE
    found = locate_model(EngineSettings(model=NAME), worker.env)
    assert (found.source, found.offline) == (Source.HUB, False)


async def test_what_a_killed_download_left_is_removed(worker: Worker) -> None:
    """A partial file without a writer is removed; a recent one may have a writer and stays."""
    blobs = worker.cache / "models--org--model" / "blobs"
    blobs.mkdir(parents=True)
    for name, age_s in (("old.incomplete", 600), ("young.incomplete", 0)):
        (blobs / name).write_bytes(b"x")
        written = (blobs / name).stat().st_mtime - age_s
        os.utime(blobs / name, (written, written))
    await worker.get()
    assert not (blobs / "old.incomplete").exists()
    assert (blobs / "young.incomplete").exists()


async def test_a_second_attempt_fetches_only_what_is_missing(hub: Hub, worker: Worker) -> None:
    """Complete files of a failed download are kept."""
    hub.repositories[NAME] = Repository(files := sharded())
    last = "model-00003-of-00003.safetensors"
    del (broken := dict(files))[last]
    lay_cached(worker.cache, NAME, broken)
    found = await worker.get()
    assert contents(found) == files
    assert hub.downloads == [last]


async def test_tokenizer_adapter_and_model_are_each_fetched(hub: Hub, worker: Worker) -> None:
    """Everything that the engine would otherwise ask the hub for."""
    found = await worker.get("--lora-modules", "a=org/adapter", "--tokenizer", "org/model")
    assert found.offline
    adapter, tokenizer = Path(found.arguments[1].removeprefix("a=")), Path(found.arguments[3])
    assert sorted(path.name for path in adapter.iterdir()) == sorted(ADAPTER)
    assert (tokenizer / "tokenizer.json").is_file()


async def test_a_gated_model_needs_the_token_and_gets_it(hub: Hub, worker: Worker) -> None:
    """Without: one message with the remedy. With: the model."""
    hub.repositories[NAME] = Repository(REPOSITORY, token="hf_right")
    with pytest.raises(ConfigurationError) as raised:
        await worker.get()
    (problem,) = raised.value.problems
    assert (problem.key, problem.value) == ("MODEL_NAME", NAME)
    assert problem.change == (
        "org/model is gated: accept its terms on the hub and set HF_TOKEN to a token of that account"
    )
    assert (await worker.get(HF_TOKEN="hf_right")).offline
    assert hub.tokens == {"Bearer hf_right"}


async def test_an_expired_token_that_nothing_needs_does_no_harm(hub: Hub, worker: Worker) -> None:
    """The model is public: it is downloaded without the token, and the log states it."""
    assert (await worker.get(HF_TOKEN="hf_expired")).offline
    assert "org/model: the hub refuses HF_TOKEN; this model is public, so it is downloaded without" in worker.reports


@pytest.mark.parametrize(
    ("model", "arguments", "change"),
    [
        ("org/nothing", (), "org/nothing is not on the hub, or is private: correct the name, or set HF_TOKEN"),
        (
            NAME,
            ("--revision", "gone"),
            "org/model has no revision 'gone' (any more): correct or unset MODEL_REVISION",
        ),
    ],
)
async def test_what_the_hub_does_not_have_is_a_configuration_error(
    worker: Worker, model: str, arguments: tuple[str, ...], change: str
) -> None:
    """As a problem of the setting that names it."""
    with pytest.raises(ConfigurationError) as raised:
        await worker.get(*arguments, model=model)
    assert raised.value.problems[0].change.startswith(change)


async def test_a_pinned_revision_is_the_one_that_is_fetched(hub: Hub, worker: Worker) -> None:
    """By branch or by commit; the branch is remembered on disk."""
    hub.repositories[NAME] = Repository(REPOSITORY, refs={"main": COMMIT, "v2": COMMIT})
    found = await worker.get("--revision", "v2", "--code-revision", "v2")
    assert (found.commit, found.arguments) == (COMMIT, ())
    hub.requests.clear()
    assert (await worker.get("--revision", "v2")).offline
    assert (await worker.get("--revision", COMMIT)).offline
    assert hub.requests == []


async def test_a_hub_that_is_down_fails_with_its_address(hub: Hub, worker: Worker) -> None:
    """Passing, not the settings' fault."""
    hub.down = True
    with pytest.raises(DownloadFailed) as raised:
        await worker.get(HF_HUB_DOWNLOAD_TIMEOUT="2")
    assert raised.value.cause is Cause.UNREACHABLE
    assert raised.value.message.startswith(f"org/model could not be fetched from {hub.address}: ")


async def test_a_model_larger_than_the_disk_is_refused_before_its_first_byte(hub: Hub, worker: Worker) -> None:
    """With both sizes and the change to make."""
    hub.repositories[NAME] = Repository(REPOSITORY, listed_sizes={"model.safetensors": 10**18})
    with pytest.raises(DownloadFailed) as raised:
        await worker.get()
    assert raised.value.cause is Cause.DISK
    assert raised.value.message.startswith("org/model needs 1000000000.0 GB more, ")
    assert hub.downloads == []


async def test_two_workers_on_one_empty_volume_download_once(hub: Hub, tmp_path: Path) -> None:
    """The second waits, then finds everything on disk."""
    workers = [Worker(hub, tmp_path), Worker(hub, tmp_path)]
    hub.hold["model.safetensors"] = gate = Gate()
    both = [asyncio.create_task(worker.get()) for worker in workers]
    await asyncio.to_thread(hub.halfway.wait, 20)
    await until_one_waits(workers)
    gate.set()
    first, second = await asyncio.gather(*both)
    assert first.model == second.model
    assert hub.sent["model.safetensors"] == len(BIG)
    assert sorted(hub.downloads) == NEEDED


async def test_a_worker_killed_halfway_leaves_the_other_able_to_finish(hub: Hub, tmp_path: Path) -> None:
    """Its lock is taken over, and its partial file is downloaded again."""
    workers = [Worker(hub, tmp_path), Worker(hub, tmp_path)]
    hub.hold["model.safetensors"] = gate = Gate()
    both = [asyncio.create_task(worker.get()) for worker in workers]
    await asyncio.to_thread(hub.halfway.wait, 20)
    waits = await until_one_waits(workers)
    both[1 - waits].cancel()
    with pytest.raises(asyncio.CancelledError):
        await both[1 - waits]
    gate.set()
    found = await both[waits]
    assert hashlib.sha256(contents(found)["model.safetensors"]).digest() == hashlib.sha256(BIG).digest()


async def until_one_waits(workers: list[Worker]) -> int:
    """The index of the worker that reports waiting for the other."""
    for _ in range(2000):
        for number, worker in enumerate(workers):
            if any("waiting for the worker that downloads it" in line for line in worker.reports):
                return number
        await asyncio.sleep(0.01)
    raise AssertionError([worker.reports for worker in workers])


async def test_a_volume_that_cannot_be_written_to_is_replaced_by_the_container_disk(
    worker: Worker, tmp_path: Path
) -> None:
    """The model is served nevertheless, and the reason is reported."""
    found = await worker.get(BASE_PATH="/proc/no-volume")
    assert found.model.startswith(str(tmp_path / "home" / ".cache" / "huggingface" / "hub"))
    assert any("cannot be written to" in line for line in worker.reports)
