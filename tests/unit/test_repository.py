from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from mlgit import repository as module
from mlgit.errors import (
    AlreadyExistsError,
    ConflictError,
    FileSystemError,
    InvalidInputError,
    MlgitError,
    NotFoundError,
)
from mlgit.objects import Commit, CommitId, Identity, Manifest, Stage, Timestamp
from mlgit.repository import Repository, check_branch_name, new_directories

WHO, WHEN = Identity("Ada", "ada@example.org"), Timestamp(1_700_000_000)


def store(repository: Repository, message: str) -> CommitId:
    with repository.objects.transaction() as transaction:
        manifest = transaction.put_record(Manifest({}))
        return transaction.put_record(
            Commit(manifest=manifest, stage=Stage.SNAPSHOT, author=WHO, time=WHEN, message=message)
        )


def test_a_new_repository_has_everything_and_no_commits(tmp_path: Path) -> None:
    repository = Repository.create(tmp_path / "a" / "b", branch="trunk")
    assert repository.refs.head().branch == "refs/heads/trunk"
    assert repository.head is None
    assert repository.branches() == {}
    assert list(repository.objects.ids()) == []
    assert sorted(path.name for path in repository.root.iterdir()) == [".mlgit"]


def test_the_files_that_were_there_stay(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    Repository.create(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == b"x"


@pytest.mark.parametrize("inside", [".", "sub", "sub/deeper"])
def test_no_repository_inside_a_repository(tmp_path: Path, inside: str) -> None:
    Repository.create(tmp_path)
    with pytest.raises(AlreadyExistsError) as refused:
        Repository.create(tmp_path / inside)
    assert refused.value.kind == "repository-exists"
    assert not (tmp_path / "sub").exists()


def test_only_the_real_place_counts(tmp_path: Path) -> None:
    first = Repository.create(tmp_path / "first")
    assert Repository.create(first.root / ".." / "second").root == tmp_path / "second"
    (tmp_path / "link").symlink_to(first.root)
    with pytest.raises(AlreadyExistsError):
        Repository.create(tmp_path / "link" / "sub")
    assert Repository(tmp_path / "link").root == first.root


@pytest.mark.parametrize("step", ["mkdir", "rename", "write_file", "sync_directory"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_creation_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    real: Callable[..., object] = getattr(Path, step, None) or getattr(module, step)

    def fail(*arguments: object, **options: object) -> object:
        if step == "mkdir" and Path(str(arguments[0])).name != "objects":
            return real(*arguments, **options)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Path if hasattr(Path, step) else module, step, fail)
        with pytest.raises((FileSystemError, KeyboardInterrupt)):
            Repository.create(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_new_directories_go_only_when_they_are_empty(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()

    def fail() -> None:
        with new_directories(tmp_path / "old" / "new" / "er"):
            (tmp_path / "old" / "new" / "mine").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (tmp_path / "old" / "new" / "mine").exists()
    assert not (tmp_path / "old" / "new" / "er").exists()


def test_a_repository_is_found_from_below(tmp_path: Path) -> None:
    Repository.create(tmp_path / "model")
    (tmp_path / "model/a/b").mkdir(parents=True)
    assert Repository.discover(tmp_path / "model/a/b").root == tmp_path / "model"
    with pytest.raises(NotFoundError) as missing:
        Repository.discover(tmp_path)
    assert missing.value.kind == "no-repository"


def test_a_repository_of_a_newer_mlgit_is_not_touched(tmp_path: Path) -> None:
    Repository.create(tmp_path)
    (tmp_path / ".mlgit/format").write_bytes(b"mlgit repository 2\n")
    with pytest.raises(InvalidInputError) as refused:
        Repository(tmp_path)
    assert (refused.value.kind, refused.value.hint) == ("newer-version", "update mlgit")


@pytest.mark.parametrize("name", ["", "-x", "HEAD", "@", "a b", "a..b", "a/", ".a", "a.lock", "a\x1bb", "a\nb", "a~1"])
def test_names_that_no_branch_may_have(name: str) -> None:
    with pytest.raises(InvalidInputError):
        check_branch_name(name)


@pytest.mark.parametrize("name", ["main", "a/b", "lr-3e-5", "ä", "v1.0", "refs", "a@b"])
def test_names_that_a_branch_may_have(name: str) -> None:
    check_branch_name(name)


# --- settings and people


def test_settings_of_the_repository_win(tmp_path: Path) -> None:
    user = tmp_path / "user.toml"
    user.write_text('[user]\nname = "everywhere"\nemail = "e@example.org"\n')
    repository = Repository.create(tmp_path / "model", user_settings=user)
    assert repository.identity == Identity("everywhere", "e@example.org")
    (repository.folder / "config.toml").write_text('[user]\nname = "here"\n')
    assert repository.identity == Identity("here", "e@example.org")


def test_a_setting_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    repository = Repository.create(tmp_path)
    (repository.folder / "config.toml").write_text("[user]\nname = 3\n")
    with pytest.raises(InvalidInputError, match=r"setting 'user.name' is 3, not text"):
        _ = repository.identity


def test_a_user_without_an_account_has_a_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(number: int) -> NoReturn:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert Repository.create(tmp_path).identity.name == f"user-{os.getuid()}"


# --- the current branch


def test_advance_moves_the_branch_only_from_where_it_was_seen(tmp_path: Path) -> None:
    repository = Repository.create(tmp_path)
    first, second = store(repository, "first"), store(repository, "second")
    repository.advance(first, expected=None, who=WHO, when=WHEN, reason="commit: first")
    with pytest.raises(ConflictError):
        repository.advance(second, expected=None, who=WHO, when=WHEN, reason="commit: second")
    assert repository.head == first
    repository.advance(second, expected=first, who=WHO, when=WHEN, reason="commit: second")
    assert repository.branches() == {"main": second}
    assert [entry.reason for entry in repository.refs.reflog("HEAD")] == ["commit: second", "commit: first"]


def test_advance_moves_a_detached_head_and_no_branch(tmp_path: Path) -> None:
    repository = Repository.create(tmp_path)
    first, second = store(repository, "first"), store(repository, "second")
    repository.advance(first, expected=None, who=WHO, when=WHEN, reason="commit: first")
    repository.refs.set_head(first, who=WHO, when=WHEN, reason="switch")
    repository.advance(second, expected=first, who=WHO, when=WHEN, reason="commit: second")
    assert repository.head == second
    assert repository.branches() == {"main": first}


def test_revisions_are_resolved(tmp_path: Path) -> None:
    repository = Repository.create(tmp_path)
    first = store(repository, "first")
    repository.advance(first, expected=None, who=WHO, when=WHEN, reason="commit")
    assert repository.resolve("HEAD") == repository.resolve(first[:8]) == repository.resolve("main") == first
    assert repository.resolve_many(["m*", "HEAD"]) == [first]
    with pytest.raises(MlgitError):
        repository.resolve("nowhere")
