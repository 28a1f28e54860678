"""The client of the hub, on huggingface_hub: list a repository, check access, download. Only this module imports it.

Every failure is raised as a HubError whose message has the remedy; the library's own exceptions never leave it.
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

REQUEST_TIMEOUT_S = 10.0  # for one metadata request; downloads have no limit


class Cause(StrEnum):
    """Why the hub did not serve the model."""

    NOT_FOUND = "not found"
    GATED = "gated"
    TOKEN = "token refused"
    REVISION = "revision not found"
    UNREACHABLE = "hub unreachable"
    DISK = "no room on disk"


SETTINGS_CAUSES = frozenset({Cause.NOT_FOUND, Cause.GATED, Cause.TOKEN, Cause.REVISION})


class HubError(Exception):
    """The model could not be downloaded; the message has the reason and the change to make."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """The files to download from one repository at one commit."""

    reference: Reference
    commit: str
    files: Mapping[str, int]  # name → size in bytes
    sha256: Mapping[str, str]  # of the large files, where the hub lists it
    token: str | bool | None = None

    @property
    def size(self) -> int:
        """The total of the files, in bytes."""
        return sum(self.files.values())


def plan(reference: Reference, load_format: str, target: Path, token: str | None) -> DownloadPlan:
    """Resolve the revision to a commit and select the files. `target` is the hub cache for the weight index.

    A refused token is dropped when the repository is public. Raises HubError.
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

    with translate_errors(reference):
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


def check_access(reference: Reference, token: str | None) -> None:
    """Raise HubError when the hub refuses this repository's files, with the token and without it."""
    try:
        _check_access(reference, token)
    except HubError as error:
        if error.cause is not Cause.TOKEN or not token:
            raise
        _check_access(reference, False)


def _check_access(reference: Reference, token: str | bool | None) -> None:
    from huggingface_hub import HfApi, errors, get_hf_file_metadata, hf_hub_url

    with translate_errors(reference):
        HfApi(token=token).model_info(reference.name, revision=reference.revision, timeout=REQUEST_TIMEOUT_S)
        address = hf_hub_url(reference.name, "config.json", revision=reference.revision)
        with suppress(
            errors.EntryNotFoundError
        ):  # an adapter has no config.json; a gated repository may be listed, not read
            get_hf_file_metadata(address, token=token, timeout=REQUEST_TIMEOUT_S)


def into_cache(wanted: DownloadPlan, cache: Path) -> Path:
    """Download the missing files into a hub cache; returns the snapshot's directory. Raises HubError."""
    return _snapshot(wanted, revision=wanted.reference.revision, cache_dir=cache)


def into_directory(wanted: DownloadPlan, directory: Path) -> Path:
    """Download the missing files into a plain directory, without links; returns the directory. Raises HubError."""
    return _snapshot(wanted, revision=wanted.commit, local_dir=directory)


def _snapshot(wanted: DownloadPlan, **place: Path | str | None) -> Path:
    from huggingface_hub import snapshot_download

    with translate_errors(wanted.reference):
        download: Callable[..., str] = snapshot_download
        patterns = [glob.escape(name) for name in wanted.files]
        path = download(wanted.reference.name, allow_patterns=patterns, token=wanted.token, **place)
    return Path(path)


@contextmanager
def translate_errors(reference: Reference) -> Iterator[None]:
    """Convert errors of huggingface_hub, HTTP and the disk into HubErrors about this repository; others pass."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HfHubHTTPError as error:
        raise _refused(reference, error) from error
    except errors.HFValidationError as error:
        raise HubError(
            Cause.NOT_FOUND, f"{reference.name} is not a repository id: {error}; set it to org/name"
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HubError(
                Cause.DISK, f"the disk is full: {reference.name} does not fit; use a larger disk"
            ) from error
        raise _unreachable(reference, error) from error
    except Exception as error:  # the HTTP library's, which differs between versions of huggingface_hub
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
