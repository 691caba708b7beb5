"""A small repository in which everything that mlgit writes stands at least once, and questions to it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from mlgit.errors import MlgitError
from mlgit.objects import CommitId, Identity, ObjectId, Parent, Role, Stage, TaskRef, Timestamp
from mlgit.porcelain.actor import Actor
from mlgit.porcelain.ancestry import replace_graph
from mlgit.porcelain.branch import BranchFilter, branches, create_branch
from mlgit.porcelain.commit import commit
from mlgit.porcelain.log import log
from mlgit.porcelain.merge_base import merge_base
from mlgit.porcelain.pending_run import PendingRun, load_run, save_run
from mlgit.porcelain.reset import reset
from mlgit.porcelain.stash import push, stashes
from mlgit.porcelain.status import status
from mlgit.porcelain.switch import switch
from mlgit.porcelain.tag import create_tag
from mlgit.repository import Repository
from mlgit.storage.commit_graph import shape_of

ADA = Identity("Ada J*", "ada@example.org")
"""J and * are one bit away from the end of a line."""
DIGEST = "ab" * 32


def actors() -> Callable[[], Actor]:
    """Return a clock that ticks once per command."""
    seconds = itertools.count(1_700_000_000)
    return lambda: Actor(ADA, Timestamp(next(seconds), 60))


def write_model(path: Path, seed: int, count: int = 48) -> None:
    """Write a model near a common start, so that differences to it are stored."""
    start, moves = np.random.default_rng(0), np.random.default_rng(1000 + seed)
    tensors = {
        name: start.standard_normal(count, np.float32) + moves.standard_normal(count, np.float32) * np.float32(1e-4)
        for name in ("features.weight", "head.weight")
    }
    save_file(tensors, path)


def build(root: Path) -> Repository:
    """Make the repository: two branches one bit apart, tags, a stash, a run that waits, logs, caches, settings."""
    repository, actor = Repository.create(root), actors()
    (root / "notes.txt").write_text("a small model, " * 6)
    for seed in (1, 2):
        write_model(root / "model.safetensors", seed)
        commit(repository, f"train with seed {seed}", actor=actor())
    for number in (0, 1):
        switch(repository, f"digit/{number}", create=True, actor=actor())
        write_model(root / "model.safetensors", 10 + number)
        commit(repository, f"fine-tune for digit {number}", actor=actor())
    create_tag(repository, "v1", "digit/0", actor=actor())
    create_tag(repository, "v2", "digit/1", message="noted", actor=actor())
    write_model(root / "model.safetensors", 30)
    push(repository, "put aside", actor=actor())
    create_branch(repository, "moved", "main", actor=actor())
    switch(repository, "moved", actor=actor())
    reset(repository, "digit/0", actor=actor())
    write_model(root / "model.safetensors", 40)
    commit(repository, "go on where nobody was", actor=actor())
    write_model(root / "model.safetensors", 20)
    (repository.folder / "config.toml").write_text('[user]\nname = "Grace"\n')
    head = repository.head
    assert head is not None
    weights = {name: entry.id for name, entry in repository.manifest_of(head).tensors.items()}
    run = PendingRun(stage=Stage.TARGET, task=TaskRef("digit", DIGEST), parents=(Parent(head, Role.INIT),),
                     made={"seed": 1}, metrics={"accuracy": 0.5}, weights=weights)  # fmt: skip
    save_run(repository, run)
    repository.objects._folder.write_catalogue()  # as many packs would bring about
    commits = [found for found in repository.objects.ids("commit") if isinstance(found, CommitId)]
    replace_graph(repository, {one.digest: shape_of(repository.commit_of(one)) for one in commits})
    status(repository)
    return Repository(root)


def payloads(repository: Repository) -> dict[ObjectId, bytes]:
    """Return every object."""
    return {found: repository.objects.read(found) for found in repository.objects.ids()}


def questions(root: Path) -> Mapping[str, Callable[[], object]]:
    """Return everything that can be asked of a repository, by what it is about; asking may raise MlgitError."""
    repository = Repository(root)
    refs = repository.refs
    names = sorted({"HEAD", *refs.names(), *refs.reflog_names()})
    asked: dict[str, Callable[[], object]] = {
        "head": refs.head,
        "names": lambda: {name: refs.read(name) for name in refs.names()},
        "status": lambda: (status(repository).branch, status(repository).head, status(repository).changes),
        "run": lambda: load_run(repository),
        "stash": lambda: [(item.number, item.id) for item in stashes(repository)],
        "settings": lambda: dict(repository.settings.values),
        "history": lambda: [(entry.id, entry.commit) for entry in log(repository, ["HEAD"]).entries],
        "parted": lambda: merge_base(repository, ["digit/1", "moved"]),
        "containing": lambda: branches(repository, only=BranchFilter(contains=("digit/0",))),
        "identifiers": lambda: sorted(repository.objects.ids()),
    }
    for name in names:
        asked[f"reflog {name}"] = lambda name=name: refs.reflog(name)  # type: ignore[misc] - the name of this turn
    return asked


def answers(root: Path) -> dict[str, object]:
    """Ask everything; an answer is a value or the MlgitError that refused it. Nothing else may be raised."""
    try:
        asked = questions(root)
    except MlgitError as error:
        return {"repository": error}
    return {about: _ask(question) for about, question in asked.items()}


def _ask(question: Callable[[], object]) -> object:
    try:
        return question()
    except MlgitError as error:
        return error


def objects_given_out(root: Path, good: Mapping[ObjectId, bytes]) -> dict[ObjectId, object]:
    """Read every object that there was; an answer is the digest of its bytes or the MlgitError that refused it."""
    try:
        database = Repository(root).objects
    except MlgitError as error:
        return dict.fromkeys(good, error)
    found = {object_id: _ask(lambda object_id=object_id: database.read(object_id)) for object_id in good}  # type: ignore[misc] - as above
    return {key: hashlib.sha256(item).hexdigest() if isinstance(item, bytes) else item for key, item in found.items()}
