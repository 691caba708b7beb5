from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgit.errors import CorruptObjectError
from mlgit.objects import BlobFile, BlobId, Manifest, TensorFile, TensorId
from mlgit.objects.manifest import TensorEntry
from mlgit.porcelain import ancestry, marking
from mlgit.porcelain.ancestry import check_graph, graph_path
from mlgit.porcelain.branch import BranchFilter, branches, create_branch, delete_branch
from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.gc import gc
from mlgit.porcelain.marking import Marking, content_of
from mlgit.porcelain.merge_base import is_ancestor, merge_base
from mlgit.porcelain.reachable import Reachable, follow_names
from mlgit.porcelain.switch import switch
from mlgit.porcelain.tag import create_tag
from mlgit.storage.commit_graph import CommitGraph
from mlgit.storage.marks import Marks

ODD = ["id", '"id":"', "header", "blob", 'a"id":"b', "é", "weight"]


@given(
    names=st.lists(st.sampled_from(ODD) | st.text('ab.\\"{}:,', min_size=1, max_size=6), max_size=6, unique=True),
    files=st.integers(0, 3),
    head=st.sampled_from([None, *ODD]),
)
def test_the_content_of_a_manifest_is_what_its_entries_name(names: list[str], files: int, head: str | None) -> None:
    names = [name for name in names if ".." not in name]
    tensors = {name: TensorEntry(TensorId(f"{n:064x}"), "F32", (n,)) for n, name in enumerate(names, 1)}
    listed = [TensorFile(f"a{n}", BlobId(f"{n + 100:064x}")) for n in range(files)]
    others = [BlobFile(f"b{n}", BlobId(f"{n + 200:064x}"), 3) for n in range(files)]
    manifest = Manifest(tensors=tensors, files=(*listed, *others), head=head)
    found = content_of(manifest.encode())
    expected = [entry.id for entry in tensors.values()] + [one.header for one in listed] + [one.id for one in others]
    assert sorted(found[at : at + 32].hex() for at in range(0, len(found), 32)) == sorted(expected)
    assert marking._ids_in(manifest.encode()) is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"id":"', '"id":"' + "0" * 64 + '","id":"', 1),
        lambda text: text.replace("1" * 64, "1" * 62 + "  ", 1),
        lambda text: text.replace("1" * 64, "1" * 60, 1),
        lambda text: text.replace('"version":1', '"version":2'),
        lambda text: text.replace('"manifest"', '"commit"'),
        lambda text: text.replace('"tensors":{', '"tensors":[{', 1),
        lambda text: text[:-1],
        lambda _: "[" * 100_000,
    ],
)
def test_a_manifest_that_is_none_is_refused(change: Any) -> None:
    manifest = Manifest(tensors={"a": TensorEntry(TensorId("1" * 64), "F32", (1,))})
    data = change(manifest.encode().decode()).encode()
    assert data != manifest.encode()
    with pytest.raises(CorruptObjectError):
        content_of(data)


def test_marking_finds_what_is_reachable(workshop: Any) -> None:
    for seed in range(4):
        workshop.commit(seed, 1, seed % 2)
        (workshop.repository.root / "notes.md").write_text(str(seed))
    create_tag(workshop.repository, "v1", message="why", actor=workshop.actor)
    found, marks = Reachable(workshop.repository), Marks()
    marked = Marking(workshop.repository, marks)
    for follower in (found, marked):
        follow_names(workshop.repository, follower, since_s=-(1 << 62))
    new = marks.take_new()
    assert new is not None
    assert {new[at : at + 32].hex() for at in range(0, len(new), 32)} == set(found.ids)
    assert {digest.hex() for digest in marked.shapes} == {one for one in found.ids if one.kind == "commit"}


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the commit-graph file after every few commits that were read."""
    monkeypatch.setattr(ancestry, "WRITE_AFTER", 1)
    monkeypatch.setattr("mlgit.porcelain.gc.WRITE_AFTER", 1)


def test_a_question_that_reads_much_writes_the_graph_and_the_next_one_reads_nothing(
    workshop: Any, often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = workshop.repository
    made = [workshop.commit(seed) for seed in range(5)]
    assert not graph_path(repository).exists()
    assert is_ancestor(repository, made[0], made[4])
    graph = CommitGraph.load(graph_path(repository))
    assert graph is not None
    assert len(graph) == 5
    assert list(check_graph(repository)) == []
    monkeypatch.setattr(ancestry.Ancestry, "read", None)
    assert merge_base(repository, [made[1], made[4]]) == [made[1]]
    assert [row.name for row in branches(repository, only=BranchFilter(contains=[made[0]]))] == ["main"]


def test_a_damaged_graph_is_not_used_told_and_replaced_by_a_collection(workshop: Any, often: None) -> None:
    repository = workshop.repository
    made = [workshop.commit(seed) for seed in range(4)]
    is_ancestor(repository, made[0], made[3])
    sound = graph_path(repository).read_bytes()
    graph_path(repository).write_bytes(sound[:100] + b"x" + sound[101:])
    (problem,) = check_graph(repository)
    assert "digest" in problem
    found = fsck(repository)
    assert [(item.kind, item.problem) for item in found.hurt] == [("cache", problem)]
    assert merge_base(repository, [made[0], made[3]]) == [made[0]]
    graph_path(repository).write_bytes(b"")
    gc(repository, now=workshop.now)
    assert graph_path(repository).read_bytes() == sound
    assert fsck(repository).sound


def test_a_collection_drops_commits_from_the_graph_that_are_gone(workshop: Any, often: None) -> None:
    repository = workshop.repository
    first = workshop.commit(1)
    switch(repository, "lost", create=True, actor=workshop.actor)
    lost = workshop.commit(2)
    is_ancestor(repository, first, lost)
    switch(repository, "main", actor=workshop.actor)
    workshop.commit(3)
    delete_branch(repository, "lost", force=True, actor=workshop.actor)
    gc(repository, grace_days=0, reflog_days=0, now=workshop.now)
    graph = CommitGraph.load(graph_path(repository))
    assert graph is not None
    assert lost not in repository.objects
    assert graph.find(lost) is None
    assert len(graph) == 2


def test_a_dry_run_and_a_folder_that_cannot_be_written_leave_no_graph(
    workshop: Any, often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = workshop.repository
    made = [workshop.commit(seed) for seed in range(4)]
    gc(repository, dry_run=True, now=workshop.now)
    assert not graph_path(repository).exists()
    graph_path(repository).mkdir()
    assert is_ancestor(repository, made[0], made[3])
    create_branch(repository, "side", made[1], actor=workshop.actor)
    delete_branch(repository, "side", actor=workshop.actor)
    assert graph_path(repository).is_dir()
    assert json.dumps(list(check_graph(repository)))
