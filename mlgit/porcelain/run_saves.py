"""The state of a run in the object store: each save is stored as differences to the one before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import final

from blake3 import blake3

from mlgit.errors import CorruptObjectError
from mlgit.objects import BlobFile, CommitId, JsonValue, Manifest, canonical_json
from mlgit.objects.encoding import parse_json
from mlgit.porcelain.saved_runs import SavedRun, drop_saved, read_saved, write_saved
from mlgit.repository import Repository
from mlgit.training.snapshot import SaveEvery, Saves, Snapshot
from mlgit.weights.stored import load, store

_VALUES = "state.json"


def run_key(inputs: Mapping[str, JsonValue]) -> str:
    """Return the identity of a run.

    Args:
        inputs: All that its result depends on, as plain JSON.
    """
    return blake3(b"mlgit run 1\n" + canonical_json(dict(inputs))).hexdigest()[:32]


@final
class StoredSaves(Saves):
    """Keeps a run in a repository.

    Args:
        repository: Where.
        key: Identity of the run.
        task: Name of its task.
        start: Where it started; the first save is stored as a difference to that.
        steps: Updates planned.
        every: When to save.
    """

    def __init__(
        self, repository: Repository, key: str, *, task: str, start: CommitId, steps: int, every: SaveEvery
    ) -> None:
        super().__init__(every)
        self._repository = repository
        self._key = key
        self._task = task
        self._start = start
        self._steps = steps

    def load(self) -> Snapshot | None:
        """Return the last snapshot, verified; None when there is none."""
        run = read_saved(self._repository, self._key)
        if run is None:
            return None
        manifest = self._repository.manifest(run.manifest)
        found = [file for file in manifest.files if isinstance(file, BlobFile) and file.path == _VALUES]
        if not found:
            raise CorruptObjectError(f"{manifest.id.short} is not the state of a run", kind="bad-run")
        values = parse_json(self._repository.objects.read(found[0].id), "a saved run").values
        return Snapshot(load(self._repository.objects, manifest), values)

    def save(self, snapshot: Snapshot, *, step: int) -> None:
        """Store a snapshot, then let the run's name lead to it."""
        data = json.dumps(snapshot.values).encode("ascii")
        with self._repository.keeping():
            base = self._base()
            with self._repository.transaction() as transaction:
                entries = store(transaction, snapshot.tensors, base)
                blob = BlobFile(_VALUES, transaction.put_blob([data]), len(data))
                manifest = transaction.put_record(Manifest(tensors=entries, files=(blob,)))
            saved = SavedRun(
                key=self._key, manifest=manifest, task=self._task, start=self._start, step=step, steps=self._steps
            )
            write_saved(self._repository, saved)

    def drop(self) -> None:
        """Forget what was saved."""
        drop_saved(self._repository, self._key)

    def _base(self) -> Manifest:
        before = read_saved(self._repository, self._key)
        if before is not None:
            return self._repository.manifest(before.manifest)
        tensors = self._repository.manifest_of(self._start).tensors
        both = {f"{part}/{name}": entry for name, entry in tensors.items() for part in ("model", "best")}
        return Manifest(tensors=both)
