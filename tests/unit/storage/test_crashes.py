"""A write that is killed, or refused by the system, at every one of its steps."""

from __future__ import annotations

import errno
import io
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from mlgit.errors import FileSystemError, MlgitError
from mlgit.objects import Commit, CommitId, Identity, Manifest, Stage, TensorEntry, Timestamp
from mlgit.storage import ObjectDatabase, RefStore

STEPS = {"write", "open", "fsync", "replace", "rename", "unlink", "remove", "mkdir", "truncate", "close", "rmdir"}
FILES = (io.FileIO, io.BufferedWriter, io.BufferedRandom, io.BufferedReader)
WHO, WHEN = Identity("Ada", "ada@example.org"), Timestamp(1_700_000_000, 60)
BRANCH = "refs/heads/experiments/a"


def is_step(event: str, function: object) -> bool:
    """Whether a profile event is a call of the operating system that changes or opens files."""
    owner = getattr(function, "__self__", None)
    in_files = isinstance(owner, FILES) or getattr(owner, "__name__", "") in ("posix", "_io", "io")
    return event == "c_call" and in_files and getattr(function, "__name__", "") in STEPS


def save(root: Path, seed: int, branch: str = BRANCH) -> CommitId:
    """Write a tensor of several chunks, a manifest and a commit, and move a branch there."""
    data = np.random.default_rng(seed).integers(0, 99, 300_000, dtype=np.uint8)
    database, refs = ObjectDatabase(root / "objects"), RefStore(root, timeout_s=5)
    with database.transaction() as transaction:
        tensor = transaction.put_tensor("U8", [300_000], iter([data]))
        manifest = Manifest(tensors={"w": TensorEntry(tensor, "U8", (300_000,))})
        commit = Commit(manifest=manifest.id, stage=Stage.SNAPSHOT, author=WHO, time=WHEN, message=str(seed))
        transaction.put_record(manifest)
        transaction.put_record(commit)
    refs.update(branch, commit.id, expected=refs.read(branch), who=WHO, when=WHEN, reason="commit")
    return commit.id


def state(root: Path) -> CommitId:
    """Return the branch's commit after checking that all of it can be read and nothing is damaged."""
    database, refs = ObjectDatabase(root / "objects"), RefStore(root)
    assert list(database.check_packs()) == []
    for object_id in database.ids():
        assert database.problems(object_id) is None
    current = refs.read(BRANCH)
    assert isinstance(current, CommitId)
    manifest = database.read_record(database.read_record(current).manifest)
    for entry in manifest.tensors.values():
        database.read(entry.id)
    assert refs.reflog(BRANCH)[0].new == current
    assert refs.reflog("HEAD")[0].new == current
    return current


def create(root: Path) -> CommitId:
    root.mkdir()
    ObjectDatabase.create(root / "objects")
    RefStore.create(root, BRANCH)
    return save(root, 0)


def leftovers(root: Path) -> list[str]:
    return [path.name for path in root.rglob("*") if path.suffix in (".tmp", ".lock")]


KILLER = """
import os, shutil, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_crashes import create, is_step, leftovers, save, state

folder = Path(sys.argv[2])
before = create(folder / "start")
after = None
killed = 0
while after is None:
    killed += 1
    root = folder / str(killed)
    shutil.copytree(folder / "start", root)
    child = os.fork()
    if child == 0:
        seen = 0
        def kill_at_step(frame, event, function):
            global seen
            if is_step(event, function):
                seen += 1
                if seen == killed:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(kill_at_step)
        save(root, 1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    found = state(root)
    if status == 0:
        after = found
        assert after != before
    else:
        assert os.WTERMSIG(status) == signal.SIGKILL, status
    again = save(root, 1)
    assert found in (before, again), killed
    assert state(root) == again
    assert leftovers(root) == [], (killed, leftovers(root))
    shutil.rmtree(root)
print(killed)
"""


def test_a_commit_killed_at_any_step_leaves_the_old_or_the_new_state_and_nothing_to_clean_up(fast_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", KILLER, str(Path(__file__).parent), str(fast_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 30  # so many steps there were at least


def failing_at(step: int, code: int) -> Callable[[FrameType, str, object], None]:
    """Return a profile function that makes one call of the operating system fail."""
    seen = 0

    def profile(frame: FrameType, event: str, function: object) -> None:
        nonlocal seen
        if is_step(event, function) and getattr(function, "__name__", "") != "close":
            seen += 1
            if seen == step:
                raise OSError(code, os.strerror(code))

    return profile


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_commit_refused_by_the_system_at_any_step_changes_nothing_and_works_later(fast_path: Path, code: int) -> None:
    before = create(fast_path / "start")
    messages: list[str] = []
    step = 0
    fired = True
    while fired:
        step += 1
        root = fast_path / str(step)
        shutil.copytree(fast_path / "start", root)
        sys.setprofile(failing_at(step, code))
        try:
            save(root, 1)
        except FileSystemError as error:
            messages.append(error.message)
        finally:
            fired = sys.getprofile() is None  # a profile function that raises is taken away
            sys.setprofile(None)
        found = state(root)
        again = save(root, 1)
        assert found in (before, again)
        assert state(root) == again
        assert leftovers(root) == []
        shutil.rmtree(root)
    assert len(messages) > 15
    for message in messages:
        assert os.strerror(code).lower() in message
        assert str(fast_path) in message


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_crashes import leftovers, save
from mlgit.errors import FileSystemError
root = Path(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save(root, 1)
except FileSystemError as error:
    print(error.message, error.hint, leftovers(root))
"""


def test_a_file_size_limit_of_the_system_is_a_clear_error(fast_path: Path) -> None:
    before = create(fast_path / "repository")
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, str(Path(__file__).parent), str(fast_path / "repository")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "cannot write" in ran.stdout
    assert "ulimit -f" in ran.stdout
    assert ran.stdout.strip().endswith("[]")
    assert state(fast_path / "repository") == before


def test_temporary_files_of_the_dead_are_removed_and_those_of_the_living_kept(fast_path: Path) -> None:
    database = ObjectDatabase.create(fast_path / "objects")
    leave = (
        "import os, sys; from pathlib import Path; from mlgit.storage.pack_writer import PackWriter;"
        "PackWriter(Path(sys.argv[1])); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", leave, str(database.root)], check=False, timeout=60)
    other_host = database.root / "incoming-0123456789ab-1-1-abc.tmp"
    other_host.touch()
    old = database.root / "incoming-0123456789ab-1-1-old.tmp"
    old.touch()
    os.utime(old, (1, 1))
    strange = database.root / "incoming-x.tmp"
    strange.touch()
    assert len(list(database.root.iterdir())) == 4
    with database.transaction() as first:
        first.put_blob([bytes(3_000_000), os.urandom(3_000_000)])
        with database.transaction() as second:
            second.put_blob([b"while the first one is being written"])
    assert sorted(leftovers(database.root)) == sorted([other_host.name, strange.name])
    assert len(database.pack_paths()) == 2


def test_a_folder_that_cannot_be_written_is_a_clear_error(fast_path: Path) -> None:
    root = fast_path / "objects"
    database = ObjectDatabase(root)
    with pytest.raises(FileSystemError, match="no such file or directory"), database.transaction():
        pass
    root.write_text("a file")
    with pytest.raises(FileSystemError, match="not a directory"), database.transaction():
        pass


def test_a_failed_transaction_cannot_publish_half_of_itself(fast_path: Path) -> None:
    """The write fails inside the block, the caller goes on: what was lost must not be published."""
    database = ObjectDatabase.create(fast_path / "objects")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write() -> None:
        with database.transaction() as transaction:
            transaction.put_blob([b"small"])
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
            try:
                transaction.put_blob(iter([os.urandom(10_000_000)]))
            except MlgitError:
                pass
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            transaction.put_blob([b"later"])

    with pytest.raises(FileSystemError):
        write()
    assert list(database.ids()) == []
    assert leftovers(fast_path) == []


def test_the_helpers_of_this_file_see_damage(fast_path: Path) -> None:
    root = fast_path / "repository"
    create(root)
    (path,) = ObjectDatabase(root / "objects").pack_paths()
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(AssertionError):
        state(root)
    assert json.dumps(leftovers(root)) == "[]"
