"""`merge --strategy wise` between a linear probe and a model that was fine-tuned from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mlgit.errors import InvalidInputError, NotFoundError
from mlgit.objects import CommitId, Role, Stage
from mlgit.porcelain.evaluate import evaluate
from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.merge import MergeOptions, merge
from mlgit.porcelain.merge_onto import merge_onto
from mlgit.porcelain.probe import probe
from mlgit.repository import Repository
from mlgit.weights.stored import load

Fingerprint = Callable[[Path], dict[str, str]]


@pytest.fixture
def repo(day: Path) -> Repository:
    return Repository(day)


@pytest.fixture
def lp(repo: Repository) -> CommitId:
    return probe(repo, "digit", start="main").id


def wise(**parameters: float | str) -> MergeOptions:
    return MergeOptions(strategy="wise", parameters=parameters)


def weights_of(repository: Repository, revision: str) -> dict[str, torch.Tensor]:
    return load(repository.objects, repository.manifest_of(repository.resolve(revision)))


def between(repository: Repository, pretrained: str, fine_tuned: str, share: float) -> dict[str, torch.Tensor]:
    old, new = weights_of(repository, pretrained), weights_of(repository, fine_tuned)
    return {
        name: (share * old[name].double() + (1 - share) * new[name].double()).to(new[name].dtype)
        if new[name].is_floating_point()
        else new[name]
        for name in new
    }


def test_the_best_point_between_a_probe_and_its_run_is_chosen_and_recorded(repo: Repository, lp: CommitId) -> None:
    made = merge_onto(repo, [lp, "digit/0"], "wise", "wise", task="digit", options=wise(pretrained=lp))
    assert made.commit is not None
    record = made.commit.made
    run = repo.resolve("digit/0")
    assert record["ends"] == {"pretrained": lp, "fine_tuned": run}
    points = record["points"]
    assert isinstance(points, list)
    measured = {point["pretrained"]: point["accuracy"] for point in points}
    assert list(measured) == [step / 10 for step in range(11)]
    best = max(measured.values())
    assert record["pretrained_share"] == min(place for place, accuracy in measured.items() if accuracy == best)
    assert made.commit.metrics["id_accuracy_micro"] == best
    scores = evaluate(repo, [lp, "digit/0"], task="digit").scores
    assert (measured[0.0], measured[1.0]) == (scores[run].accuracy, scores[lp].accuracy)
    expected = between(repo, lp, "digit/0", record["pretrained_share"])  # type: ignore[arg-type]
    for name, tensor in weights_of(repo, "wise").items():
        assert torch.allclose(tensor, expected[name], atol=1e-6), name
    assert evaluate(repo, ["wise"], task="digit").computed == 0
    assert fsck(repo).sound


def test_a_fixed_share_belongs_to_the_pretrained_end(repo: Repository, lp: CommitId) -> None:
    made = merge_onto(repo, [lp, "digit/0"], "wise", "wise", options=wise(pretrained=lp, share=0.25))
    assert made.commit is not None
    expected = between(repo, lp, "digit/0", 0.25)
    for name, tensor in weights_of(repo, "wise").items():
        assert torch.allclose(tensor, expected[name], atol=1e-6), name
    assert {parent.id: parent.coefficient for parent in made.commit.parents} == {
        lp: 0.25,
        repo.resolve("digit/0"): 0.75,
    }
    assert {parent.role for parent in made.commit.parents} == {Role.MERGE}
    assert made.commit.stage is Stage.MERGE


def test_order_changes_nothing_and_any_revision_names_the_end(repo: Repository, lp: CommitId) -> None:
    there = merge_onto(repo, [lp, "digit/0"], "one", "m", task="digit", options=wise(pretrained=lp))
    back = merge_onto(repo, ["digit/0", lp[:12]], "two", "m", task="digit", options=wise(pretrained=lp[:12]))
    by_hand = merge(repo, ["digit/0", lp], "m", task="digit", options=wise(pretrained=lp[:16]))
    assert there.commit is not None
    assert back.commit is not None
    assert by_hand.commit is not None
    assert there.commit.manifest == back.commit.manifest == by_hand.commit.manifest
    assert there.commit.made == back.commit.made == by_hand.commit.made
    assert there.commit.made["parameters"]["pretrained"] == lp  # type: ignore[call-overload, index]


@pytest.mark.parametrize(
    ("revisions", "pretrained", "kind"),
    [
        (["digit/0"], "digit/0", "candidate-count"),
        (["digit/0", "digit/1", "digit/2"], "digit/0", "candidate-count"),
        (["digit/0", "digit/1"], "digit/2", "bad-parameter"),
        (["digit/0", "digit/1"], "", "bad-parameter"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_other_candidates_are_refused_before_anything_is_read(
    repo: Repository, fingerprint: Fingerprint, revisions: list[str], pretrained: str, kind: str, dry_run: bool
) -> None:
    before = fingerprint(repo.root)
    with pytest.raises(InvalidInputError) as caught:
        merge_onto(repo, revisions, "w", "m", task="digit", options=wise(pretrained=pretrained), dry_run=dry_run)
    assert caught.value.kind == kind
    assert fingerprint(repo.root) == before


def test_an_end_that_is_no_revision_is_refused(repo: Repository) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        merge(repo, ["digit/0", "digit/1"], "m", options=wise(pretrained="nowhere", share=0.5))


def test_a_choice_without_data_is_refused_and_a_fixed_share_is_not(repo: Repository, lp: CommitId) -> None:
    with pytest.raises(InvalidInputError) as caught:
        merge_onto(repo, [lp, "digit/0"], "w", "m", options=wise(pretrained=lp))
    assert caught.value.kind == "needs-evaluation"
    assert merge_onto(repo, [lp, "digit/0"], "w", "m", options=wise(pretrained=lp, share=1.0)).members == {
        lp: 1.0,
        repo.resolve("digit/0"): 0.0,
    }
