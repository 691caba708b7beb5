from __future__ import annotations

from mlgit.history import names_by_commit, short_name
from mlgit.objects import CertificateId


def test_names_are_marked_as_in_a_log_of_git(store):
    old, new = store.commit("old"), store.commit("new")
    store.refs |= {
        "refs/heads/topic": new,
        "refs/heads/main": new,
        "refs/heads/a": new,
        "refs/remotes/origin/main": old,
        "refs/tags/light": old,
        "refs/certificates/x": CertificateId("1" * 64),
        "refs/tags/odd": CertificateId("1" * 64),
    }
    store.tag("v1", new)
    assert names_by_commit(store, store) == {
        new: ["HEAD -> main", "a", "topic", "tag: v1"],
        old: ["tag: light", "origin/main"],
    }


def test_a_detached_head_stands_alone_and_hides_no_branch(store):
    commit = store.commit("x")
    store.refs["refs/heads/main"] = commit
    store.head_target = commit
    assert names_by_commit(store, store) == {commit: ["HEAD", "main"]}


def test_before_the_first_commit_nothing_has_a_name(store):
    assert names_by_commit(store, store) == {}


def test_short_names_are_those_that_people_write():
    assert [short_name(name) for name in ("refs/heads/a/b", "refs/tags/v1", "refs/remotes/o/x", "refs/other/y")] == [
        "a/b",
        "v1",
        "o/x",
        "refs/other/y",
    ]
