from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from mlgit.errors import (
    AlreadyExistsError,
    ConflictError,
    CorruptObjectError,
    FileSystemError,
    InvalidInputError,
    NotFoundError,
)
from mlgit.objects import CertificateId, CommitId, Identity, ObjectId, TagId, Timestamp
from mlgit.storage import Head, ReflogEntry, RefStore, reflog
from mlgit.storage import refs as refs_module

A, B, C = (CommitId(digit * 64) for digit in "abc")
MAIN = "refs/heads/main"
Signed = dict[str, Any]
Start = Callable[..., Any]


def test_a_new_store_is_on_a_branch_that_does_not_exist(refs: RefStore) -> None:
    assert refs.head() == Head(MAIN, None)
    assert list(refs.names()) == []
    assert refs.read(MAIN) is None
    assert refs.reflog(MAIN) == refs.reflog("HEAD") == []


@pytest.mark.parametrize("name", ["é", "ветка/一", "a\U0001f600"])
def test_a_branch_may_have_a_name_in_any_script(refs: RefStore, signed: Signed, name: str) -> None:
    branch = f"refs/heads/{name}"
    refs.update(branch, A, expected=None, reason="one", **signed)
    refs.set_head(branch, reason="switch", **signed)
    refs.update(branch, B, expected=A, reason="two", **signed)
    again = RefStore(refs.root)
    assert again.head() == Head(branch, B)
    assert list(again.names()) == [branch]
    assert [entry.reason for entry in again.reflog("HEAD")] == ["two", "switch"]
    assert list(again.problems("HEAD")) == list(again.problems(branch)) == []


@pytest.mark.parametrize("content", [b"ref: refs/heads/ma\xb8n\n", b"commit \xff\n", b"ref: refs/heads/main"])
def test_a_head_that_is_not_utf_8_or_not_whole_is_damaged(refs: RefStore, content: bytes) -> None:
    (refs.root / "HEAD").write_bytes(content)
    with pytest.raises(CorruptObjectError, match="'HEAD' holds"):
        refs.head()


@pytest.mark.parametrize("value", [A, TagId("1" * 64), CertificateId("2" * 64)])
def test_a_value_comes_back_with_its_type(refs: RefStore, signed: Signed, value: ObjectId) -> None:
    refs.update("refs/tags/v1", value, expected=None, reason="tag", **signed)
    found = RefStore(refs.root).read("refs/tags/v1")
    assert (found, type(found)) == (value, type(value))
    assert (refs.root / "refs/tags/v1").read_text() == f"{value.kind} {value}\n"


@pytest.mark.parametrize(("current", "expected"), [(None, A), (A, None), (A, B)])
def test_a_ref_that_is_not_where_it_was_expected_stays(
    refs: RefStore, signed: Signed, current: CommitId | None, expected: CommitId | None
) -> None:
    if current:
        refs.update(MAIN, current, expected=None, reason="commit", **signed)
    before = refs.reflog(MAIN)
    for new in (C, None):
        with pytest.raises(ConflictError, match="was expected") as caught:
            refs.update(MAIN, new, expected=expected, reason="commit", **signed)
        assert caught.value.kind == "ref-moved"
    assert refs.read(MAIN) == current
    assert refs.reflog(MAIN) == before


def test_equal_digits_of_another_kind_are_another_value(refs: RefStore, signed: Signed) -> None:
    refs.update("refs/tags/a", TagId(A), expected=None, reason="tag", **signed)
    with pytest.raises(ConflictError):
        refs.update("refs/tags/a", B, expected=A, reason="tag", **signed)


def test_names_are_listed_in_order_below_a_prefix(refs: RefStore, signed: Signed) -> None:
    names = ["refs/heads/a", "refs/heads/b/c", "refs/heads/b/d", "refs/tags/a", "refs/remotes/origin/main"]
    for name in reversed(names):
        refs.update(name, A, expected=None, reason="branch", **signed)
    (refs.root / "refs/heads/.a.0123.tmp").touch()
    (refs.root / "refs/heads/z.lock").touch()
    assert list(refs.names()) == sorted(names)
    assert list(refs.names("refs/heads/")) == names[:3]
    assert list(refs.names("refs/heads/b")) == names[1:3]
    assert list(refs.names("refs/heads/b/")) == names[1:3]
    assert list(refs.names("refs/nothing/")) == []
    assert list(refs.names("../")) == list(refs.names("refs/../../")) == []


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a"), ("a", "a/b/c"), ("a/b/c", "a")])
def test_a_name_cannot_also_be_the_folder_of_another(refs: RefStore, signed: Signed, first: str, second: str) -> None:
    first, second = "refs/heads/" + first, "refs/heads/" + second
    refs.update(first, A, expected=None, reason="branch", **signed)
    with pytest.raises(AlreadyExistsError, match=f"'{second}' cannot be created: '{first}' exists") as caught:
        refs.update(second, B, expected=None, reason="branch", **signed)
    assert caught.value.kind == "ref-clash"
    assert refs.reflog(second) == []
    refs.update(first, None, expected=A, reason="delete", **signed)
    refs.update(second, B, expected=None, reason="branch", **signed)
    assert list(refs.names()) == [second]
    assert [entry.new for entry in refs.reflog(first)] == [None, A]
    assert [entry.new for entry in refs.reflog(second)] == [B]


def test_what_a_killed_process_left_in_a_folder_does_not_keep_its_name_taken(
    refs: RefStore, signed: Signed, exit_status: Start
) -> None:
    crash = (
        "import os, sys; from pathlib import Path; from mlgit.storage import FileLock;"
        "lock = FileLock(Path(sys.argv[1])).acquire(); Path(sys.argv[2]).touch(); os._exit(9)"
    )
    folder = refs.root / "refs/heads/a/b"
    folder.mkdir(parents=True)
    assert exit_status(crash, folder / "c.lock", folder / ".c.012345.tmp") == 9
    refs.update("refs/heads/a", A, expected=None, reason="branch", **signed)
    assert refs.read("refs/heads/a") == A


def test_a_name_whose_folder_is_in_use_is_a_conflict(refs: RefStore, signed: Signed) -> None:
    from mlgit.storage import FileLock

    folder = refs.root / "refs/heads/a"
    folder.mkdir(parents=True)
    with FileLock(folder / "b.lock"), pytest.raises(ConflictError, match="is in use"):
        refs.update("refs/heads/a", A, expected=None, reason="branch", **signed)
    assert refs.reflog("refs/heads/a") == []


def test_half_written_values_of_a_killed_process_are_cleaned_up(
    refs: RefStore, signed: Signed, exit_status: Start
) -> None:
    refs.update(MAIN, A, expected=None, reason="commit", **signed)
    crash = (
        "import os, sys; from pathlib import Path; from mlgit.storage import FileLock;"
        "lock = FileLock(Path(sys.argv[1])).acquire(); Path(sys.argv[2]).touch(); os._exit(9)"
    )
    folder = refs.root / "refs/heads"
    assert exit_status(crash, folder / "main.lock", folder / ".main.012345.tmp") == 9
    refs.update(MAIN, B, expected=A, reason="commit", **signed)
    assert sorted(path.name for path in folder.iterdir()) == ["main"]


def test_a_change_of_the_current_branch_is_in_the_log_of_head_too(refs: RefStore, signed: Signed) -> None:
    refs.update(MAIN, A, expected=None, reason="commit (initial): one", **signed)
    refs.update("refs/heads/side", B, expected=None, reason="branch", **signed)
    refs.set_head("refs/heads/side", reason="switch: main to side", **signed)
    refs.update("refs/heads/side", C, expected=B, reason="commit: two", **signed)
    assert [(entry.old, entry.new, entry.reason) for entry in refs.reflog("HEAD")] == [
        (B, C, "commit: two"),
        (A, B, "switch: main to side"),
        (None, A, "commit (initial): one"),
    ]
    assert [entry.new for entry in refs.reflog(MAIN)] == [A]
    assert list(refs.reflog_names()) == ["HEAD", MAIN, "refs/heads/side"]


def test_head_is_on_a_branch_or_detached(refs: RefStore, signed: Signed) -> None:
    refs.update(MAIN, A, expected=None, reason="commit", **signed)
    assert refs.head() == Head(MAIN, A)
    refs.set_head(B, reason="switch: moving to b", **signed)
    assert refs.head() == Head(None, B)
    assert (refs.root / "HEAD").read_text() == f"commit {B}\n"
    refs.update(MAIN, C, expected=A, reason="branch -f", **signed)
    assert refs.head() == Head(None, B)
    refs.set_head("refs/heads/new", reason="switch -c new", **signed)
    assert refs.head() == Head("refs/heads/new", None)
    assert [entry.new for entry in refs.reflog("HEAD")] == [None, B, A]


@pytest.mark.parametrize("target", ["main", "refs/tags/v1", "refs/heads/a b", "HEAD", "a" * 64])
def test_head_is_set_to_nothing_but_branches_and_commits(refs: RefStore, signed: Signed, target: str) -> None:
    with pytest.raises(InvalidInputError):
        refs.set_head(target, reason="switch", **signed)
    assert refs.head() == Head(MAIN, None)


@pytest.mark.parametrize("content", ["", "commit abc\n", "commit " + "a" * 64, "blob\n", "x" * 10_000, "\x1b[2J\n"])
def test_a_damaged_ref_is_named_and_its_content_shown_safely(refs: RefStore, content: str) -> None:
    for name in (MAIN, "HEAD"):
        (refs.root / name).write_text(content)
        with pytest.raises(CorruptObjectError, match=f"'{name}' holds") as caught:
            refs.read(name) if name == MAIN else refs.head()
        assert caught.value.kind == "corrupt-ref"
        assert caught.value.message.isprintable()
        assert len(caught.value.message) < 300


def test_a_head_that_names_no_branch_is_damaged(refs: RefStore) -> None:
    for content in ("ref: ../../etc/passwd\n", "ref: refs/tags/a\n", "ref: \n"):
        (refs.root / "HEAD").write_text(content)
        with pytest.raises(CorruptObjectError, match="'HEAD' holds"):
            refs.head()


def test_a_branch_at_something_else_than_a_commit_is_an_error_of_head(refs: RefStore, signed: Signed) -> None:
    refs.update(MAIN, TagId(A), expected=None, reason="oops", **signed)
    with pytest.raises(CorruptObjectError, match="points at a tag, not at a commit"):
        refs.head()


def test_without_head_there_is_no_repository(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        RefStore(tmp_path).head()
    assert caught.value.kind == "not-a-repository"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_a_clear_error(refs: RefStore, signed: Signed) -> None:
    (refs.root / "refs/heads").chmod(0o555)
    with pytest.raises(FileSystemError):
        refs.update(MAIN, A, expected=None, reason="commit", **signed)


texts = st.text(st.characters(codec=None), max_size=30)


@given(name=texts, email=texts, reason=texts, seconds=st.integers(-(2**35), 2**37), offset=st.integers(-1439, 1439))
def test_a_line_of_the_log_comes_back_whatever_is_in_it(
    name: str, email: str, reason: str, seconds: int, offset: int
) -> None:
    entry = ReflogEntry(A, TagId(B), Identity(name, email), Timestamp(seconds, offset), reason)
    line = entry.encode()
    assert line.count(b"\n") == 1
    assert line.count(b"\t") == 1
    assert line[:-1].decode().replace("\t", "").isprintable()
    assert ReflogEntry.decode(line[:-1]) == entry


@given(cut=st.integers(0, 10**6))
def test_a_log_torn_in_its_last_line_is_read_up_to_there_and_goes_on(fast_path: Path, cut: int) -> None:
    root = Path(tempfile.mkdtemp(dir=fast_path))
    refs = RefStore.create(root)
    signed: Signed = {"who": Identity("Ada", "ada@example.org"), "when": Timestamp(0)}
    refs.update(MAIN, A, expected=None, reason="one", **signed)
    log = root / "logs/refs/heads/main..log"
    first = log.read_bytes()
    refs.update(MAIN, B, expected=A, reason="two", **signed)
    second = log.read_bytes()[len(first) :]
    log.write_bytes(first + second[: cut % len(second)])
    assert [entry.reason for entry in refs.reflog(MAIN)][-1] == "one"
    refs.update(MAIN, C, expected=B, reason="three", **signed)
    reasons = [entry.reason for entry in refs.reflog(MAIN)]
    assert reasons[0] == "three"
    assert reasons[-1] == "one"


def signed_line(rest: str) -> bytes:
    return f"{blake3(rest.encode()).hexdigest()[:8]} {len(rest.encode())} {rest}".encode()


@pytest.mark.parametrize(
    "rest", ["", "rubbish", "- - 1 0 a <b>", f"x:{A} - 1 0 a <b>\tc", f"- commit:{A} 1 5000 a <b>\tc"]
)
def test_lines_that_are_none_are_left_out(rest: str, tmp_path: Path) -> None:
    for line in (rest.encode(), signed_line(rest)):
        assert ReflogEntry.decode(line) is None
    (tmp_path / "log").write_bytes(signed_line(rest) + b"\n")
    assert reflog.damaged_lines(tmp_path / "log") == [1]  # nobody writes such a line, however sound it looks


ENTRY = ReflogEntry(A, B, Identity("Ada Jørgensen J*", "ada@example.org"), Timestamp(1_700_000_000, 60), "commit: J* é")


def test_every_flipped_bit_of_a_log_is_told_from_a_line_that_a_crash_has_torn(tmp_path: Path) -> None:
    path, lines = tmp_path / "log", ENTRY.encode() * 2
    path.write_bytes(lines)
    assert reflog.damaged_lines(path) == []
    for place in range(len(lines)):
        for bit in range(8):
            path.write_bytes(lines[:place] + bytes([lines[place] ^ 1 << bit]) + lines[place + 1 :])
            assert reflog.damaged_lines(path), (place, bit)


def test_a_line_torn_anywhere_is_no_damage(tmp_path: Path) -> None:
    path, line = tmp_path / "log", ENTRY.encode()
    for cut in range(len(line)):
        for zeros in (b"", bytes(7)):
            path.write_bytes(line + line[:cut] + zeros + b"\n" * bool(cut or zeros) + line)
            assert reflog.damaged_lines(path) == [], cut
            assert reflog.read(path, B)[0] == ENTRY


def test_a_ref_that_is_not_where_its_log_says_is_noticed(refs: RefStore, signed: Signed) -> None:
    refs.update(MAIN, A, expected=None, reason="one", **signed)
    refs.update(MAIN, B, expected=A, reason="two", **signed)
    for name in (MAIN, "HEAD"):
        assert list(refs.problems(name)) == []
    for text in (f"commit {C}\n", f"commit {A}\n", None):
        path = refs.root / MAIN
        path.unlink() if text is None else path.write_text(text)
        for name in (MAIN, "HEAD"):
            found = list(refs.problems(name))
            # the value before the last is what a crash between log and ref leaves
            assert len(found) == (text != f"commit {A}\n"), (name, text, found)
            assert all(name in problem and B.short in problem for problem in found)


def test_a_logged_change_that_was_never_made_is_left_out(
    refs: RefStore, signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs.update(MAIN, A, expected=None, reason="one", **signed)

    def refuse(path: Path, data: bytes) -> None:
        raise FileSystemError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(refs_module, "write_file", refuse)
        with pytest.raises(FileSystemError):
            refs.update(MAIN, B, expected=A, reason="never", **signed)
    assert [entry.reason for entry in refs.reflog(MAIN)] == ["one"]
    assert [entry.reason for entry in refs.reflog("HEAD")] == ["one"]
    refs.update(MAIN, C, expected=A, reason="two", **signed)
    assert [entry.reason for entry in refs.reflog(MAIN)] == ["two", "one"]


INCREMENT = """
import sys
from pathlib import Path
from mlgit.errors import ConflictError
from mlgit.objects import CommitId, Identity, Timestamp
from mlgit.storage import RefStore
refs = RefStore(Path(sys.argv[1]), timeout_s=60)
done = 0
while done < int(sys.argv[2]):
    seen = refs.read("refs/heads/main")
    new = CommitId(f"{int(seen, 16) + 1:064x}")
    try:
        refs.update("refs/heads/main", new, expected=seen, who=Identity(sys.argv[3], ""), when=Timestamp(0), reason="+")
    except ConflictError as error:
        assert error.kind == "ref-moved", error
    else:
        done += 1
"""


def test_no_update_is_lost_when_many_processes_move_one_ref(fast_path: Path, run_python: Start) -> None:
    refs = RefStore.create(fast_path)
    zero = CommitId("0" * 64)
    refs.update(MAIN, zero, expected=None, who=Identity("", ""), when=Timestamp(0), reason="zero")
    processes = [run_python(INCREMENT, refs.root, 30, name) for name in "abcd"]
    assert [process.communicate(timeout=100)[1] for process in processes] == [b""] * 4
    assert refs.read(MAIN) == f"{120:064x}"
    log = refs.reflog(MAIN)
    assert [entry.new for entry in log] == [f"{count:064x}" for count in range(120, -1, -1)]
    assert [sum(entry.who.name == name for entry in log) for name in "abcd"] == [30] * 4
    assert len(refs.reflog("HEAD")) == 121
    assert list(refs.root.rglob("*.lock")) == []


CLASH = """
import sys
from pathlib import Path
from mlgit.errors import AlreadyExistsError, ConflictError
from mlgit.objects import CommitId, Identity, Timestamp
from mlgit.storage import RefStore
refs = RefStore(Path(sys.argv[1]), timeout_s=60)
value = CommitId("a" * 64)
for _ in range(60):
    for expected, new in ((None, value), (value, None)):
        try:
            refs.update(sys.argv[2], new, expected=expected, who=Identity("", ""), when=Timestamp(0), reason="+")
        except (AlreadyExistsError, ConflictError):
            break
"""


def test_names_that_stand_in_each_others_way_may_be_fought_over_by_processes(
    fast_path: Path, run_python: Start
) -> None:
    refs = RefStore.create(fast_path)
    processes = [run_python(CLASH, refs.root, "refs/heads/" + name) for name in ("a", "a/b", "a/b/c", "a/d")]
    assert [process.communicate(timeout=100)[1] for process in processes] == [b""] * 4
    assert list(refs.names()) == []
    for name in ("a/b/c", "a"):
        refs.update("refs/heads/" + name, A, expected=None, who=Identity("", ""), when=Timestamp(0), reason="at last")
        refs.update("refs/heads/" + name, None, expected=A, who=Identity("", ""), when=Timestamp(0), reason="gone")


def test_a_folder_that_appears_at_the_last_moment_is_a_conflict(
    fast_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = RefStore.create(fast_path)
    make_room = RefStore._make_room

    def make_room_too_early(self: RefStore, name: str) -> None:
        make_room(self, name)
        (self.root / name).mkdir()  # somebody begins to create 'a/b'

    who, when = Identity("", ""), Timestamp(0)
    with monkeypatch.context() as patched:
        patched.setattr(RefStore, "_make_room", make_room_too_early)
        with pytest.raises(ConflictError, match="in use"):
            refs.update("refs/heads/a", A, expected=None, who=who, when=when, reason="late")
    assert refs.read("refs/heads/a") is None
    refs.update("refs/heads/a", A, expected=None, who=who, when=when, reason="again")
    assert refs.read("refs/heads/a") == A


def test_a_file_that_takes_the_place_of_the_folder_of_a_lock_is_a_clash(
    fast_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = RefStore.create(fast_path)
    who, when = Identity("", ""), Timestamp(0)
    make = refs_module.make_directories

    def made_too_early(path: Path, root: Path) -> None:
        make(path, root)
        path.rmdir()  # somebody removes the empty folder and creates 'a'
        path.write_text(f"commit {A}\n")

    with monkeypatch.context() as patched:
        patched.setattr(refs_module, "make_directories", made_too_early)
        with pytest.raises(AlreadyExistsError):
            refs.update("refs/heads/a/b", A, expected=None, who=who, when=when, reason="late")
    assert refs.read("refs/heads/a") == A
