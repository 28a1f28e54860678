"""The hub, through huggingface_hub: what a repository holds, and its files on disk. Only this module knows it.

Every failure becomes a HubError that says what to do; nothing of the library's own exceptions gets out.
"""

from __future__ import annotations

import errno
import glob
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from worker_vllm.models.file_selection import choose, index_of
from worker_vllm.models.references import Reference, Role

ANSWER_S = 10.0  # for one question; downloads have no limit


class Cause(StrEnum):
    """Why the hub did not give the model."""

    NOT_FOUND = "not found"
    GATED = "gated"
    TOKEN = "token refused"
    REVISION = "revision not found"
    UNREACHABLE = "hub unreachable"
    DISK = "no room on disk"


SETTINGS_CAUSES = frozenset({Cause.NOT_FOUND, Cause.GATED, Cause.TOKEN, Cause.REVISION})


class HubError(Exception):
    """The model could not be fetched; the text says why and what to change."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """What is to be fetched of one repository at one commit."""

    reference: Reference
    commit: str
    files: Mapping[str, int]  # name → size in bytes
    sha256: Mapping[str, str]  # of the large files, where the hub tells it
    token: str | bool | None = None

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(self.files.values())


def plan(reference: Reference, load_format: str, target: Path, token: str | None) -> DownloadPlan:
    """Ask the hub which commit the revision is and choose the files. `target` is a hub cache, for the weight index.

    A token that the hub refuses is not used for a repository that anyone may read. Raises HubError.
    """
    try:
        return _plan(reference, load_format, target, token)
    except HubError as error:
        if error.cause is not Cause.TOKEN or not token:
            raise
        return _plan(reference, load_format, target, False)


def _plan(reference: Reference, load_format: str, target: Path, token: str | bool | None) -> DownloadPlan:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    with told(reference):
        api = HfApi(token=token)
        commit = api.model_info(reference.name, revision=reference.revision).sha
        assert commit is not None
        entries = api.list_repo_tree(reference.name, recursive=True, revision=commit)
        listed = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
        shards = None
        if reference.role in (Role.MODEL, Role.DRAFT) and (index := index_of(listed, load_format)):
            path = api.hf_hub_download(reference.name, index, revision=commit, cache_dir=target)
            shards = set(json.loads(Path(path).read_bytes()).get("weight_map", {}).values())
    chosen = choose(listed, reference.role, load_format, shards)
    hashes = {name: str(large.sha256) for name in chosen if (large := listed[name].lfs) is not None}
    return DownloadPlan(reference, commit, {name: listed[name].size for name in chosen}, hashes, token)


def ask(reference: Reference, token: str | None) -> None:
    """Whether the hub gives this repository's files, with the token or without. Raises HubError."""
    try:
        _ask(reference, token)
    except HubError as error:
        if error.cause is not Cause.TOKEN or not token:
            raise
        _ask(reference, False)


def _ask(reference: Reference, token: str | bool | None) -> None:
    from huggingface_hub import HfApi, errors, get_hf_file_metadata, hf_hub_url

    with told(reference):
        HfApi(token=token).model_info(reference.name, revision=reference.revision, timeout=ANSWER_S)
        address = hf_hub_url(reference.name, "config.json", revision=reference.revision)
        with suppress(errors.EntryNotFoundError):  # an adapter has none; anyone may list a gated one, not read it
            get_hf_file_metadata(address, token=token, timeout=ANSWER_S)


def into_cache(wanted: DownloadPlan, cache: Path) -> Path:
    """Fetch what is missing into a hub cache; the snapshot's directory. Raises HubError."""
    return _snapshot(wanted, revision=wanted.reference.revision, cache_dir=cache)


def into_directory(wanted: DownloadPlan, directory: Path) -> Path:
    """Fetch what is missing into a plain directory, as files and no links; the directory. Raises HubError."""
    return _snapshot(wanted, revision=wanted.commit, local_dir=directory)


def _snapshot(wanted: DownloadPlan, **place: Path | str | None) -> Path:
    from huggingface_hub import snapshot_download

    with told(wanted.reference):
        download: Callable[..., str] = snapshot_download
        patterns = [glob.escape(name) for name in wanted.files]
        path = download(wanted.reference.name, allow_patterns=patterns, token=wanted.token, **place)
    return Path(path)


@contextmanager
def told(reference: Reference) -> Iterator[None]:
    """Whatever goes wrong inside becomes a HubError about this repository."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HfHubHTTPError as error:
        raise _refused(reference, error) from error
    except errors.HFValidationError as error:
        raise HubError(Cause.NOT_FOUND, f"{reference.name} is no repository id: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HubError(Cause.DISK, f"the disk is full: {reference.name} does not fit; make it larger") from error
        raise _unreachable(reference, error) from error
    except Exception as error:  # the HTTP library's own, whose name differs between versions of huggingface_hub
        if not type(error).__module__.startswith("httpx"):
            raise
        raise _unreachable(reference, error) from error


def _refused(reference: Reference, error: Exception) -> HubError:
    from huggingface_hub import errors

    name = reference.name
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else 0
    if isinstance(error, errors.GatedRepoError):
        text = f"{name} is gated: accept its terms on the hub and set HF_TOKEN to a token of that account"
        return HubError(Cause.GATED, text)
    if isinstance(error, errors.RevisionNotFoundError):
        text = f"{name} has no revision {reference.revision!r} (any more): correct or unset MODEL_REVISION"
        return HubError(Cause.REVISION, text)
    if isinstance(error, errors.RepositoryNotFoundError):
        text = (
            f"{name} is not on the hub, or is private: correct the name, or set HF_TOKEN to a token that may read it"
        )
        return HubError(Cause.NOT_FOUND, text)
    if status in (401, 403):
        return HubError(Cause.TOKEN, f"the hub refuses HF_TOKEN for {name}: set a valid one, or none")
    return _unreachable(reference, error)


def _unreachable(reference: Reference, error: Exception) -> HubError:
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return HubError(Cause.UNREACHABLE, f"{reference.name} could not be fetched from {endpoint}: {first}")
