"""The order in which a model is located: baked, a path, every hub cache, and the hub last."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hub.repositories import ADAPTER, COMMIT, MODEL, OLDER, TOKENIZER, lay, lay_cached, safetensors
from worker_vllm.errors import Problem
from worker_vllm.models import manifest
from worker_vllm.models.directories import ModelDirectories
from worker_vllm.models.locate import FoundModel, Source, locate_model
from worker_vllm.models.references import Reference, Role
from worker_vllm.settings.types import EngineSettings

NAME = "Qwen/Qwen2.5-0.5B-Instruct"


def search(root: Path, model: str = NAME, *arguments: str, **env: str) -> FoundModel:
    """Find with a volume and a container cache below `root`."""
    volume, container = root / "volume", root / "container"
    places = ModelDirectories((volume, container), volume, container, root / "image" / "manifest.json")
    return locate_model(EngineSettings(model=model, arguments=arguments), env, places)


def bake(root: Path, *models: manifest.BakedModel) -> None:
    manifest.write(root / "image" / "manifest.json", models)


def baked(root: Path, role: Role, repo_id: str, files: dict[str, bytes]) -> manifest.BakedModel:
    lay(root / "image" / role.value, files)
    sizes = {name: len(content) for name, content in files.items()}
    return manifest.BakedModel(role, repo_id, COMMIT, role.value, sizes, "main")


def test_a_cached_model_is_served_from_its_snapshot_and_keeps_its_name(tmp_path: Path) -> None:
    """The engine gets the path and no revision, clients keep the repository id, the hub is not contacted."""
    snapshot = lay_cached(tmp_path / "volume", NAME, MODEL)
    assert search(tmp_path, NAME, "--revision", "main", "--seed", "7") == FoundModel(
        model=str(snapshot),
        name=NAME,
        source=Source.CACHE,
        commit=COMMIT,
        arguments=("--seed", "7"),
        environment={
            "HF_HUB_CACHE": str(tmp_path / "volume"),
            "HF_HOME": str(tmp_path / "volume"),
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
        },
    )


def test_a_model_that_is_nowhere_is_left_to_the_hub(tmp_path: Path) -> None:
    """Its id goes to the engine as it is, and the download is named."""
    found = search(tmp_path, NAME, "--revision", "v1")
    assert (found.model, found.source, found.offline) == (NAME, Source.HUB, False)
    assert found.downloads == (Reference(Role.MODEL, NAME, "v1"),)
    assert found.arguments == ("--revision", "v1")
    assert "HF_HUB_OFFLINE" not in found.environment


@pytest.mark.parametrize("folder", ["qwen/qwen2.5-0.5b-instruct", "QWEN/Qwen2.5-0.5b-instruct"])
def test_a_cached_directory_in_other_letters_is_found(tmp_path: Path, folder: str) -> None:
    """RunPod's cached models may lie in lower case."""
    snapshot = lay_cached(tmp_path / "volume", folder, MODEL)
    found = search(tmp_path)
    assert (found.model, found.name) == (str(snapshot), NAME)


def test_caches_are_searched_in_order_and_a_cut_download_is_passed_over(tmp_path: Path) -> None:
    """The volume's half-filled snapshot does not hide the container's complete one, and a note states it."""
    cut = lay_cached(tmp_path / "volume", NAME, {**MODEL, "model.safetensors": safetensors()[:-1]})
    whole = lay_cached(tmp_path / "container", NAME, MODEL)
    found = search(tmp_path)
    assert found.model == str(whole)
    size = len(MODEL["model.safetensors"])
    reason = f"model.safetensors has {size - 1} bytes, its header expects {size}"
    assert found.notes == (f"{cut} is incomplete ({reason})",)


def test_a_revision_is_taken_from_refs_from_a_commit_or_from_its_first_digits(tmp_path: Path) -> None:
    """A branch on disk, a full commit and a short one select the same snapshot; any other revision is downloaded."""
    lay_cached(tmp_path / "volume", NAME, MODEL)
    older = lay_cached(tmp_path / "volume", NAME, MODEL, OLDER, ref="v1.0")
    for revision in ("v1.0", OLDER, OLDER[:8]):
        assert search(tmp_path, NAME, "--revision", revision).model == str(older)
    assert search(tmp_path, NAME, "--revision", "v2").source is Source.HUB
    assert search(tmp_path, NAME, "--revision", "../../refs/main").source is Source.HUB


def test_without_refs_main_the_only_snapshot_is_taken_and_reported(tmp_path: Path) -> None:
    """A cache that was copied without its refs still serves."""
    snapshot = lay_cached(tmp_path / "volume", NAME, MODEL, ref=None)
    found = search(tmp_path)
    assert found.model == str(snapshot)
    assert found.notes[0].endswith(f"has no refs/main: taking its newest snapshot, {COMMIT}")


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    """A directory with a complete model; a hub cache's own directory gives the snapshot inside."""
    model = lay(tmp_path / "models" / "mine", MODEL)
    assert search(tmp_path, str(model)).model == str(model)
    snapshot = lay_cached(tmp_path / "elsewhere", NAME, MODEL)
    assert search(tmp_path, str(snapshot.parent.parent)).model == str(snapshot)


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ("/nowhere/at/all", Problem("MODEL_NAME", "/nowhere/at/all", "a path that exists in this container", "")),
        ("a/b/c", Problem("MODEL_NAME", "a/b/c", "a repository id (org/name) or an absolute path", "")),
        (
            "https://huggingface.co/org/name/tree/main",
            Problem(
                "MODEL_NAME",
                "https://huggingface.co/org/name/tree/main",
                "a repository id or a path, not an address",
                "",
            ),
        ),
    ],
)
def test_a_name_that_can_never_be_found_is_a_problem(tmp_path: Path, model: str, problem: Problem) -> None:
    """Reported before anything is started, with the remedy."""
    (found,) = search(tmp_path, model).problems
    assert (found.key, found.value, found.expected) == (problem.key, problem.value, problem.expected)
    assert found.change


def test_an_incomplete_path_is_a_problem_that_names_what_is_missing(tmp_path: Path) -> None:
    """The worker cannot complete a plain directory, so the user must."""
    model = lay(tmp_path / "mine", {"config.json": b"{}"})
    (found,) = search(tmp_path, str(model)).problems
    assert "no weights" in found.change
    assert "no tokenizer" in found.change


def test_offline_by_wish_and_not_on_disk_is_a_problem(tmp_path: Path) -> None:
    """HF_HUB_OFFLINE is obeyed: the searched directories are listed."""
    (found,) = search(tmp_path, HF_HUB_OFFLINE="1").problems
    assert str(tmp_path / "volume") in found.expected


def test_an_object_store_is_left_to_the_engine(tmp_path: Path) -> None:
    """s3:// and its like are neither searched nor made offline."""
    found = search(tmp_path, "s3://bucket/model")
    assert (found.model, found.source, found.offline, found.problems) == (
        "s3://bucket/model",
        Source.STORE,
        False,
        (),
    )


def test_what_is_baked_wins_over_every_other_place(tmp_path: Path) -> None:
    """Also over a volume that has the same model, and under a name in other letters."""
    lay_cached(tmp_path / "volume", NAME, MODEL)
    bake(tmp_path, baked(tmp_path, Role.MODEL, NAME, dict(MODEL)))
    found = search(tmp_path, NAME.lower())
    assert (found.model, found.name, found.source) == (str(tmp_path / "image" / "model"), NAME, Source.BAKED)
    assert (found.commit, found.offline, found.notes) == (COMMIT, True, ())


def test_another_name_does_not_replace_the_baked_model_and_is_reported(tmp_path: Path) -> None:
    """The baked model is served; the note names both."""
    bake(tmp_path, baked(tmp_path, Role.MODEL, NAME, dict(MODEL)))
    found = search(tmp_path, "facebook/opt-125m")
    assert found.name == NAME
    assert found.notes == (f"MODEL_NAME=facebook/opt-125m is not served: this image has {NAME} baked in, which wins",)


def test_a_baked_file_that_was_changed_is_a_problem(tmp_path: Path) -> None:
    """Every size is compared with the manifest."""
    bake(tmp_path, baked(tmp_path, Role.MODEL, NAME, dict(MODEL)))
    (tmp_path / "image" / "model" / "config.json").write_text("{}")
    (found,) = search(tmp_path).problems
    assert found.change == "config.json has 2 bytes instead of 23: build the image again"


def test_a_broken_manifest_is_a_problem(tmp_path: Path) -> None:
    """Never ignored: the image is damaged."""
    lay(tmp_path / "image", {"manifest.json": b"{"})
    (found,) = search(tmp_path).problems
    assert found.key == "WORKER_MANIFEST"


def test_adapters_tokenizer_and_draft_are_found_and_given_as_paths(tmp_path: Path) -> None:
    """Each from its own location; the engine's other arguments are unchanged."""
    bake(tmp_path, baked(tmp_path, Role.ADAPTER, "org/adapter", dict(ADAPTER)))
    model = lay_cached(tmp_path / "volume", NAME, MODEL)
    tokenizer = lay_cached(tmp_path / "container", "org/tokenizer", TOKENIZER)
    draft = lay_cached(tmp_path / "container", "org/draft", MODEL)
    found = search(
        tmp_path,
        NAME,
        *("--tokenizer", "org/tokenizer", "--tokenizer-revision", "main"),
        *("--lora-modules", '{"name": "a", "path": "org/adapter"}', "b=org/adapter", "--seed", "7"),
        '--speculative-config={"model": "org/draft", "num_speculative_tokens": 3}',
    )
    adapter = str(tmp_path / "image" / "adapter")
    assert found.model == str(model)
    assert found.arguments == (
        *("--tokenizer", str(tokenizer)),
        *("--lora-modules", json.dumps({"name": "a", "path": adapter}), f"b={adapter}", "--seed", "7"),
        "--speculative-config=" + json.dumps({"model": str(draft), "num_speculative_tokens": 3}),
    )
    assert found.offline


def test_one_part_on_the_hub_keeps_the_start_online(tmp_path: Path) -> None:
    """The model is still taken from disk; only the missing repository is downloaded."""
    lay_cached(tmp_path / "volume", NAME, MODEL)
    found = search(tmp_path, NAME, "--lora-modules", "a=org/adapter")
    assert found.source is Source.CACHE
    assert found.downloads == (Reference(Role.ADAPTER, "org/adapter"),)
    assert not found.offline


def test_a_volume_filled_by_the_original_image_is_searched(tmp_path: Path) -> None:
    """BASE_PATH/huggingface-cache/hub, where the original kept its models, is the default target."""
    base = tmp_path / "runpod-volume"
    snapshot = lay_cached(base / "huggingface-cache" / "hub", NAME, MODEL)
    places = ModelDirectories.from_environment(
        {"BASE_PATH": str(base), "WORKER_MANIFEST": str(tmp_path / "none.json")}
    )
    found = locate_model(EngineSettings(model=NAME), {}, places)
    assert found.model == str(snapshot)
    assert found.environment["HF_HOME"] == str(base / "huggingface-cache" / "hub")


@pytest.mark.parametrize(
    ("model", "arguments"),
    [(NAME, ()), ("s3://bucket/model", ("--tokenizer", NAME))],
    ids=["hub", "object store, tokenizer on the hub"],
)
def test_the_environment_after_a_download_is_known_before_it(
    tmp_path: Path, model: str, arguments: tuple[str, ...]
) -> None:
    """An engine that imports meanwhile is started with it."""
    settings = EngineSettings(model=model, arguments=arguments)
    env = {"BASE_PATH": str(tmp_path), "HOME": str(tmp_path)}
    before = locate_model(settings, env)
    fetched = {each: lay_cached(tmp_path / "fetched", each.name, MODEL) for each in before.downloads}
    assert len(fetched) == 1
    assert before.environment_when_fetched == locate_model(settings, env, fetched=fetched).environment
