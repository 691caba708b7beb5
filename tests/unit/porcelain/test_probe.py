from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mlgit.errors import InvalidInputError, JobFailedError, NotFoundError
from mlgit.objects import Role, Stage
from mlgit.porcelain.log import log
from mlgit.porcelain.probe import probe
from mlgit.repository import Repository
from mlgit.training.hyper import HyperParameters
from mlgit.weights.stored import load

FEW = HyperParameters(lr=1e-2, steps=3, eval_every=1)


@pytest.fixture
def repo(day: Path) -> Repository:
    return Repository(day)


def test_a_probe_changes_the_head_and_no_other_tensor(repo: Repository) -> None:
    found = probe(repo, "digit", trial=1, hyper=FEW)
    assert found.created
    assert found.commit.stage is Stage.PROBE
    pretrained = repo.manifest_of(repo.resolve("main")).tensors
    for name, entry in repo.manifest(found.commit.manifest).tensors.items():
        assert (entry == pretrained[name]) is not name.startswith("classifier."), name
    assert [(parent.role, parent.id) for parent in found.commit.parents] == [(Role.INIT, repo.resolve("main"))]


def test_there_is_one_probe_per_task_split_and_pretrained_commit(repo: Repository) -> None:
    first = probe(repo, "digit", hyper=FEW)
    from_auxiliary = probe(repo, "digit", start="aux/parity", hyper=FEW, seed=3)
    assert (first.created, from_auxiliary.created, first.id) == (False, False, from_auxiliary.id)
    other_split, stranger = probe(repo, "digit", trial=1, hyper=FEW), probe(repo, "digit", start="stranger")
    assert len({first.id, other_split.id, stranger.id}) == 3
    assert (other_split.created, stranger.created) == (True, False)


def test_a_probe_moves_no_branch_and_no_file(repo: Repository) -> None:
    branches, head = repo.branches(), repo.refs.head()
    files = {path: path.read_bytes() for path in repo.root.iterdir() if path.is_file()}
    found = probe(repo, "parity", trial=2, hyper=FEW)
    assert (repo.branches(), repo.refs.head()) == (branches, head)
    assert {path: path.read_bytes() for path in repo.root.iterdir() if path.is_file()} == files
    assert found.id not in {entry.id for entry in log(repo).entries}


def test_a_probe_has_as_many_outputs_as_the_task_classes(repo: Repository) -> None:
    found = probe(repo, "parity", hyper=FEW)
    weights = load(repo.objects, repo.manifest(found.commit.manifest))
    assert weights["classifier.weight"].shape[0] == 2
    assert all(torch.isfinite(value).all() for value in weights.values() if value.is_floating_point())


def test_a_probe_that_diverges_leaves_nothing(repo: Repository, fingerprint: Callable[[Path], dict[str, str]]) -> None:
    before = fingerprint(repo.root)
    with pytest.raises(JobFailedError, match="diverged"):
        probe(repo, "digit", trial=4, hyper=HyperParameters(lr=1e38, steps=9, eval_every=1))
    assert fingerprint(repo.root) == before


def test_unknown_tasks_revisions_and_splits_are_refused(repo: Repository) -> None:
    with pytest.raises(NotFoundError):
        probe(repo, "nothing")
    with pytest.raises(NotFoundError):
        probe(repo, "digit", start="nowhere")
    with pytest.raises(InvalidInputError, match="trial -1"):
        probe(repo, "digit", trial=-1, hyper=FEW)
