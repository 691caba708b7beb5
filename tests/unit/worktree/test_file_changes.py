from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgit.errors import InvalidInputError
from mlgit.objects import Manifest, TensorId
from mlgit.repository import Repository
from mlgit.worktree.model_file import ModelFile, read_model_file
from mlgit.worktree.snapshot import Hashing, snapshot
from mlgit.worktree.status import Change, FileChange, FileContent, file_changes, working_changes

ids = st.sampled_from([TensorId(digit * 64) for digit in "ab"])
content: st.SearchStrategy[FileContent] = st.tuples(
    st.sampled_from(["h1", "h2"]),
    st.dictionaries(st.sampled_from("xyz"), ids).map(lambda tensors: tuple(tensors.items())),
)
states = st.dictionaries(st.sampled_from(["a", "b/c", "d"]), content)


@given(state=states)
def test_a_state_does_not_differ_from_itself(state: dict[str, FileContent]) -> None:
    assert file_changes(state, dict(state)) == []


@given(old=states, new=states)
def test_what_came_one_way_went_the_other_way(old: dict[str, FileContent], new: dict[str, FileContent]) -> None:
    turned = {Change.ADDED: Change.DELETED, Change.DELETED: Change.ADDED, Change.MODIFIED: Change.MODIFIED}
    there, back = file_changes(old, new), file_changes(new, old)
    assert [(change.path, turned[change.change]) for change in there] == [(item.path, item.change) for item in back]
    assert [change.path for change in there] == sorted(
        path for path in old.keys() | new.keys() if old.get(path) != new.get(path)
    )


def test_tensors_that_differ_are_counted(
    repository: Repository, write_tensors: Callable[..., None], record: Callable[[], Manifest]
) -> None:
    place = repository.root / "model.safetensors"
    write_tensors(place, {"a": b"1", "b": b"2", "c": b"3"})
    before = record()
    write_tensors(place, {"a": b"1", "b": b"9", "c": b"33", "d": b"4"})
    assert working_changes(repository, before, snapshot(repository, Hashing())) == [
        FileChange("model.safetensors", Change.MODIFIED, 3, 4)
    ]


def test_only_the_metadata_changed(
    repository: Repository, write_tensors: Callable[..., None], record: Callable[[], Manifest]
) -> None:
    place = repository.root / "model.safetensors"
    write_tensors(place, {"a": b"1"}, {"epoch": "1"})
    before = record()
    write_tensors(place, {"a": b"1"}, {"epoch": "2"})
    assert working_changes(repository, before, snapshot(repository, Hashing())) == [
        FileChange("model.safetensors", Change.MODIFIED, 0, 1)
    ]


def test_everything_is_new_against_no_commit(repository: Repository) -> None:
    (repository.root / "a").write_text("x")
    assert working_changes(repository, None, snapshot(repository, Hashing())) == [FileChange("a", Change.ADDED)]


# --- mlgit.toml


def test_a_missing_model_file_says_nothing(repository: Repository) -> None:
    assert read_model_file(repository.root / "mlgit.toml") == ModelFile()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model = 3", "'model' is not a table"),
        ("[model]\nfactory = 3", "'model.factory' is not text"),
        ("tasks = []", "'tasks' is not a table"),
        ("[tasks]\nx = 1", "'x' is not a table"),
        ("[", "is not valid TOML"),
    ],
)
def test_a_wrong_model_file_is_named_with_the_key(repository: Repository, text: str, words: str) -> None:
    (repository.root / "mlgit.toml").write_text(text)
    with pytest.raises(InvalidInputError) as refused:
        read_model_file(repository.root / "mlgit.toml")
    assert words in refused.value.message
    assert "mlgit.toml" in refused.value.message
    assert refused.value.kind == "bad-toml"
