from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mlgit.errors import AlreadyExistsError, ConflictError, InvalidInputError, NotFoundError
from mlgit.objects import Role, Stage
from mlgit.porcelain.commit_weights import commit_weights
from mlgit.porcelain.diff import diff
from mlgit.porcelain.export import export
from mlgit.porcelain.init import init
from mlgit.porcelain.status import status
from mlgit.repository import Repository
from mlgit.weights.stored import load

Fingerprint = Callable[[Path], dict[str, str]]


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return init(tmp_path / "repo").repository


def some(scale: float = 1.0) -> dict[str, torch.Tensor]:
    return {"a": scale * torch.ones(2, 3), "b": torch.arange(4), "c": torch.tensor(scale).bfloat16()}


def test_a_state_dict_becomes_a_file_and_a_commit(repo: Repository) -> None:
    made = commit_weights(repo, some(), "first", made={"by": "hand"}, metrics={"loss": 0.5})
    assert (made.commit.stage, made.commit.made["by"], made.commit.metrics["loss"]) == (Stage.PRETRAIN, "hand", 0.5)
    found = load_file(repo.root / "model.safetensors")
    assert all(torch.equal(found[name], value) for name, value in some().items())
    assert status(repo).clean
    assert commit_weights(repo, some(2), "second").commit.parents[0].role is Role.INIT


@pytest.mark.parametrize(
    ("weights", "message"),
    [({"../x": torch.ones(1)}, "m"), ({"a\x1b[2J": torch.ones(1)}, "m"), (some(), "  "), ({}, "m")],
)
def test_what_cannot_be_stored_leaves_everything_as_it_was(
    repo: Repository, fingerprint: Fingerprint, weights: dict[str, torch.Tensor], message: str
) -> None:
    commit_weights(repo, some(), "first")
    before = fingerprint(repo.root)
    with pytest.raises(InvalidInputError):
        commit_weights(repo, weights, message)
    assert fingerprint(repo.root) == before


def test_an_unknown_task_is_refused(repo: Repository) -> None:
    with pytest.raises(NotFoundError):
        commit_weights(repo, some(), "m", task="nothing")


def test_a_task_makes_it_a_target_commit(day: Path) -> None:
    repo = Repository(day)
    weights = load(repo.objects, repo.manifest_of(repo.resolve("digit/0")))
    made = commit_weights(repo, weights, "ours", task="digit", metrics={"id_accuracy": 0.9}).commit
    assert made.task is not None
    assert (made.stage, made.task.name) == (Stage.TARGET, "digit")


@pytest.mark.parametrize("committed", [False, True])
def test_weights_that_no_commit_holds_are_not_overwritten(repo: Repository, committed: bool) -> None:
    if committed:
        commit_weights(repo, some(), "first")
    save_file({"precious": torch.ones(1)}, repo.root / "model.safetensors")
    before = (repo.root / "model.safetensors").read_bytes()
    with pytest.raises(ConflictError, match="not committed"):
        commit_weights(repo, some(3), "m")
    assert (repo.root / "model.safetensors").read_bytes() == before


def test_a_diff_says_how_far_tensors_lie_apart(repo: Repository) -> None:
    commit_weights(repo, some(), "first")
    commit_weights(repo, {"a": 3 * torch.ones(2, 3), "b": torch.arange(5), "d": torch.ones(1)}, "second")
    found = diff(repo, "HEAD~1", "HEAD")
    by_name = {each.name: each for each in found.tensors}
    assert {name: each.status for name, each in by_name.items()} == {
        "a": "changed",
        "b": "shape",
        "c": "removed",
        "d": "added",
    }
    assert by_name["a"].relative_l2 == pytest.approx(2.0)
    assert by_name["a"].cosine == pytest.approx(1.0)
    assert (by_name["a"].share_changed, by_name["a"].largest_change) == (1.0, 2.0)


def test_a_diff_with_the_working_files_is_that_of_the_commit_they_would_make(repo: Repository) -> None:
    commit_weights(repo, some(), "first")
    changed = {**some(), "a": some()["a"] + 1}
    save_file(changed, repo.root / "model.safetensors")
    here = diff(repo).tensors
    (repo.root / "model.safetensors").unlink()
    commit_weights(repo, changed, "second")
    assert here == diff(repo, "HEAD~1", "HEAD").tensors
    assert [each.name for each in here] == ["a"]


def test_a_diff_of_a_commit_with_itself_is_empty(repo: Repository) -> None:
    commit_weights(repo, some(), "first")
    found = diff(repo, "HEAD", "HEAD")
    assert (found.files, found.tensors, found.unchanged) == ((), (), 3)
    with pytest.raises(NotFoundError):
        diff(repo, "HEAD", "nowhere")


@pytest.mark.parametrize("form", ["safetensors", "pt", "huggingface"])
def test_exports_are_read_by_the_tools_they_are_for(repo: Repository, tmp_path: Path, form: str) -> None:
    commit_weights(repo, some(), "first")
    place = tmp_path / f"out.{form}"
    export(repo, "HEAD", place, form=form)  # type: ignore[arg-type]
    if form == "pt":
        found = torch.load(place, weights_only=True)
    else:
        found = load_file(place / "model.safetensors" if form == "huggingface" else place)
    assert all(torch.equal(found[name], value) for name, value in some().items())
    with pytest.raises(AlreadyExistsError):
        export(repo, "HEAD", place, form=form)  # type: ignore[arg-type]
    export(repo, "HEAD", place, form=form, force=True)  # type: ignore[arg-type]


def test_what_cannot_be_exported_is_refused(repo: Repository, tmp_path: Path) -> None:
    commit_weights(repo, some(), "first")
    with pytest.raises(NotFoundError):
        export(repo, "nowhere", tmp_path / "x")
    with pytest.raises(InvalidInputError, match="no export format is named 'onnx'"):
        export(repo, "HEAD", tmp_path / "x", form="onnx")  # type: ignore[arg-type]
    assert not (tmp_path / "x").exists()
