from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgit.errors import InvalidInputError, MlgitError, NotFoundError
from mlgit.history import resolve, resolve_many
from mlgit.objects import BlobId, CertificateId, CommitId, TagId
from mlgit.storage.commit_graph import CommitGraph, grown, shape_of


@pytest.fixture
def line(store):
    """Return six commits in a row, ``main`` at the last one, and a merge with three parents at ``soup``."""
    ids = [store.commit("0")]
    for number in range(1, 6):
        ids.append(store.commit(str(number), ids[-1]))
    store.refs["refs/heads/main"] = ids[-1]
    ids.append(store.commit("soup", ids[4], ids[2], ids[3]))
    store.refs["refs/heads/soup"] = ids[-1]
    return ids


def refused(store, text, error, kind):
    with pytest.raises(error) as caught:
        resolve(text, store, store)
    assert caught.value.kind == kind
    assert caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("HEAD", 5),
        ("@", 5),
        ("main", 5),
        ("refs/heads/main", 5),
        ("heads/main", 5),
        ("branch:main", 5),
        ("main~", 4),
        ("main~0", 5),
        ("main~1", 4),
        ("main~3", 2),
        ("main~0000000000002", 3),
        ("main^", 4),
        ("main^0", 5),
        ("main^{}", 5),
        ("main^{commit}~1", 4),
        ("main~~^", 2),
        ("HEAD~2~3", 0),
        ("soup^1", 4),
        ("soup^2", 2),
        ("soup^3~2", 1),
        ("soup^2^", 1),
        ("branch:soup^3", 3),
    ],
)
def test_a_revision_names_a_commit(store, line, text, number):
    assert resolve(text, store, store) == line[number]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("main~6", "no parents"),
        ("main~999999999999999999999", "no parents"),
        ("soup^4", "3 parents"),
        ("main^2", "1 parent"),
    ],
)
def test_a_step_beyond_the_history_says_where_it_ends(store, line, text, what):
    error = refused(store, text, NotFoundError, "unknown-revision")
    assert text in error.message
    assert error.message.endswith(what)


def test_a_parent_with_two_roles_counts_twice_as_it_is_listed(store, line):
    merge = store.commit("merge", line[5], line[5], line[1])
    store.refs["refs/heads/main"] = merge
    assert [resolve(f"main^{number}", store, store) for number in (1, 2, 3)] == [line[5], line[5], line[1]]


def test_a_detached_head_is_its_commit(store, line):
    store.head_target = line[2]
    assert resolve("HEAD^", store, store) == line[1]


def test_a_head_without_commits_says_so(store):
    error = refused(store, "HEAD~1", NotFoundError, "no-commits")
    assert error.message == "branch 'main' has no commits yet"


def test_an_annotated_tag_stands_for_its_commit(store, line):
    tag = store.tag("v1", line[3])
    assert isinstance(tag, TagId)
    for text in ("v1", "tag:v1", "tags/v1", "refs/tags/v1", tag, tag[:12], "v1^0"):
        assert resolve(text, store, store) == line[3]
    assert resolve("v1~2", store, store) == line[1]


def test_remote_tracking_branches_have_short_names(store, line):
    store.refs |= {"refs/remotes/origin/x": line[1], "refs/remotes/origin/HEAD": line[2]}
    assert resolve("origin/x", store, store) == line[1]
    assert resolve("remote:origin/x", store, store) == line[1]
    assert resolve("origin", store, store) == line[2]


def test_a_name_of_two_refs_is_ambiguous_unless_they_agree(store, line):
    store.refs["refs/tags/main"] = line[5]
    assert resolve("main", store, store) == line[5]
    store.refs["refs/tags/main"] = line[1]
    error = refused(store, "main", InvalidInputError, "ambiguous-revision")
    assert "refs/heads/main" in error.message
    assert "refs/tags/main" in error.message
    assert resolve("tag:main", store, store) == line[1]
    assert resolve("branch:main", store, store) == line[5]


def commit_id(start: str) -> CommitId:
    return CommitId(start.ljust(64, "0"))


def test_ids_are_found_by_four_digits_in_either_case(store):
    store.add(commit_id("abcd1"))
    store.add(commit_id("ffff"))
    for text in ("abcd", "ABCD1", "abcd1000", commit_id("abcd1")):
        assert resolve(text, store, store) == commit_id("abcd1")
    error = refused(store, "abc", NotFoundError, "unknown-revision")
    assert "4 digits" in str(error.hint)
    refused(store, "abce", NotFoundError, "unknown-revision")
    refused(store, "abcd1" + "0" * 60, NotFoundError, "unknown-revision")


def test_an_ambiguous_id_lists_candidates_that_differ(store):
    found = [commit_id("abcd" + "0" * 20 + digit) for digit in "123"]
    for one in found:
        store.add(one)
    store.add(BlobId("abcd" + "f" * 60))
    error = refused(store, "abcd", InvalidInputError, "ambiguous-revision")
    assert "3 ids" in error.message
    assert all(one[:25] in error.message for one in found)
    assert resolve(found[1][:25], store, store) == found[1]


def test_only_commits_and_tags_compete_for_a_prefix(store):
    store.add(commit_id("abcd"))
    store.add(BlobId("abcd" + "f" * 60))
    assert resolve("abcd", store, store) == commit_id("abcd")


def test_an_id_of_something_else_says_what_it_is(store):
    store.add(BlobId("abcd" + "f" * 60))
    error = refused(store, "abcd", InvalidInputError, "not-a-commit")
    assert "a blob" in error.message
    store.refs["refs/certificates/one"] = CertificateId("1" * 64)
    assert "a certificate" in refused(store, "refs/certificates/one", InvalidInputError, "not-a-commit").message


def test_a_branch_wins_over_a_prefix_and_a_full_id_over_a_branch(store, line):
    store.add(commit_id("beef"))
    store.refs |= {"refs/heads/beef": line[1], f"refs/heads/{commit_id('beef')}": line[2]}
    assert resolve("beef", store, store) == line[1]
    assert resolve(commit_id("beef"), store, store) == commit_id("beef")


def test_a_position_in_a_log_names_the_value_that_many_changes_ago(store, line):
    store.refs["refs/heads/main"] = line[2]
    store.move("refs/heads/main", None, line[0], line[1], line[2])
    store.move("HEAD", None, line[0], line[1], line[2])
    for name in ("main", "branch:main", "refs/heads/main", "HEAD", ""):
        assert [resolve(f"{name}@{{{back}}}", store, store) for back in range(3)] == [line[2], line[1], line[0]]
    assert resolve("main@{0}~1", store, store) == resolve("main~1", store, store)
    assert "did not exist" in refused(store, "main@{3}", NotFoundError, "unknown-revision").message
    assert "3 changes" in refused(store, "main@{4}", NotFoundError, "unknown-revision").message
    refused(store, "nobody@{1}", NotFoundError, "unknown-revision")


def test_a_position_of_a_deleted_branch_is_known_from_its_log(store, line):
    store.move("refs/heads/gone", None, line[0], None)
    assert resolve("gone@{1}", store, store) == line[0]
    refused(store, "gone@{0}", NotFoundError, "unknown-revision")


def test_a_ref_without_a_log_has_only_its_value_now(store, line):
    assert resolve("main@{0}", store, store) == resolve("main", store, store)
    refused(store, "main@{1}", NotFoundError, "unknown-revision")


def test_an_unknown_name_suggests_a_close_one(store, line):
    store.tag("v1.0", line[0])
    assert refused(store, "mian", NotFoundError, "unknown-revision").hint == "did you mean 'main'?"
    assert refused(store, "tag:v1", NotFoundError, "unknown-revision").hint == "did you mean 'tag:v1.0'?"
    assert "'sop'" in refused(store, "sop~1", NotFoundError, "unknown-revision").message


@pytest.mark.parametrize(
    "text",
    [
        "", " main", "main ", "a b", "a\nb", "a\tb", "\x1b[31mmain", "a\x00b", "a\u202eb", "a\ud800b", "a\\b",
        "-d", "--all", "main..soup", "main...soup", "..", "^main", "^", "~1", "main~x", "main^x",
        "main@{x}", "main@{1", "@{-1}", "main@{1}@{1}", "main~1@{1}",
        "main~1x", "main^-", "main^{tree}", "main^{/text}", "main~-1", "main:config.json", ":/text", "a:b:c",
        "branches:main", "x" * 2000, "main*", "ma?n", "[m]ain", "main~\u0661",
    ],
)  # fmt: skip
def test_nonsense_is_refused_before_any_ref_is_looked_up(store, line, text):
    error = refused(store, text, InvalidInputError, "bad-revision")
    assert error.hint
    assert all(letter.isprintable() for letter in error.message)
    assert store.lookups == []


@pytest.mark.parametrize(
    "text",
    ["refs", "refs/heads", "a//b", "/main", "main/", ".main", "a/.b", "main.lock", "main.", "branch:-x", "y" * 300],
)
def test_names_that_no_ref_can_have_are_unknown_and_never_looked_up(store, line, text):
    refused(store, text, NotFoundError, "unknown-revision")
    assert all("//" not in name and not name.endswith((".", ".lock", "/")) for name in store.lookups)


def test_a_range_is_refused_with_a_hint(store, line):
    error = refused(store, "main..soup", InvalidInputError, "bad-revision")
    assert "ranges" in error.message
    assert "'a' and 'b'" in str(error.hint)


@given(st.text(alphabet=st.sampled_from("am~^0123456789:{}@.*/[-HEAD\x07é"), max_size=20))
def test_any_text_is_resolved_or_refused(text):
    from_memory = _Tiny()
    try:
        assert resolve_many([text], from_memory, from_memory) == [commit_id("a")]
    except MlgitError as refusal:
        kind = refusal.kind
    else:
        return
    assert kind in {"bad-revision", "unknown-revision", "no-commits", "ambiguous-revision", "not-a-commit"}


class _Tiny:
    """One commit, two branches."""

    def read(self, name):
        assert ".." not in name
        return commit_id("a") if name in {"refs/heads/a", "refs/heads/am"} else None

    def names(self, prefix="refs/"):
        return [name for name in ("refs/heads/a", "refs/heads/am") if name.startswith(prefix)]

    def head(self):
        class Head:
            branch = "refs/heads/a"
            commit = commit_id("a")

        return Head()

    def with_prefix(self, prefix, kind=None):
        return [commit_id("a")] if commit_id("a").startswith(prefix) and kind in (None, "commit") else []

    def read_record(self, object_id):
        class Root:
            parents = ()

        return Root()


def test_patterns_stand_for_branches_then_tags(store, line):
    store.refs |= {
        "refs/heads/pacs/b": line[2],
        "refs/heads/pacs/a": line[1],
        "refs/heads/pacs/deep/c": line[3],
        "refs/remotes/origin/pacs/z": line[0],
        "refs/other/pacs/y": line[0],
    }
    store.tag("pacs/t", line[4])

    def found(*texts):
        return [line.index(one) for one in resolve_many(texts, store, store)]

    assert found("pacs/*") == [1, 2, 3, 4]
    assert found("branch:pacs/*") == [1, 2, 3]
    assert found("tag:*") == [4]
    assert found("pacs/[ab]") == [1, 2]
    assert found("pacs/[!a]") == [2, 4]
    assert found("pacs/?~1") == [0, 1, 3]
    assert found("*pacs/*") == [1, 2, 3, 4]
    assert found("origin/*") == [0]
    assert found("remote:*/z") == [0]
    assert found("refs/heads/pacs/*") == [1, 2, 3]
    assert found("pacs/b", "main~1", "pacs/*", "main^") == [2, 4, 1, 3]
    assert found() == []


@pytest.mark.parametrize("pattern", ["pacs/*", "tag:*", "remote:*", "refs/x/*", "MAI*"])
def test_a_pattern_that_fits_nothing_is_not_found(store, line, pattern):
    with pytest.raises(NotFoundError) as caught:
        resolve_many(["main", pattern], store, store)
    assert caught.value.kind == "unknown-revision"
    assert pattern in caught.value.message


def test_one_bad_revision_among_many_is_refused(store, line):
    with pytest.raises(InvalidInputError, match="ranges"):
        resolve_many(["main", "main..soup"], store, store)


def test_a_far_ancestor_is_found_with_the_graph_and_without_it(store):
    ids = [store.commit("0")]
    for number in range(1, 300):
        ids.append(store.commit(str(number), ids[-1]))
    store.refs["refs/heads/main"] = ids[-1]

    def answers():
        store.commits_read = 0
        found = resolve("main~250", store, store), resolve("main^~2~120^", store, store)
        message = refused(store, "main~300", NotFoundError, "unknown-revision").message
        return *found, message, store.commits_read

    *without, reads = answers()
    assert without == [ids[49], ids[175], f"'main~300' does not exist: {ids[0].short} has no parents"]
    assert reads > 500
    data = grown(None, lambda one: shape_of(store.objects[one]), [ids[280]])
    store.known = CommitGraph(data)  # of an earlier day: the newest commits are not in it
    *with_it, reads = answers()
    assert with_it == without
    assert reads < 100
