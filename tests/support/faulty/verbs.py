"""Every verb that writes, each with a state in which it has much to do."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from faulty.client import Program
from mlgit.cli import main

TRAINING = ["--lr", "1e-3", "--steps", "1", "--batch-size", "8"]
PROBE = ("probe", "--task", "digit", "--from", "HEAD", "--lr", "1e-3", "--steps", "1")
SCRIPT = """
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(-4, 2)
    number = file.read(1)[0]
    file.seek(-4, 2)
    file.write(bytes([number ^ 1]))
"""
"""Changes a weight in its place, so that it needs no room of its own."""
CERTIFICATE = """
name = "gate"
task = "digit"
split = "test"
judge = "point"

[[threshold]]
metric = "accuracy"
at_least = 0.0
"""


@dataclass(frozen=True)
class Verb:
    """A command to be disturbed.

    Attributes:
        arguments: What to run, in a repository ``model``; beside it is ``source``, and ``out`` takes exports.
        before: Commands that are run there first.
        edit: Changes the repository's working files first, after the commands; is given its root.
        learned: Whether it starts from the repository with a task and a network.
        half_logs: Whether logs change one after the other.
        mends: Whether the repository is damaged before.
        unseen: Whether what it changes cannot be seen.
        timed: Whether its commit tells how long it took.
    """

    arguments: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    edit: Callable[[Path], None] | None = None
    learned: bool = False
    half_logs: bool = False
    mends: bool = False
    unseen: bool = False
    timed: bool = False

    @property
    def torch(self) -> bool:
        """Whether it needs more than version control."""
        return self.learned or self.arguments[0] in {"import", "merge", "export", "task", "run"}


def save(path: Path, seed: int, names: Iterable[str] = ("features.weight", "head.weight"), count: int = 12) -> None:
    """Write a small model: the same seed, the same bytes."""
    random = np.random.default_rng(seed)
    save_file({name: random.standard_normal((count // 3, 3)).astype(np.float32) for name in names}, path)


def _edit(root: Path) -> None:
    save(root / "model.safetensors", 9)
    (root / "notes.txt").write_text("changed\n")


def _edit_much(root: Path) -> None:
    save(root / "model.safetensors", 9, count=600_000)
    save(root / "sub.safetensors", 10, ["more.weight"])


def _untracked(root: Path) -> None:
    (root / "untracked.txt").write_text("mine\n")


def _damage(root: Path) -> None:
    shutil.copytree(root, root.with_name("source") / "whole")
    for path in sorted((root / ".mlgit" / "objects").glob("*.pack"))[:2]:
        data = bytearray(path.read_bytes())
        data[len(data) // 4] ^= 1
        path.write_bytes(data)


def _spoil(root: Path) -> None:
    save(root / "model.safetensors", 9)
    (root / "notes.txt").unlink()


_ALL: dict[str, Verb] = {
    "init": Verb(("init", "../new/deep")),
    "clone": Verb(("clone", ".", "../new/deep")),
    "import": Verb(("import", "../source/new.safetensors")),
    "import of a factory": Verb(("import", "mlgit:digits-cnn", "-m", "random")),
    "commit": Verb(("commit", "-m", "three"), edit=_edit),
    "commit of much": Verb(("commit", "-m", "three"), edit=_edit_much),
    "merge": Verb(("merge", "main", "like-main", "-m", "merged")),
    "merge --onto": Verb(("merge", "main", "like-main", "--onto", "merged", "-m", "merged")),
    "tag": Verb(("tag", "v2")),
    "tag with a message": Verb(("tag", "v2", "-m", "second")),
    "tag -d": Verb(("tag", "-d", "v1")),
    "branch": Verb(("branch", "a/b", "other")),
    "branch -m": Verb(("branch", "-m", "other", "renamed")),
    "branch -m of the current one": Verb(("branch", "-m", "main", "renamed")),
    "branch -D": Verb(("branch", "-D", "other")),
    "switch": Verb(("switch", "other"), edit=_untracked),
    "switch back": Verb(("switch", "main"), before=(("switch", "other"),)),
    "switch -c": Verb(("switch", "-c", "new")),
    "switch -c elsewhere": Verb(("switch", "-c", "new", "other")),
    "switch --detach": Verb(("switch", "--detach", "other")),
    "restore": Verb(("restore", "."), edit=_spoil),
    "restore -s": Verb(("restore", "-s", "other", ".")),
    "reset": Verb(("reset", "like-main"), edit=_untracked),
    "reset --hard": Verb(("reset", "--hard", "like-main"), edit=_spoil),
    "undo": Verb(("undo",), before=(("reset", "like-main"),)),
    "stash": Verb(("stash",), edit=_edit),
    "stash pop": Verb(("stash", "pop"), before=(("stash",),), edit=None),
    "stash drop": Verb(("stash", "drop"), before=(("stash",),)),
    "gc": Verb(
        ("gc", "--grace", "0", "--expire-reflog", "0"),
        before=(("branch", "-D", "other"), ("reset", "like-main")),
        half_logs=True,
        unseen=True,
    ),
    "export": Verb(("export", "other", "../out/model.safetensors")),
    "export of a directory": Verb(("export", "other", "../out/model", "--format", "huggingface")),
    "export of a state dict": Verb(("export", "other", "../out/model.pt", "--format", "pt")),
    "repack": Verb(("repack",), unseen=True),
    "fsck --repair-from": Verb(("fsck", "--repair-from", "../source/whole"), edit=_damage, mends=True, unseen=True),
    "config": Verb(("config", "user.name", "Grace")),
    "config --unset": Verb(("config", "--unset", "user.name"), before=(("config", "user.name", "Grace"),)),
    "task add": Verb(("task", "add", "odd", "--kind", "digits", "--set", "labels=parity", "--set", "part=auxiliary")),
    "task rm": Verb(("task", "rm", "digit"), learned=True),
    "train": Verb(("train", "--task", "digit", *TRAINING), before=(PROBE,), learned=True),
    "commit of a run": Verb(
        ("commit", "-m", "run", "--task", "digit"), before=(("train", "--task", "digit", *TRAINING),), learned=True
    ),
    "commit --train": Verb(
        ("commit", "-m", "run", "--task", "digit", "--train", *TRAINING), before=(PROBE,), learned=True, timed=True
    ),
    "run": Verb(
        ("run", "-m", "run", "--", sys.executable, "-I", "-S", "-c", SCRIPT, "{weights}"), edit=_untracked, timed=True
    ),
    "probe": Verb(PROBE, learned=True),
    "certify": Verb(("certify", "HEAD", "-c", "../source/certificate.toml"), learned=True),
}

_KNOWN = {name for panel in main.VERBS.values() for name in panel}
VERBS = {name: verb for name, verb in _ALL.items() if verb.arguments[0] in _KNOWN}
IN_STEPS = {
    "sweep": Verb(("sweep", "--task", "digit", "--from", "HEAD", "--runs", "2", *TRAINING), learned=True),
    "train --onto --collect": Verb(
        ("train", "--task", "digit", "--from", "HEAD", "--onto", "a/run", "--collect", "moving", *TRAINING),
        learned=True,
    ),
    "recipe": Verb(
        ("recipe", "soup", "--task", "digit", "--test-domain", "rotate", "--runs", "2", *TRAINING), learned=True
    ),
}
"""Commands that move several refs one after the other."""


def arrange(program: Program, place: Path) -> Path:
    """Make a repository ``model`` with three branches, a tag, some logs, and a model to import beside it."""
    root = place / "model"
    (place / "source").mkdir(parents=True)
    (place / "out").mkdir()
    save(place / "source" / "new.safetensors", 9)
    program.mlgit("init", root)
    save(root / "model.safetensors", 1)
    (root / "notes.txt").write_text("one\n")

    def run(*arguments: str) -> None:
        program.mlgit(*arguments, cwd=root)

    run("commit", "-m", "one")
    run("switch", "-c", "other")
    save(root / "model.safetensors", 2)
    (root / "sub").mkdir()
    save(root / "sub" / "more.safetensors", 3, ["more.weight"])
    run("commit", "-m", "two")
    run("switch", "main")
    run("tag", "v1", "-m", "first")
    run("switch", "-c", "like-main")
    save(root / "model.safetensors", 5)
    (root / "notes.txt").write_text("five\n")
    run("commit", "-m", "like one")
    run("switch", "main")
    return place


def arrange_learned(program: Program, place: Path) -> Path:
    """Make a repository ``model`` with a task and a network, and a certificate beside it."""
    arrange(program, place)
    root = place / "model"
    options = ("--test-domain", "rotate", "--set", "labels=digit")
    program.mlgit("task", "add", "digit", "--kind", "digits", *options, cwd=root)
    program.mlgit("import", "mlgit:digits-cnn", "-m", "random weights", cwd=root)
    (place / "source" / "certificate.toml").write_text(CERTIFICATE)
    return place


def prepare(program: Program, verb: Verb, start: Path, place: Path) -> Path:
    """Copy a start and bring the copy into the state in which a verb has much to do."""
    shutil.copytree(start, place, symlinks=True)
    root = place / "model"
    if "pop" in verb.arguments:
        _edit(root)
    for command in verb.before:
        if command == ("stash",):
            _edit(root)
        program.mlgit(*command, cwd=root)
    if verb.edit is not None:
        verb.edit(root)
    return place
