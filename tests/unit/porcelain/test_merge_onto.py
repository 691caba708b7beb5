"""`merge --onto`: what `merge` would have made, without HEAD and the working directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mlgit.errors import AlreadyExistsError, CheckFailedError, ConflictError, InvalidInputError, NotFoundError
from mlgit.objects import Role, Stage
from mlgit.porcelain.branch import create_branch
from mlgit.porcelain.evaluate import evaluate
from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.log import log
from mlgit.porcelain.merge import MergeOptions, MergeResult, merge
from mlgit.porcelain.merge_onto import merge_onto
from mlgit.porcelain.switch import switch
from mlgit.porcelain.train import TrainOptions
from mlgit.porcelain.train_onto import train_onto
from mlgit.repository import HEADS, Repository
from mlgit.training.hyper import HyperParameters
from mlgit.weights.stored import load

Fingerprint = Callable[[Path], dict[str, str]]
SOUP = ("digit/0", "digit/1", "digit/2")
FUSING = MergeOptions(strategy="fusing", parameters={"fusing_range": 4.0, "seed": 3})


@pytest.fixture
def repo(day: Path) -> Repository:
    return Repository(day)


def roles(made: MergeResult) -> list[tuple[Role, str]]:
    assert made.commit is not None
    return [(parent.role, parent.id) for parent in made.commit.parents]


@pytest.mark.parametrize("strategy", ["uniform", "greedy", "fusing"])
def test_the_commit_is_that_of_a_merge_by_hand_without_its_base(repo: Repository, strategy: str) -> None:
    revisions = ("main", "aux/parity") if strategy == "fusing" else SOUP
    options = FUSING if strategy == "fusing" else MergeOptions(strategy=strategy)
    made = merge_onto(repo, revisions, "soup", "by itself", task="digit", options=options)
    hand = merge(repo, revisions, "by hand", task="digit", options=options)
    assert made.commit is not None
    assert hand.commit is not None
    mine, theirs = (repo.manifest(commit.manifest) for commit in (made.commit, hand.commit))
    assert {name: entry.id for name, entry in mine.tensors.items()} == {
        name: entry.id for name, entry in theirs.tensors.items()
    }
    assert roles(made) == roles(hand)[1:]
    assert [parent.coefficient for parent in made.commit.parents] == [p.coefficient for p in hand.commit.parents[1:]]
    assert made.commit.made == hand.commit.made
    assert made.commit.metrics == hand.commit.metrics
    assert (made.commit.stage, made.commit.task) == (Stage.MERGE, hand.commit.task)
    assert (made.members, made.curves, made.verdict, made.notes) == (
        hand.members,
        hand.curves,
        hand.verdict,
        hand.notes,
    )


def test_the_working_directory_and_head_are_left_alone(repo: Repository, fingerprint: Fingerprint) -> None:
    (repo.root / "model.safetensors").write_bytes(b"not even weights")
    before, head = fingerprint(repo.root), repo.refs.head()
    made = merge_onto(repo, SOUP, "soup/1", "soup", task="digit")
    after = fingerprint(repo.root)
    assert {path for path in before if before[path] != after.get(path)} <= {".mlgit/commit-graph"}
    assert all(path.startswith(".mlgit/") for path in after.keys() - before.keys())
    assert repo.refs.head() == head
    assert repo.branches()["soup/1"] == made.id
    assert fsck(repo).sound


def test_head_has_no_part_in_it(repo: Repository) -> None:
    made = merge_onto(repo, SOUP, "soup", "soup")
    assert roles(made) == [(Role.MERGE, commit_id) for commit_id in sorted(map(repo.resolve, SOUP))]


def test_a_start_is_the_base_and_takes_no_part(repo: Repository) -> None:
    made = merge_onto(repo, SOUP[:2], "soup", "soup", start="digit/2")
    assert roles(made)[0] == (Role.BASE, repo.resolve("digit/2"))
    assert set(made.members) == {repo.resolve(name) for name in SOUP[:2]}
    assert repo.resolve("soup~1") == repo.resolve("digit/2")
    plain = merge_onto(repo, SOUP[:2], "plain", "soup")
    assert made.commit is not None
    assert plain.commit is not None
    assert made.commit.manifest == plain.commit.manifest


def test_the_tasks_travel_with_the_commit_from_where_they_are_defined(repo: Repository) -> None:
    with (repo.root / "mlgit.toml").open("a") as stream:
        stream.write('\n[tasks.later]\nkind = "digits"\ntest_domain = "blur"\n')
    made = merge_onto(repo, SOUP, "soup", "soup")
    assert made.commit is not None
    (file,) = [file for file in repo.manifest(made.commit.manifest).files if file.path == "mlgit.toml"]
    assert repo.objects.read(file.id) == (repo.root / "mlgit.toml").read_bytes()  # type: ignore[union-attr]


def test_facts_are_added_to_the_record(repo: Repository) -> None:
    made = merge_onto(repo, SOUP, "soup", "soup", made={"recipe": {"name": "soup", "trial": 0}})
    plain = merge_onto(repo, SOUP, "plain", "soup")
    assert made.commit is not None
    assert plain.commit is not None
    assert made.commit.made == {**plain.commit.made, "recipe": {"name": "soup", "trial": 0}}


def test_facts_do_not_replace_those_of_the_merge(repo: Repository, fingerprint: Fingerprint) -> None:
    before = fingerprint(repo.root)
    with pytest.raises(InvalidInputError, match="'coefficients' of its own"):
        merge_onto(repo, SOUP, "soup", "soup", made={"coefficients": {}})
    assert fingerprint(repo.root) == before


@pytest.mark.parametrize(
    ("branch", "error"),
    [
        ("digit/0", AlreadyExistsError),
        ("digit", AlreadyExistsError),
        ("main/x", AlreadyExistsError),
        ("-x", InvalidInputError),
        ("a..b", InvalidInputError),
    ],
)
def test_a_name_that_cannot_be_had_is_refused_before_anything_is_read(
    repo: Repository, branch: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlgit.porcelain.averaging.open_pool", None)
    with pytest.raises(error):
        merge_onto(repo, SOUP, branch, "soup", task="digit")


def test_a_branch_that_comes_to_exist_meanwhile_is_not_overwritten(repo: Repository) -> None:
    class Rude:
        def task(self, title: str, total: int | None = None):  # type: ignore[no-untyped-def]
            create_branch(repo, "soup", "main")
            from mlgit.progress import NoProgress

            return NoProgress().task(title, total)

    with pytest.raises(ConflictError):
        merge_onto(repo, SOUP, "soup", "soup", task="digit", progress=Rude())
    assert repo.refs.read(HEADS + "soup") == repo.resolve("main")


def test_a_violated_path_leaves_no_branch(repo: Repository, fingerprint: Fingerprint) -> None:
    before = fingerprint(repo.root)
    with pytest.raises(CheckFailedError):
        merge_onto(repo, ["digit/0", "stranger"], "soup", "soup", task="digit")
    assert "soup" not in repo.branches()
    after = fingerprint(repo.root)
    assert {path: after.get(path) for path in before} == before
    forced = merge_onto(repo, ["digit/0", "stranger"], "soup", "soup", task="digit", options=MergeOptions(force=True))
    assert forced.verdict == "violated"


@pytest.mark.parametrize(
    ("revisions", "message", "start", "error"),
    [
        (["nowhere"], "m", None, NotFoundError),
        (["digit/0"], "m", "nowhere", NotFoundError),
        (["digit/0"], " ", None, InvalidInputError),
    ],
)
def test_what_is_unknown_leaves_nothing(
    repo: Repository,
    fingerprint: Fingerprint,
    revisions: list[str],
    message: str,
    start: str | None,
    error: type[Exception],
) -> None:
    before = fingerprint(repo.root)
    with pytest.raises(error):
        merge_onto(repo, revisions, "soup", message, start=start)
    assert fingerprint(repo.root) == before


def test_a_dry_run_writes_nothing(repo: Repository, fingerprint: Fingerprint) -> None:
    before = fingerprint(repo.root)
    assert merge_onto(repo, SOUP, "soup", "soup", dry_run=True).id is None
    assert fingerprint(repo.root) == before


def test_a_training_starts_from_fused_weights(repo: Repository) -> None:
    fused = merge_onto(repo, ["main", "aux/*"], "fused/3", "start", task="digit", options=FUSING)
    assert fused.commit is not None
    assert fused.commit.parents[-1].role is Role.HEAD
    hyper = HyperParameters(lr=1e-4, batch_per_domain=4, steps=2, eval_every=1, freeze_steps=1)
    run = train_onto(repo, "digit", "fused/3-run", start="fused/3", options=TrainOptions(hyper=hyper))
    assert run.commit.parents[0].id == fused.id
    assert run.commit.stage is Stage.TARGET


def test_what_was_measured_is_remembered_under_the_new_name(repo: Repository) -> None:
    made = merge_onto(repo, SOUP, "soup", "soup", task="digit")
    found = evaluate(repo, ["soup"], task="digit")
    assert found.computed == 0
    assert made.id is not None
    assert made.commit is not None
    assert found.scores[made.id].accuracy == pytest.approx(made.commit.metrics["id_accuracy_micro"])


def test_a_branch_that_begins_with_a_merge_is_checked_out_like_any_other(repo: Repository) -> None:
    made = merge_onto(repo, SOUP, "soup", "soup")
    assert made.id is not None
    switch(repo, "soup")
    mean = load(repo.objects, repo.manifest_of(made.id))
    members = [load(repo.objects, repo.manifest_of(repo.resolve(name))) for name in SOUP]
    for name, tensor in mean.items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor, torch.stack([member[name] for member in members]).mean(0), atol=1e-6)
    assert log(repo).entries[0].id == made.id
