from __future__ import annotations

from typing import Any

import pytest

from mlgit.errors import CheckFailedError, ConflictError
from mlgit.objects import Stage
from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.pending_run import PendingRun, load_run, save_run
from mlgit.porcelain.reset import reset
from mlgit.porcelain.status import status
from mlgit.porcelain.switch import switch
from mlgit.porcelain.undo import undo


def test_a_reset_moves_the_branch_and_the_files_byte_for_byte_and_back(workshop: Any) -> None:
    ids = [workshop.commit(number, number) for number in range(3)]
    repository = workshop.repository
    for revision, expected in [("HEAD~2", ids[0]), ("main@{1}", ids[2]), (ids[1], ids[1])]:
        found = reset(repository, revision, actor=workshop.actor)
        assert (found.branch, found.new) == ("refs/heads/main", expected)
        assert repository.head == expected
        assert workshop.files() == workshop.states[expected]
        assert status(repository).clean
    assert fsck(repository).sound


def test_a_reset_carries_changes_over_or_refuses(workshop: Any) -> None:
    first, second = workshop.commit(1), workshop.commit(2)
    (workshop.repository.root / "notes.txt").write_text("mine")
    assert reset(workshop.repository, "HEAD~1", actor=workshop.actor).kept == ("notes.txt",)
    workshop.write(3)
    before = workshop.files()
    with pytest.raises(ConflictError) as refused:
        reset(workshop.repository, second, actor=workshop.actor)
    assert refused.value.kind == "uncommitted-changes"
    assert (workshop.repository.head, workshop.files()) == (first, before)


def test_a_hard_reset_gives_up_changes_and_the_run_but_no_file_of_its_own(workshop: Any) -> None:
    first = workshop.commit(1)
    (workshop.repository.root / "config.json").write_text("{}")
    workshop.commit(2)
    workshop.write(3)
    (workshop.repository.root / "notes.txt").write_text("mine")
    run = PendingRun(stage=Stage.SNAPSHOT, task=None, parents=(), made={}, metrics={})
    save_run(workshop.repository, run)
    reset(workshop.repository, first, hard=True, actor=workshop.actor)
    assert load_run(workshop.repository) is None
    assert set(workshop.files()) == {"model.safetensors", "notes.txt"}
    (workshop.repository.root / "notes.txt").unlink()
    assert workshop.files() == workshop.states[first]
    assert status(workshop.repository).clean


def test_a_hard_reset_repairs_a_file_that_cannot_be_read(workshop: Any) -> None:
    first = workshop.commit(1)
    (workshop.repository.root / "model.safetensors").write_bytes(b"rubbish")
    reset(workshop.repository, "HEAD", hard=True, actor=workshop.actor)
    assert workshop.files() == workshop.states[first]
    assert len(workshop.repository.refs.reflog("refs/heads/main")) == 1


def test_undo_takes_back_the_last_change_and_undo_again_brings_it_back(workshop: Any) -> None:
    ids = [workshop.commit(number) for number in range(3)]
    repository = workshop.repository
    for expected, undone in [(1, "commit: work"), (2, "undo: commit: work"), (1, "redo: commit: work")]:
        found = undo(repository, actor=workshop.actor)
        assert (found.new, found.undone) == (ids[expected], undone)
        assert repository.head == ids[expected]
        assert workshop.files() == workshop.states[ids[expected]]
    reset(repository, ids[0], actor=workshop.actor)
    assert undo(repository, actor=workshop.actor).undone == f"reset: to {ids[0]}"
    assert repository.head == ids[1]
    assert fsck(repository).sound


def test_undo_works_on_a_detached_head(workshop: Any) -> None:
    ids = [workshop.commit(number) for number in range(2)]
    switch(workshop.repository, "HEAD~1", detach=True, actor=workshop.actor)
    undo(workshop.repository, actor=workshop.actor)
    assert (workshop.repository.refs.head().branch, workshop.repository.head) == (None, ids[1])
    assert workshop.files() == workshop.states[ids[1]]


def test_the_first_change_cannot_be_undone(workshop: Any) -> None:
    with pytest.raises(CheckFailedError, match="its log is empty"):
        undo(workshop.repository, actor=workshop.actor)
    only = workshop.commit(1)
    with pytest.raises(CheckFailedError, match="created it"):
        undo(workshop.repository, actor=workshop.actor)
    assert (workshop.repository.head, workshop.files()) == (only, workshop.states[only])


def test_undo_refuses_to_lose_changes(workshop: Any) -> None:
    workshop.commit(1)
    second = workshop.commit(2)
    workshop.write(3)
    before = workshop.files()
    with pytest.raises(ConflictError):
        undo(workshop.repository, actor=workshop.actor)
    assert (workshop.repository.head, workshop.files()) == (second, before)
