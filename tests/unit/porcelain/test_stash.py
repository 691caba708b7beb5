from __future__ import annotations

from typing import Any

import pytest

from mlgit.errors import CheckFailedError, ConflictError, NotFoundError
from mlgit.objects import Parent, Role, Stage
from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.gc import gc
from mlgit.porcelain.pending_run import PendingRun, load_run, save_run
from mlgit.porcelain.stash import drop, pop, push, stashes
from mlgit.porcelain.status import status


def dirty(workshop: Any) -> dict[str, str]:
    """Change, add and delete files; return what they are then."""
    root = workshop.repository.root
    (root / "config.json").write_text("{}")
    (root / "old.txt").write_text("old")
    workshop.commit(1, 2)
    workshop.write(3, 4)
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "new.txt").write_text("new")
    (root / "old.txt").unlink()
    return dict(workshop.files())


def test_work_comes_back_byte_for_byte(workshop: Any) -> None:
    work = dirty(workshop)
    head = workshop.repository.head
    found = push(workshop.repository, actor=workshop.actor)
    assert workshop.files() == workshop.states[head]
    assert status(workshop.repository).clean
    assert sorted(change.path for change in found.changes) == ["deep/er/new.txt", "model.safetensors", "old.txt"]
    assert [item.number for item in stashes(workshop.repository)] == [1]
    pop(workshop.repository, actor=workshop.actor)
    assert workshop.files() == work
    assert stashes(workshop.repository) == []
    assert {change.path for change in status(workshop.repository).changes} == {change.path for change in found.changes}
    assert workshop.repository.head == head
    assert fsck(workshop.repository).sound


def test_a_run_that_waits_is_put_aside_and_comes_back(workshop: Any) -> None:
    first = workshop.commit(1)
    workshop.write(2)
    tensors = push(workshop.repository, actor=workshop.actor).stash.commit.manifest
    pop(workshop.repository, actor=workshop.actor)
    weights = {name: entry.id for name, entry in workshop.repository.manifest(tensors).tensors.items()}
    run = PendingRun(stage=Stage.TARGET, task=None, parents=(Parent(first, Role.INIT),), made={"seed": 1, "lr": 0.5},
                     metrics={"accuracy": 0.75}, weights=weights)  # fmt: skip
    save_run(workshop.repository, run)
    assert push(workshop.repository, "half done", actor=workshop.actor).stash.run
    assert load_run(workshop.repository) is None
    pop(workshop.repository, actor=workshop.actor)
    assert load_run(workshop.repository) == run
    assert status(workshop.repository).run == run


def test_stashes_are_taken_up_in_any_order(workshop: Any) -> None:
    workshop.commit(1)
    for seed in (2, 3):
        workshop.write(seed)
        push(workshop.repository, f"work {seed}", actor=workshop.actor)
    assert [(item.number, item.commit.message) for item in stashes(workshop.repository)] == [
        (2, "work 3"),
        (1, "work 2"),
    ]
    pop(workshop.repository, 1, actor=workshop.actor)
    workshop.commit(message="two")
    with pytest.raises(ConflictError) as refused:
        pop(workshop.repository, actor=workshop.actor)
    assert refused.value.kind == "stash-conflict"
    assert [item.number for item in stashes(workshop.repository)] == [2]
    assert status(workshop.repository).clean
    assert drop(workshop.repository, actor=workshop.actor).number == 2
    with pytest.raises(NotFoundError):
        drop(workshop.repository, actor=workshop.actor)


def test_work_on_other_files_survives_a_pop(workshop: Any) -> None:
    work = dirty(workshop)
    push(workshop.repository, actor=workshop.actor)
    (workshop.repository.root / "config.json").write_text('{"mine": 1}')
    mine = workshop.files()["config.json"]
    pop(workshop.repository, actor=workshop.actor)
    assert workshop.files() == work | {"config.json": mine}


@pytest.mark.parametrize("path", ["model.safetensors", "deep/er/new.txt"])
def test_a_pop_over_other_changes_is_refused_and_changes_nothing(workshop: Any, path: str) -> None:
    dirty(workshop)
    push(workshop.repository, actor=workshop.actor)
    if path == "model.safetensors":
        workshop.write(9)
    else:
        (workshop.repository.root / "deep" / "er").mkdir(parents=True)
        (workshop.repository.root / path).write_text("other")
    before = workshop.files()
    with pytest.raises(ConflictError, match=path):
        pop(workshop.repository, actor=workshop.actor)
    assert workshop.files() == before
    assert len(stashes(workshop.repository)) == 1


def test_another_run_is_not_overwritten(workshop: Any) -> None:
    workshop.commit(1)
    run = PendingRun(stage=Stage.TARGET, task=None, parents=(), made={"seed": 1}, metrics={})
    save_run(workshop.repository, run)
    push(workshop.repository, actor=workshop.actor)
    other = PendingRun(stage=Stage.TARGET, task=None, parents=(), made={"seed": 2}, metrics={})
    save_run(workshop.repository, other)
    with pytest.raises(ConflictError) as refused:
        pop(workshop.repository, actor=workshop.actor)
    assert refused.value.kind == "run-waits"
    assert load_run(workshop.repository) == other


def test_nothing_to_put_aside(workshop: Any) -> None:
    with pytest.raises(NotFoundError):
        push(workshop.repository, actor=workshop.actor)
    workshop.commit(1)
    with pytest.raises(CheckFailedError):
        push(workshop.repository, actor=workshop.actor)
    assert stashes(workshop.repository) == []


def test_a_stash_is_not_collected_and_a_dropped_one_is(workshop: Any) -> None:
    work = dirty(workshop)
    push(workshop.repository, actor=workshop.actor)
    gc(workshop.repository, grace_days=0, reflog_days=0, now=workshop.now)
    pop(workshop.repository, actor=workshop.actor)
    assert workshop.files() == work
    push(workshop.repository, actor=workshop.actor)
    gone = drop(workshop.repository, actor=workshop.actor)
    gc(workshop.repository, grace_days=0, reflog_days=0, now=workshop.now)
    assert gone.id not in workshop.repository.objects
    assert fsck(workshop.repository).sound


@pytest.mark.parametrize("in_the_way", [False, True])
def test_a_file_in_the_place_of_a_directory_is_taken_up_unless_something_is_in_there(
    workshop: Any, in_the_way: bool
) -> None:
    root = workshop.repository.root
    (root / "deep").mkdir()
    (root / "deep" / "old.txt").write_text("old")
    workshop.commit(1)
    (root / "deep" / "old.txt").unlink()
    (root / "deep").rmdir()
    (root / "deep").write_text("a file")
    work = dict(workshop.files())
    push(workshop.repository, actor=workshop.actor)
    if in_the_way:
        (root / "deep" / "mine.txt").write_text("mine")
        before = dict(workshop.files())
        with pytest.raises(ConflictError):
            pop(workshop.repository, actor=workshop.actor)
        assert workshop.files() == before
        (root / "deep" / "mine.txt").unlink()
    pop(workshop.repository, actor=workshop.actor)
    assert workshop.files() == work
    assert stashes(workshop.repository) == []
