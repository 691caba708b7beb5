"""A full disk, a limit on file sizes, a read-only directory: one clear error, and nothing has changed."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

NOBODY = 65534
WRITERS: dict[str, list[str]] = {
    "commit": ["commit", "-m", "three"],
    "switch": ["switch", "other"],
    "switch-create": ["switch", "-c", "new"],
    "restore": ["restore", "-s", "other", "model.safetensors"],
    "branch": ["branch", "new"],
    "tag": ["tag", "v2", "-m", "second"],
    "config": ["config", "user.name", "Grace"],
    "import": ["import", "../source.safetensors"],
}
READERS = [
    ["status"],
    ["log"],
    ["log", "--graph"],
    ["show"],
    ["diff"],
    ["branch"],
    ["tag"],
    ["ls-tree"],
    ["cat-file", "HEAD"],
    ["fsck"],
    ["config"],
]


def arrange(place: Path, mlgit: Callable[..., Any]) -> Path:
    """Make a repository whose branches differ by 300 kB that cannot be compressed, and more of that to commit."""
    root, random = place / "model", np.random.default_rng(0)

    def noise() -> dict[str, np.ndarray]:
        return {"w": random.standard_normal(75_000).astype(np.float32)}

    assert mlgit("init", root).exit_code == 0
    save_file(noise(), root / "model.safetensors")
    assert mlgit("-C", root, "commit", "-m", "one").exit_code == 0
    assert mlgit("-C", root, "switch", "-c", "other").exit_code == 0
    save_file(noise(), root / "model.safetensors")
    assert mlgit("-C", root, "commit", "-m", "two").exit_code == 0
    assert mlgit("-C", root, "switch", "main").exit_code == 0
    save_file(noise(), place / "source.safetensors")
    save_file(noise(), root.parent / "next")
    return root


def prepare(root: Path, name: str) -> None:
    """Give a commit something to do."""
    if name == "commit":
        shutil.copy(root.parent / "next", root / "model.safetensors")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.getuid() != 0 or mount is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk; the limit on file sizes stands in for it")
    yield place
    os.chdir(tmp_path)
    subprocess.run(["umount", "--lazy", str(place)], check=True)  # packs may still be mapped into memory


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_named_and_nothing_has_changed(
    mlgit: Callable[..., Any],
    check: Any,
    small_disk: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = arrange(small_disk, mlgit)
    prepare(root, name)
    monkeypatch.chdir(root)
    before = check.visible(root)
    codes = []
    for free in (0, 4096, 8192, 65536, 200_000):
        space = os.statvfs(small_disk)
        (small_disk / "filler").write_bytes(bytes(max(0, space.f_bavail * space.f_frsize - free)))
        ran = mlgit(*WRITERS[name])
        codes.append(ran.exit_code)
        if ran.exit_code == 0:
            break
        check.refused(ran, 16, "no space left on device", "free some space and run the command again")
        assert check.visible(root) == before
        check.sound(root)
        (small_disk / "filler").unlink()
    assert codes[0] == 16
    (small_disk / "filler").unlink(missing_ok=True)
    if codes[-1]:
        assert mlgit(*WRITERS[name]).exit_code == 0
    check.sound(root)


@pytest.mark.parametrize("name", WRITERS)
def test_a_limit_on_file_sizes_is_named_and_nothing_has_changed(
    mlgit: Callable[..., Any],
    fork: Callable[..., Any],
    check: Any,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = arrange(tmp_path, mlgit)
    prepare(root, name)
    monkeypatch.chdir(root)
    before = check.visible(root)
    assert mlgit("status").exit_code == 0
    for limit in (0, 20):
        ran = fork(
            *WRITERS[name],
            before=lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        # what the child prints goes into a file as well: only its exit code can be told
        assert ran.exit_code in (16, 0)
        if ran.exit_code == 16:
            assert check.visible(root) == before
        check.sound(root)
    assert mlgit(*WRITERS[name]).exit_code in (0, 11)


@pytest.fixture
def unprivileged() -> Callable[[], None]:
    """Give up root's right to write anywhere, in a child."""

    def drop() -> None:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        os.environ.pop("HOME", None)  # that of the tests is root's

    return drop


@pytest.fixture
def read_only(mlgit: Callable[..., Any], memory: Path) -> Iterator[Path]:
    """Return a repository that may be read and not written."""
    root = arrange(memory, mlgit)
    paths = [memory, *memory.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield root
    for path, mode in modes.items():
        path.chmod(mode)


@pytest.mark.parametrize("name", [*WRITERS, "init", "clone"])
def test_a_read_only_directory_is_named_and_nothing_has_changed(
    mlgit: Callable[..., Any],
    fork: Callable[..., Any],
    check: Any,
    read_only: Path,
    unprivileged: Callable[[], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    others = {"init": ["init", "../new"], "clone": ["clone", ".", "../copy"]}
    arguments = WRITERS.get(name) or others[name]
    warm = shutil.copytree(read_only.parent, tmp_path / "warm", copy_function=shutil.copy)
    for path in [warm, *warm.rglob("*")]:
        path.chmod(0o755)
    monkeypatch.chdir(warm / "model")
    prepare(warm / "model", name)
    assert mlgit(*arguments).exit_code == 0  # imports what the child may not be allowed to read
    monkeypatch.chdir(read_only)
    before = check.everything(read_only.parent)
    ran = fork(*arguments, before=unprivileged)
    check.refused(ran, 16, "permission denied", "check the permissions of the path")
    assert check.everything(read_only.parent) == before


def test_a_read_only_directory_can_be_read(
    mlgit: Callable[..., Any],
    fork: Callable[..., Any],
    check: Any,
    read_only: Path,
    unprivileged: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(read_only)
    before = check.everything(read_only)
    for verb in READERS:
        expected = mlgit(*verb)
        assert expected.exit_code == 0
        ran = fork(*verb, before=unprivileged)
        assert (ran.exit_code, ran.stdout) == (0, expected.stdout), verb
    assert check.everything(read_only) == before


def test_a_file_that_may_not_be_read_is_named(
    mlgit: Callable[..., Any],
    fork: Callable[..., Any],
    check: Any,
    memory: Path,
    unprivileged: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = arrange(memory, mlgit)
    for path in [memory, *memory.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    monkeypatch.chdir(root)
    (root / "model.safetensors").chmod(0)
    before = check.everything(root)
    for verb in (["status"], ["commit", "-m", "x"], ["diff"], ["switch", "other"]):
        check.refused(fork(*verb, before=unprivileged), 16, "model.safetensors': permission denied")
    assert check.everything(root) == before


def test_ctrl_c_during_a_long_commit(
    mlgit: Callable[..., Any], start_mlgit: Callable[..., Any], check: Any, memory: Path
) -> None:
    root = arrange(memory, mlgit)
    save_file({"w": np.random.default_rng(1).standard_normal(4_000_000)}, root / "model.safetensors")
    before = check.visible(root)
    interrupted = 0
    for delay_ms in (0, 10, 30, 60, 100, 150):
        process = start_mlgit("-C", root, "commit", "-m", "three")
        limit = time.monotonic() + 60
        while not (root / ".mlgit/worktree.lock").exists() and process.poll() is None:
            assert time.monotonic() < limit
            time.sleep(0.001)
        time.sleep(delay_ms / 1000)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode in (0, 130), stderr
        if process.returncode == 0:
            break
        interrupted += 1
        assert b"Traceback" not in stderr
        assert stderr.startswith(b"error: interrupted\nhint: ")
        if check.visible(root) != before:  # it was committed just then
            break
        check.sound(root)
    assert interrupted
    assert mlgit("-C", root, "commit", "--allow-empty", "-m", "again").exit_code == 0
