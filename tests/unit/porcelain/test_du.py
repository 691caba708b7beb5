from __future__ import annotations

from typing import Any

from mlgit.objects import BlobFile
from mlgit.porcelain.branch import delete_branch
from mlgit.porcelain.du import du
from mlgit.porcelain.gc import gc
from mlgit.porcelain.switch import switch


def test_every_checkpoint_is_added_or_saved(workshop: Any) -> None:
    ids = [workshop.commit(1, 2, 3), workshop.commit(1, 2, 4), workshop.commit(1, 2, 4), workshop.commit(9, 9, 9, 9)]
    found = du(workshop.repository)
    assert [row.id for row in found.commits] == ids[::-1]
    for row in found.commits:
        assert row.checkpoint == row.added + row.deduplicated + row.compressed + row.differences
        assert min(row.added, row.deduplicated, row.own, row.shared) >= 0
    assert found.checkpoints == sum(row.checkpoint for row in found.commits)
    assert found.stored == found.needed + found.other == workshop.repository.objects.stored_bytes()


def test_a_checkpoint_is_its_files_byte_for_byte(workshop: Any) -> None:
    workshop.commit(1, 2, 3)
    (row,) = du(workshop.repository).commits
    size = (workshop.repository.root / "model.safetensors").stat().st_size
    assert row.checkpoint == size - 8  # the length of the header is no object
    assert row.deduplicated == row.shared == row.differences == 0


def test_what_an_earlier_commit_had_is_deduplicated_and_a_small_change_is_a_difference(workshop: Any) -> None:
    workshop.commit(1, 2, 3)
    workshop.commit(1, 2, 4)
    layer = 40 * 60 * 4
    newest, _ = du(workshop.repository).commits
    assert newest.deduplicated >= 2 * layer
    assert 0 < newest.differences < layer
    assert newest.added < layer


def test_own_bytes_are_what_goes_with_a_commit(workshop: Any) -> None:
    workshop.commit(1, 2, 3, 4, 5, 6)
    switch(workshop.repository, "side", create=True, actor=workshop.actor)
    side = workshop.commit(1, 2, 9, 10, 11, 12)
    switch(workshop.repository, "main", actor=workshop.actor)
    before = du(workshop.repository)
    own = next(row.own for row in before.commits if row.id == side)
    delete_branch(workshop.repository, "side", force=True, actor=workshop.actor)
    gc(workshop.repository, grace_days=0, reflog_days=0, now=workshop.now)
    after = du(workshop.repository)
    assert after.needed == before.needed - own


def test_needed_is_the_sum_over_distinct_objects(workshop: Any) -> None:
    ids = [workshop.commit(1, 2, 3), workshop.commit(4, 2, 3), workshop.commit(4, 5)]
    objects = workshop.repository.objects
    distinct = set()
    for commit_id in ids:
        commit = objects.read_record(commit_id)
        manifest = objects.read_record(commit.manifest)
        files = {file.id if isinstance(file, BlobFile) else file.header for file in manifest.files}
        distinct |= {commit_id, commit.manifest, *(entry.id for entry in manifest.tensors.values()), *files}
    assert du(workshop.repository).needed == sum(objects.stored_size(found) for found in distinct)


def test_an_empty_repository_takes_nothing(workshop: Any) -> None:
    found = du(workshop.repository)
    assert (found.commits, found.stored, found.needed) == ((), 0, 0)
