"""Put models into an image: fetched from the hub, verified file by file, listed in a manifest.

No volume is mounted over the directory. An interrupted bake continues when it is run again: complete files are kept.
The manifest is written last, so that an incomplete image never lists a model.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from worker_vllm.models import completeness, hub_client
from worker_vllm.models.locate import missing
from worker_vllm.models.manifest import BakedModel, write
from worker_vllm.models.progress import call_every, format_size
from worker_vllm.models.references import Reference, Role, is_path

PROGRESS_S = 5.0
ALL_FILES = completeness.RequiredFiles(code=True)
WITHOUT_TOKENIZER = completeness.RequiredFiles(tokenizer=False, code=True)


class BakeError(Exception):
    """The model cannot be baked, or the downloaded files differ from the hub's listing; the message states why."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Which repositories go into the image, and where."""

    references: tuple[Reference, ...]  # the main model first
    manifest: Path  # the models lie beside it
    load_format: str = "auto"
    check_hashes: bool = False


def bake(recipe: Recipe, token: str | None, report: Callable[[str], None]) -> tuple[BakedModel, ...]:
    """Download and verify every repository, then write the manifest. Raises BakeError and HubError."""
    baked = tuple(_bake_one(reference, recipe, token, report) for reference in _distinct(recipe.references))
    write(recipe.manifest, baked)
    total = sum(sum(each.files.values()) for each in baked)
    report(f"{recipe.manifest}: {len(baked)} listed, {format_size(total)} in all")
    return baked


def _distinct(references: Sequence[Reference]) -> list[Reference]:
    """The references without duplicates, and without a tokenizer that the model's repository contains."""
    model = references[0]
    own = Reference(Role.TOKENIZER, model.name, model.revision)
    return [each for each in dict.fromkeys(references) if each not in (own, Reference(Role.TOKENIZER, model.name))]


def _bake_one(reference: Reference, recipe: Recipe, token: str | None, report: Callable[[str], None]) -> BakedModel:
    if is_path(reference.name) or "://" in reference.name:
        raise BakeError(
            f"{reference.name} is not a repository on the hub: COPY it into the image and set MODEL_NAME to that path"
        )
    with TemporaryDirectory() as scratch:
        plan = hub_client.plan(reference, recipe.load_format, Path(scratch), token)
    _check_listing(reference, plan)
    relative = f"{reference.role}/{reference.name.replace('/', '--')}"
    directory = recipe.manifest.parent / relative
    report(f"{reference.name} at {plan.commit}: {len(plan.files)} files, {format_size(plan.size)}, into {directory}")
    with call_every(PROGRESS_S, lambda: report(f"{reference.name}: {format_size(_size(directory))} on disk")):
        hub_client.into_directory(plan, directory)
    _verify(reference, plan, directory, recipe)
    _remove_unlisted_files(directory, plan)
    return BakedModel(reference.role, reference.name, plan.commit, relative, dict(plan.files), reference.revision)


def _check_listing(reference: Reference, plan: hub_client.DownloadPlan) -> None:
    """Raise BakeError when the listing has no file that this role needs."""
    if not plan.files:
        raise BakeError(
            f"{reference.name} at {plan.commit} has no file that a {reference.role} needs: check name and LOAD_FORMAT"
        )


def _remove_unlisted_files(directory: Path, plan: hub_client.DownloadPlan) -> None:
    """Remove the hub client's metadata, and files of an earlier bake of another revision."""
    shutil.rmtree(directory / ".cache", ignore_errors=True)
    for path in directory.rglob("*"):
        if path.is_file() and path.relative_to(directory).as_posix() not in plan.files:
            path.unlink()


def _verify(reference: Reference, plan: hub_client.DownloadPlan, directory: Path, recipe: Recipe) -> None:
    found = [
        f"{name} has {actual} bytes instead of {size}"
        for name, size in plan.files.items()
        if (actual := (directory / name).stat().st_size) != size
    ]
    if recipe.check_hashes:
        found += [f"{name} has a SHA-256 that differs from the hub's listing" for name in _changed(plan, directory)]
    separate_tokenizer = any(each.role is Role.TOKENIZER for each in recipe.references)
    needed = WITHOUT_TOKENIZER if separate_tokenizer or reference.role is not Role.MODEL else ALL_FILES
    found += missing(directory, reference, needed)
    if reference.role is Role.MODEL:
        foreign = completeness.foreign_code(directory)
        found += [
            f"its code is in another repository ({name}), which an offline engine cannot read" for name in foreign
        ]
    if found:
        raise BakeError(f"{reference.name} at {plan.commit} is not complete: {'; '.join(found)}")


def _changed(plan: hub_client.DownloadPlan, directory: Path) -> list[str]:
    changed = []
    for name, expected in plan.sha256.items():
        with (directory / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                changed.append(name)
    return changed


def _size(directory: Path) -> int:
    sizes = 0
    for path in directory.rglob("*"):
        try:
            sizes += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return sizes
