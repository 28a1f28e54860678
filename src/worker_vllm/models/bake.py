"""Put models into an image: fetched from the hub, verified file by file, listed in a manifest.

The directory is one that no volume is mounted over. A bake that broke off continues when it is run again: whole files
are kept. The manifest is written last, so that a half-baked image never claims a model.
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
from worker_vllm.models.manifest import Baked, write
from worker_vllm.models.progress import every, told_size
from worker_vllm.models.references import Reference, Role, is_path

PROGRESS_S = 5.0
EVERYTHING = completeness.Need(code=True)
WITHOUT_TOKENIZER = completeness.Need(tokenizer=False, code=True)


class BakeError(Exception):
    """The model cannot be baked as asked, or what arrived is not what the hub listed; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What goes into the image and where."""

    references: tuple[Reference, ...]  # the main model first
    manifest: Path  # the models lie beside it
    load_format: str = "auto"
    check_hashes: bool = False


def bake(recipe: Recipe, token: str | None, say: Callable[[str], None]) -> tuple[Baked, ...]:
    """Fetch and verify everything, then write the manifest. Raises BakeError and hub.HubError."""
    baked = tuple(_bake_one(reference, recipe, token, say) for reference in _distinct(recipe.references))
    write(recipe.manifest, baked)
    say(
        f"{recipe.manifest}: {len(baked)} listed, {told_size(sum(sum(each.files.values()) for each in baked))} in all"
    )
    return baked


def _distinct(references: Sequence[Reference]) -> list[Reference]:
    """Each once; a tokenizer that is the model's own comes with it."""
    model = references[0]
    own = Reference(Role.TOKENIZER, model.name, model.revision)
    return [each for each in dict.fromkeys(references) if each not in (own, Reference(Role.TOKENIZER, model.name))]


def _bake_one(reference: Reference, recipe: Recipe, token: str | None, say: Callable[[str], None]) -> Baked:
    if is_path(reference.name) or "://" in reference.name:
        raise BakeError(f"{reference.name} is no repository on the hub: COPY it into the image and name that path")
    with TemporaryDirectory() as scratch:
        plan = hub_client.plan(reference, recipe.load_format, Path(scratch), token)
    _check_listing(reference, plan)
    relative = f"{reference.role}/{reference.name.replace('/', '--')}"
    directory = recipe.manifest.parent / relative
    say(f"{reference.name} at {plan.commit}: {len(plan.files)} files, {told_size(plan.size)}, into {directory}")
    with every(PROGRESS_S, lambda: say(f"{reference.name}: {told_size(_size(directory))} on disk")):
        hub_client.into_directory(plan, directory)
    _verify(reference, plan, directory, recipe)
    _remove_strangers(directory, plan)
    return Baked(reference.role, reference.name, plan.commit, relative, dict(plan.files), reference.revision)


def _check_listing(reference: Reference, plan: hub_client.DownloadPlan) -> None:
    """Refuse early what the listing alone shows to be no model."""
    if not plan.files:
        raise BakeError(f"{reference.name} at {plan.commit} holds no file that this use needs ({reference.role})")


def _remove_strangers(directory: Path, plan: hub_client.DownloadPlan) -> None:
    """Neither the client's notes nor files of an earlier bake of another revision stay in the image."""
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
        found += [f"{name} has another SHA-256 than the hub lists" for name in _changed(plan, directory)]
    elsewhere = any(each.role is Role.TOKENIZER for each in recipe.references)
    needed = WITHOUT_TOKENIZER if elsewhere or reference.role is not Role.MODEL else EVERYTHING
    found += missing(directory, reference, needed)
    if reference.role is Role.MODEL:
        foreign = completeness.foreign_code(directory)
        found += [f"its code lies in another repository ({name}), which offline cannot be read" for name in foreign]
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
