"""History reads what storage wrote: real refs, real packs."""

from __future__ import annotations

import pytest

from mlgit.errors import NotFoundError
from mlgit.history import (
    ObjectSource,
    Order,
    RefSource,
    is_ancestor,
    merge_bases,
    names_by_commit,
    parent_ids,
    resolve,
    resolve_many,
    walk,
)
from mlgit.history.graph import graph_rows
from mlgit.objects import Commit, Identity, Manifest, Parent, Role, Stage, Tag, Timestamp
from mlgit.storage.objects import ObjectDatabase
from mlgit.storage.refs import RefStore

ADA = Identity("Ada", "ada@example.org")


@pytest.fixture
def stored(tmp_path):
    """Return refs, objects and the ids of: 0 - 1 - 3 (main, merges 2), 0 - 2 (pacs/a, tagged v1)."""
    objects, refs = ObjectDatabase.create(tmp_path / "objects"), RefStore.create(tmp_path)
    ids = []
    with objects.transaction() as transaction:
        manifest = transaction.put_record(Manifest(tensors={}))
        for number, parents in enumerate([[], [0], [0], [1, 2]]):
            commit = Commit(
                manifest=manifest,
                parents=tuple(Parent(ids[parent], Role.INIT) for parent in parents),
                stage=Stage.TARGET,
                author=ADA,
                time=Timestamp(1000 + number),
                message=str(number),
            )
            ids.append(transaction.put_record(commit))
        tag = transaction.put_record(Tag(commit=ids[2], name="v1", tagger=ADA, time=Timestamp(2000), message=""))
    for name, target in (("refs/heads/main", ids[3]), ("refs/heads/pacs/a", ids[2]), ("refs/tags/v1", tag)):
        refs.update(name, target, expected=None, who=ADA, when=Timestamp(3000), reason="test")
    return refs, objects, ids


def test_a_repository_on_disk_answers_every_question_of_history(stored):
    refs, objects, ids = stored
    sources: tuple[RefSource, ObjectSource] = (refs, objects)
    for text, number in (("HEAD", 3), ("main^2", 2), ("v1", 2), ("tag:v1~1", 0), ("pacs/a", 2), (ids[1][:12], 1)):
        assert resolve(text, *sources) == ids[number]
    assert resolve_many(["pacs/*", "main~1"], *sources) == [ids[2], ids[1]]
    assert names_by_commit(*sources) == {ids[3]: ["HEAD -> main"], ids[2]: ["pacs/a", "tag: v1"]}
    assert merge_bases(objects.read_record, ids[1], ids[2]) == [ids[0]]
    assert is_ancestor(objects.read_record, ids[2], ids[3])
    entries = list(walk(objects.read_record, [ids[3]], order=Order.TOPO))
    assert [one for one, _ in entries] == [ids[3], ids[2], ids[1], ids[0]]
    rows = graph_rows((one, parent_ids(commit)) for one, commit in entries)
    assert [row.prefix.rstrip() for row in rows] == ["●─╮", "│ ●", "● │", "├─╯", "●"]


@pytest.mark.parametrize(
    "text", ["pacs", "heads", "refs/heads", "../HEAD", "HEAD.lock", "a//b", "branch:-x", "x" * 900, "é" * 400, "mian"]
)
def test_names_of_no_ref_are_refused_by_the_real_store_too(stored, text):
    refs, objects, _ = stored
    if ".." in text:
        with pytest.raises(ValueError, match="ranges"):
            resolve(text, refs, objects)
    else:
        with pytest.raises(NotFoundError, match="is named"):
            resolve(text, refs, objects)
