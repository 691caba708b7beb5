"""The journal: what a killed process had begun is taken back, or found finished, by the next one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlgit.errors import CorruptObjectError, FileSystemError
from mlgit.objects import CommitId, Identity, Timestamp
from mlgit.storage import journal as module
from mlgit.storage.journal import Journal, Move, Steps, identity
from mlgit.storage.refs import HEAD, RefStore

WHO, WHEN = Identity("Ada", "ada@example.org"), Timestamp(1_700_000_000, 60)
MAIN, NEW = "refs/heads/main", "refs/heads/new"
ONE, TWO = CommitId("1" * 64), CommitId("2" * 64)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """A model directory with a file ``old`` to be replaced, and the new one staged."""
    folder = tmp_path / ".mlgit"
    (folder / "staging").mkdir(parents=True)
    refs = RefStore.create(folder)
    refs.update(MAIN, ONE, expected=None, who=WHO, when=WHEN, reason="commit: one")
    (tmp_path / "old").write_text("old")
    (folder / "staging" / "new-0").write_text("new")
    (folder / "staging" / "new-1").write_text("deep")
    return Journal(folder, refs)


def steps(journal: Journal, deciding: str | None) -> Steps:
    staging = journal.folder / "staging"
    moves = [
        Move("old-0", "old"),
        Move("new-0", "old", identity(staging / "new-0")),
        Move("new-1", "a/b/deep", identity(staging / "new-1")),
    ]
    return Steps(deciding, "staging", moves, ["a", "a/b"], {NEW: TWO})


def work(journal: Journal) -> list[Callable[[], object]]:
    root, staging = journal.root, journal.folder / "staging"
    return [
        lambda: (root / "old").rename(staging / "old-0"),
        lambda: (staging / "new-0").rename(root / "old"),
        lambda: (root / "a" / "b").mkdir(parents=True),
        lambda: (staging / "new-1").rename(root / "a" / "b" / "deep"),
        lambda: journal.refs.update(NEW, TWO, expected=None, who=WHO, when=WHEN, reason="branch"),
        lambda: journal.refs.set_head(NEW, who=WHO, when=WHEN, reason="switch"),
    ]


def killed(journal: Journal, deciding: str | None, after: int) -> None:
    """Do so many steps in a process that is killed then."""
    child = os.fork()
    if child == 0:
        with journal.during(steps(journal, deciding)):
            for step in work(journal)[:after]:
                step()
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def is_old(journal: Journal) -> bool:
    assert (journal.root / "old").read_text() == "old"
    assert not (journal.root / "a").exists()
    assert journal.refs.read(NEW) is None
    return journal.refs.head().branch == MAIN


def is_new(journal: Journal) -> bool:
    assert (journal.root / "old").read_text() == "new"
    assert (journal.root / "a" / "b" / "deep").read_text() == "deep"
    assert journal.refs.read(NEW) == TWO
    return journal.refs.head().branch == NEW


@pytest.mark.parametrize("after", range(7))
def test_the_steps_of_a_killed_process_are_taken_back_until_the_deciding_ref_has_moved(
    journal: Journal, after: int
) -> None:
    killed(journal, HEAD, after)
    assert journal.path.exists()
    journal.settle()
    assert is_new(journal) if after == 6 else is_old(journal)
    assert sorted(path.name for path in journal.folder.iterdir()) == ["HEAD", "logs", "refs"]
    journal.settle()  # there is nothing more to do


@pytest.mark.parametrize("after", range(5))
def test_without_a_deciding_ref_the_end_of_the_journal_decides(journal: Journal, after: int) -> None:
    killed(journal, None, after)
    journal.settle()
    assert is_old(journal)
    assert not (journal.folder / "staging").exists()


def test_what_was_done_undisturbed_stays(journal: Journal) -> None:
    with journal.during(steps(journal, HEAD)):
        for step in work(journal):
            step()
    assert not journal.path.exists()
    journal.settle()
    assert is_new(journal)


@pytest.mark.parametrize("after", range(5))
def test_taking_back_can_itself_be_killed(journal: Journal, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    killed(journal, HEAD, 5)
    rename, seen = Path.rename, 0

    def rename_once(source: Path, target: Path) -> Path:
        nonlocal seen
        seen += 1
        if seen > after:
            raise OSError(5, "Input/output error")
        return rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_once)
        if after < 3:
            with pytest.raises(FileSystemError, match="cannot put files back"):
                journal.settle()
    journal.settle()
    assert is_old(journal)


def test_what_somebody_wrote_since_stays(journal: Journal) -> None:
    killed(journal, HEAD, 5)
    (journal.root / "old").write_text("mine, written later")
    journal.settle()
    assert (journal.root / "old").read_text() == "mine, written later"
    journal.refs.update(NEW, TWO, expected=None, who=WHO, when=WHEN, reason="branch")


def test_a_branch_that_moved_on_since_stays(journal: Journal) -> None:
    killed(journal, HEAD, 5)
    journal.refs.update(NEW, ONE, expected=TWO, who=WHO, when=WHEN, reason="commit: more")
    journal.settle()
    assert journal.refs.read(NEW) == ONE
    assert (journal.root / "old").read_text() == "old"


def test_a_name_that_head_was_pointed_at_is_taken_back(journal: Journal) -> None:
    child = os.fork()
    if child == 0:
        with journal.during(Steps(MAIN, created={NEW: ONE}, head=NEW)):
            journal.refs.update(NEW, ONE, expected=None, who=WHO, when=WHEN, reason="branch")
            journal.refs.set_head(NEW, who=WHO, when=WHEN, reason="branch: renamed")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    journal.settle()
    assert journal.refs.head().branch == MAIN
    assert journal.refs.read(NEW) is None


def test_a_journal_that_cannot_be_removed_takes_the_work_back(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(28, "No space left on device")

    def attempt() -> None:
        with journal.during(steps(journal, None)):
            for step in work(journal)[:4]:
                step()
            monkeypatch.setattr(Path, "unlink", refuse)

    with pytest.raises(FileSystemError, match="cannot remove"):
        attempt()
    monkeypatch.undo()
    assert is_old(journal)


def test_every_damage_of_a_journal_is_named(journal: Journal) -> None:
    killed(journal, HEAD, 3)
    whole = journal.path.read_bytes()
    for place in range(len(whole)):
        journal.path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CorruptObjectError, match="journal"):
            journal.settle()
    journal.path.write_bytes(whole)
    journal.settle()
    assert is_old(journal)
    assert module.FILE == "journal"
