from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlgit.errors import ConflictError, FileSystemError, InvalidInputError
from mlgit.storage import FileLock
from mlgit.storage import lock as lock_module
from mlgit.storage.owner import Owner

Start = Callable[..., "subprocess.Popen[bytes]"]

HOLD = """
import sys
from pathlib import Path
from mlgit.storage import FileLock
with FileLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read() if len(sys.argv) > 2 else __import__("os")._exit(9)
"""

COUNT = """
import sys
from pathlib import Path
from mlgit.storage import FileLock
counter = Path(sys.argv[1])
for _ in range(int(sys.argv[2])):
    with FileLock(counter.with_suffix(".lock"), timeout_s=60):
        counter.write_text(str(int(counter.read_text()) + 1))
"""


def write_lock(path: Path, owner: Owner) -> None:
    path.write_text(owner.encode())


def test_the_file_exists_while_the_block_runs_and_names_this_process(tmp_path: Path) -> None:
    path = tmp_path / "main.lock"
    with FileLock(path):
        assert Owner.decode(path.read_text()) == Owner.current()
    assert not path.exists()


def test_the_file_is_removed_after_an_exception(tmp_path: Path) -> None:
    path = tmp_path / "main.lock"
    with pytest.raises(KeyboardInterrupt), FileLock(path):
        raise KeyboardInterrupt
    assert not path.exists()


def test_a_lock_held_by_this_process_is_not_taken_twice(tmp_path: Path) -> None:
    path = tmp_path / "main.lock"
    with FileLock(path):
        with pytest.raises(ConflictError, match=f"is held by process {os.getpid()} on ") as caught:
            FileLock(path, timeout_s=0.05).acquire()
        assert path.exists()
    assert caught.value.kind == "locked"
    assert caught.value.hint
    with FileLock(path, timeout_s=0):
        assert path.exists()


def test_a_lock_of_a_living_process_is_respected_and_its_holder_named(tmp_path: Path, run_python: Start) -> None:
    path = tmp_path / "main.lock"
    with run_python(HOLD.replace("sys.stdin.read()", "__import__('time').sleep(60)"), path, "wait") as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ConflictError, match=f"is held by process {holder.pid} on "):
            FileLock(path, timeout_s=0.05).acquire()
        holder.kill()
        holder.wait()
        with FileLock(path, timeout_s=5) as lock:
            assert lock.recovered


def test_a_lock_of_a_process_that_died_is_broken_at_once(tmp_path: Path, exit_status: Start) -> None:
    path = tmp_path / "main.lock"
    assert exit_status(HOLD, path) == 9
    assert path.exists()
    with FileLock(path, timeout_s=0) as lock:
        assert lock.recovered
        assert Owner.decode(path.read_text()).pid == os.getpid()
    with FileLock(path, timeout_s=0) as lock:
        assert not lock.recovered


def test_a_lock_whose_process_number_was_given_to_another_process_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "main.lock"
    here = Owner.current()
    write_lock(path, replace(here, pid=os.getppid(), started=here.started + 1))
    with FileLock(path, timeout_s=0):
        pass


def test_a_lock_from_before_a_reboot_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "main.lock"
    write_lock(path, replace(Owner.current(), boot="another-boot"))
    with FileLock(path, timeout_s=0):
        pass


@pytest.mark.parametrize("elsewhere", [{"node": "another-host"}, {"namespace": "4026000000"}])
def test_a_lock_of_another_host_or_container_is_never_broken(tmp_path: Path, elsewhere: dict[str, str]) -> None:
    path = tmp_path / "main.lock"
    owner = replace(Owner.current(), pid=999_999_999, **elsewhere)  # type: ignore[arg-type] - two fields of text
    write_lock(path, owner)
    with pytest.raises(ConflictError, match=f"held by process 999999999 on {owner.node}"):
        FileLock(path, timeout_s=0.05).acquire()
    assert Owner.decode(path.read_text()) == owner


@pytest.mark.parametrize("content", [b"", b"\0\xff\0", b"half a li", b"a b c d e\n"])
def test_a_lock_whose_owner_died_before_it_wrote_its_name_is_broken(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "main.lock"
    path.write_bytes(content)
    with FileLock(path, timeout_s=0):
        pass


def test_without_flock_an_empty_lock_is_broken_only_when_it_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "_flock", lambda _: False)
    path = tmp_path / "main.lock"
    path.touch()
    with pytest.raises(ConflictError, match="held by another process"):
        FileLock(path, timeout_s=0.01).acquire()
    os.utime(path, (1, 1))
    with FileLock(path, timeout_s=0):
        pass


def test_a_lock_that_somebody_removed_and_another_took_is_not_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "main.lock"
    lock = FileLock(path).acquire()
    other = tmp_path / "other"
    write_lock(other, replace(Owner.current(), node="another-host"))
    other.replace(path)
    lock.release()
    assert path.exists()


def test_a_lock_in_a_missing_folder_and_one_that_may_not_be_written_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "no" / "main.lock").acquire()
    (tmp_path / "file").touch()
    with pytest.raises(FileSystemError, match="cannot lock"):
        FileLock(tmp_path / "file" / "main.lock").acquire()


def test_only_one_process_at_a_time_holds_it_even_when_a_stale_one_is_to_be_broken(
    tmp_path: Path, run_python: Start
) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    write_lock(counter.with_suffix(".lock"), replace(Owner.current(), boot="another-boot"))
    processes = [run_python(COUNT, counter, 40) for _ in range(4)]
    assert [process.communicate(timeout=100)[1] for process in processes] == [b""] * 4
    assert counter.read_text() == "160"
    assert not counter.with_suffix(".lock").exists()


def test_an_owner_is_read_back_and_rubbish_is_not() -> None:
    here = Owner.current()
    assert Owner.decode(here.encode()) == here
    assert replace(here, boot="", namespace="") == Owner.decode(replace(here, boot="", namespace="").encode())
    for rubbish in ("", "a b c", "a b c x 1", "a b c 1 x", "a b c 1 1 1"):
        with pytest.raises(InvalidInputError):
            Owner.decode(rubbish)


def test_a_tag_tells_whether_its_process_lives() -> None:
    here = Owner.current()
    assert here.owns(here.tag) is True
    assert here.owns(replace(here, pid=999_999_999).tag) is False
    assert here.owns(replace(here, started=here.started + 1).tag) is False
    assert here.owns(replace(here, node="another-host").tag) is None
    assert here.owns("rubbish") is None
