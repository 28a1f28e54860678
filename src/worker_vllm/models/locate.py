"""Locate the model that the settings name, before the engine is started: baked, a path, a hub cache, else the hub.

The order is fixed: the model baked into the image wins, then a path is taken as it is, then every hub cache on disk
(RunPod's cached models, the network volume, the container's own), and only a model in none of them is downloaded.
Clients use the repository id as the model's name, wherever its files are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from worker_vllm.errors import Problem
from worker_vllm.models import completeness, hub_cache
from worker_vllm.models.directories import ModelDirectories
from worker_vllm.models.manifest import BakedModel, Manifest, ManifestError, read
from worker_vllm.models.references import Reference, Role, is_path, localize, references
from worker_vllm.settings.arguments import EngineArguments
from worker_vllm.settings.types import EngineSettings

KEYS = {
    Role.MODEL: "MODEL_NAME",
    Role.TOKENIZER: "TOKENIZER",
    Role.ADAPTER: "LORA_MODULES",
    Role.DRAFT: "SPECULATIVE_MODEL",
}
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
_REPOSITORY = re.compile(r"([\w.-]{1,96}/)?[\w.-]{1,96}", re.ASCII)


class Source(StrEnum):
    """The kind of place that the files come from."""

    BAKED = "baked into the image"
    PATH = "path"
    CACHE = "hub cache on disk"
    STORE = "object store"  # s3://, gs:// …: the engine's own loader fetches it
    HUB = "hub"


@dataclass(frozen=True, slots=True)
class Located:
    """One reference and where its files are."""

    reference: Reference
    source: Source
    path: Path | None = None
    commit: str | None = None
    gaps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundModel:
    """What the engine is started with: `vllm serve MODEL ARGUMENTS` in `environment`."""

    model: str  # a directory, or the repository id while `downloads` names it
    name: str  # the name that clients use
    source: Source
    commit: str | None  # of the files on disk, if the layout or the manifest names it
    arguments: tuple[str, ...]  # of the settings, with the path of every model that is on disk
    environment: Mapping[str, str]  # added to the engine's environment
    downloads: tuple[Reference, ...] = ()  # found on no disk: `download_process.fetch` downloads them
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def offline(self) -> bool:
        """Whether every file is on disk, so that the hub is not contacted."""
        return not self.downloads and self.source is not Source.STORE

    @property
    def environment_when_fetched(self) -> dict[str, str]:
        """The value of `environment` once every download is complete."""
        return {**self.environment, **({} if self.source is Source.STORE else OFFLINE)}

    def apply_to(self, settings: EngineSettings) -> EngineSettings:
        """The settings with every model on disk replaced by its path; the served names stay."""
        return replace(
            settings,
            model=self.model,
            arguments=self.arguments,
            environment={**settings.environment, **self.environment},
        )


def locate_model(
    settings: EngineSettings,
    env: Mapping[str, str],
    directories: ModelDirectories | None = None,
    fetched: Mapping[Reference, Path] | None = None,
) -> FoundModel:
    """Locate the model and every repository its arguments name. Reads directories; no network access, never raises.

    `fetched` are completed downloads: they are used as they are, with a note for each missing file.
    """
    given = EngineArguments(settings.arguments)
    directories = directories or ModelDirectories.from_environment(env, given.get("--download-dir"))
    manifest, problems = _read(directories.manifest)
    main = Reference(Role.MODEL, settings.model, given.get("--revision"))
    notes: list[str] = []
    if manifest is not None and manifest.model is not None:
        main, notes = _baked_main(manifest.model, main)
    search = _Search(manifest, directories, settings, fetched or {})
    located = [search.locate(each) for each in (main, *references(settings.arguments))]
    problems += [problem for each in located if (problem := _problem(each, directories, env))]
    notes += [note for each in located for note in each.notes]
    first = located[0]
    if first.path and not completeness.has_chat_template(first.path) and not given.get("--chat-template"):
        notes.append(f"{main.name} has no chat template: chat requests need CUSTOM_CHAT_TEMPLATE")
    paths = {each.reference: str(each.path) for each in located if each.path is not None}
    downloads = tuple(each.reference for each in located if each.source is Source.HUB)
    return FoundModel(
        model=str(first.path) if first.path else main.name,
        name=main.name,
        source=first.source,
        commit=first.commit,
        arguments=localize(settings.arguments, paths),
        environment=_environment(directories, env, offline=not downloads and first.source is not Source.STORE),
        downloads=downloads,
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _read(path: Path) -> tuple[Manifest | None, list[Problem]]:
    """The manifest, and the problem with a manifest that cannot be used."""
    try:
        return read(path), []
    except ManifestError as error:
        return None, [Problem("WORKER_MANIFEST", str(path), "a manifest of baked models", str(error))]


def _environment(directories: ModelDirectories, env: Mapping[str, str], offline: bool) -> dict[str, str]:
    """The hub client's variables for the engine; without a user's HF_HOME it is the original image's value."""
    found = {
        "HF_HUB_CACHE": str(directories.target),
        "HF_HOME": env.get("HF_HOME", "").strip() or str(directories.target),
    }
    return found | (OFFLINE if offline else {})


def _baked_main(baked: BakedModel, requested: Reference) -> tuple[Reference, list[str]]:
    """The baked model in place of the requested one, with a note where the two differ."""
    notes = []
    if requested.name.lower() != baked.repo_id.lower():
        notes.append(
            f"MODEL_NAME={requested.name} is not served: this image has {baked.repo_id} baked in, which wins"
        )
    elif requested.revision not in (None, baked.revision, baked.commit):
        notes.append(
            f"MODEL_REVISION={requested.revision} is not served: this image has commit {baked.commit} baked in"
        )
    return Reference(Role.MODEL, baked.repo_id, requested.revision), notes


def required_files(reference: Reference, settings: EngineSettings) -> completeness.RequiredFiles:
    """Which files of this repository must be on disk, for its role and the engine's arguments."""
    given = EngineArguments(settings.arguments)
    if reference.role is not Role.MODEL:
        return completeness.RequiredFiles(tokenizer=False)
    return completeness.RequiredFiles(
        weights=given.get("--load-format") != "dummy",
        tokenizer=given.get("--tokenizer") is None and not given.has("--skip-tokenizer-init"),
        code=given.has("--trust-remote-code"),
    )


def missing(directory: Path, reference: Reference, required: completeness.RequiredFiles) -> tuple[str, ...]:
    """One clause for each file that this role of the repository needs and the directory lacks."""
    match reference.role:
        case Role.TOKENIZER:
            return () if completeness.has_tokenizer(directory) else ("no tokenizer files",)
        case Role.ADAPTER:
            return completeness.adapter_gaps(directory)
        case _:
            return completeness.gaps(directory, required)


@dataclass(frozen=True, slots=True)
class _Search:
    """The inputs that decide where a repository is located."""

    manifest: Manifest | None
    directories: ModelDirectories
    settings: EngineSettings
    fetched: Mapping[Reference, Path]

    def locate(self, reference: Reference) -> Located:
        """The first location with a complete copy; the hub when there is none."""
        if self.manifest is not None and (baked := self.manifest.get(reference.role, reference.name)):
            path = self.manifest.locate(baked)
            return Located(reference, Source.BAKED, path, baked.commit, self.manifest.gaps(baked))
        if "://" in reference.name:
            return Located(reference, Source.STORE)
        required = required_files(reference, self.settings)
        if reference in self.fetched:
            path = self.fetched[reference]
            notes = tuple(f"{reference.name}: {gap}" for gap in missing(path, reference, required))
            return Located(reference, Source.CACHE, path, path.name, notes=notes)
        named = Path(reference.name).expanduser()
        if is_path(reference.name) or named.is_dir():
            inner = hub_cache.snapshot(named, reference.revision)
            path = inner.path if inner else named.absolute()
            commit = inner.commit if inner else None
            return Located(reference, Source.PATH, path, commit, missing(path, reference, required))
        return self._in_caches(reference, required)

    def _in_caches(self, reference: Reference, required: completeness.RequiredFiles) -> Located:
        notes = []
        for cache in self.directories.caches:
            for repository in hub_cache.repositories(cache, reference.name):
                snapshot = hub_cache.snapshot(repository, reference.revision)
                if snapshot is None:
                    continue
                gaps = missing(snapshot.path, reference, required)
                if not gaps:
                    if snapshot.guessed:
                        notes.append(f"{repository} has no refs/main: taking its newest snapshot, {snapshot.commit}")
                    return Located(reference, Source.CACHE, snapshot.path, snapshot.commit, notes=tuple(notes))
                notes.append(f"{snapshot.path} is incomplete ({'; '.join(gaps[:3])})")
        return Located(reference, Source.HUB, notes=tuple(notes))


def _problem(located: Located, directories: ModelDirectories, env: Mapping[str, str]) -> Problem | None:
    """Why this reference cannot be served as configured; None when it can be, or when only the hub knows."""
    name, key = located.reference.name, KEYS[located.reference.role]
    gaps = "; ".join(located.gaps[:5])
    if located.source is Source.STORE and name.startswith(("http://", "https://")):
        repo_id = "/".join(name.split("/")[3:5]) or "org/name"
        return Problem(key, name, "a repository id or a path, not an address", f"set it to {repo_id}")
    if located.gaps and located.source is Source.BAKED:
        return Problem(key, name, "the files that were baked", f"{gaps}: build the image again")
    if located.path is not None and not located.path.exists():
        return Problem(key, name, "a path that exists in this container", "check the volume and its mount")
    if located.gaps:
        return Problem(key, name, "a complete model", f"{gaps}: copy the complete repository there")
    if located.source is Source.HUB and not _REPOSITORY.fullmatch(name):
        return Problem(key, name, "a repository id (org/name) or an absolute path", "correct the name")
    if located.source is Source.HUB and env.get("HF_HUB_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on"):
        expected = (
            f"a model on this disk, as HF_HUB_OFFLINE is set (searched {', '.join(map(str, directories.caches))})"
        )
        return Problem(key, name, expected, "unset HF_HUB_OFFLINE")
    return None
