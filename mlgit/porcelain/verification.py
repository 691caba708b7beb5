"""Reading back whole packs: every stored byte once, several objects at a time, in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mlgit.errors import CorruptObjectError, FileSystemError
from mlgit.objects import ObjectId
from mlgit.objects.ids import ID_TYPES
from mlgit.progress import Bar, Progress
from mlgit.storage.objects import ObjectDatabase
from mlgit.storage.pack import Pack
from mlgit.storage.pack_check import Identity, damage, digests_in_several, identity_of, stored_problem, survey
from mlgit.storage.pack_format import ObjectEntry
from mlgit.storage.workers import InOrder, Workers

_BATCH_BYTES = 1 << 22
_BATCH_OBJECTS = 128
"""A thread takes as many small objects at once; one by one, handing them over would take longer than reading them."""
_LARGE_BYTES = 1 << 24
_LARGE_AT_ONCE = 2
"""Objects above this size are decoded by many threads each, so two of them keep all busy and memory small."""


@dataclass(slots=True)
class PackDamage:
    """What is wrong with one pack.

    Attributes:
        identity: Which file it was.
        openable: Whether its index can be read.
        structure: What contradicts the format.
        objects: Id -> why this copy of the object cannot be used.
    """

    identity: Identity
    openable: bool = True
    structure: tuple[str, ...] = ()
    objects: dict[ObjectId, str] = field(default_factory=dict)


@dataclass(slots=True)
class Verification:
    """What reading everything back has shown.

    Attributes:
        problems: Needed objects that cannot be read from any pack, and why.
        packs: Packs with damage.
        dependents: Those of ``problems`` that are whole themselves, but differences to something that is hurt, and the
            packs they are in.
    """

    problems: dict[ObjectId, str] = field(default_factory=dict)
    packs: dict[Path, PackDamage] = field(default_factory=dict)
    dependents: dict[ObjectId, Path] = field(default_factory=dict)

    def blame(self, path: Path, object_id: ObjectId, problem: str) -> None:
        """Note that the copy of an object in a pack cannot be used."""
        identity = identity_of(path)
        if identity is not None:
            self.packs.setdefault(path, PackDamage(identity)).objects.setdefault(object_id, problem)


class _Item(NamedTuple):
    """One copy of an object: its entry, its id if it is to be read, and whether to compare its stored bytes."""

    entry: ObjectEntry
    wanted: ObjectId | None
    stored: bool


class _Found(NamedTuple):
    object_id: ObjectId
    problem: str
    wanted: bool
    depends: bool = False


def verify(
    objects: ObjectDatabase, wanted: Mapping[ObjectId, ObjectId], unread: Mapping[ObjectId, str], progress: Progress
) -> Verification:
    """Read every stored byte of every pack once: wanted objects by reading them, all else by its checksums.

    Args:
        objects: Where.
        wanted: The objects to read and compare with their ids, each to itself.
        unread: Objects of which it is known that they cannot be read, and why.
        progress: Is told of objects.

    Raises:
        FileSystemError: The operating system refused, for another reason than a bad disk.
    """
    run = _Run(objects, dict(wanted), Verification(dict(unread)), objects.pack_paths())
    with progress.task("verifying", len(wanted)) as bar:
        for path in run.paths:
            run.check(path, bar)
        run.name_missing()
    return run.result


class _Run:
    def __init__(
        self, objects: ObjectDatabase, left: dict[ObjectId, ObjectId], result: Verification, paths: list[Path]
    ) -> None:
        self.result = result
        self.paths = paths
        self._objects = objects
        self._left = left
        self._several = digests_in_several(paths)
        self._places: dict[bytes, list[Path]] = {}
        self._workers = Workers()
        self._large = threading.BoundedSemaphore(_LARGE_AT_ONCE)

    def check(self, path: Path, bar: Bar) -> None:
        """Check one pack and what lies in it."""
        found = survey(path)
        if found is None:
            return
        here = PackDamage(found.identity, found.pack is not None, found.problems)
        if found.problems:
            self.result.packs[path] = here
        if found.pack is None:
            return
        tasks: InOrder[tuple[int, list[_Found]]] = InOrder(self._workers, 4 * self._workers.count)
        try:
            for batch in self._batches(path, found.entries):
                for done in tasks.submit(partial(self._read, found.pack, batch)):
                    self._note(path, here, done, bar)
            for done in tasks.drain():
                self._note(path, here, done, bar)
        finally:
            tasks.cancel()

    def name_missing(self) -> None:
        """Say what was in no pack, and note every place of what cannot be read."""
        listed_again = self._objects.pack_paths() != self.paths
        broken = next((pack.structure[0] for pack in self.result.packs.values() if not pack.openable), None)
        where = f"in a sound pack; {broken}" if broken else f"in '{self._objects.root}'"
        for object_id in self._left.values():
            missing: str | None = f"{object_id.kind} {object_id.short} is not {where}"
            if listed_again:
                missing = self._problem(object_id)
            if missing is not None:
                self.result.problems[object_id] = missing
        for object_id, problem in self.result.problems.items():
            if object_id not in self.result.dependents:
                for path in self._places.get(object_id.digest, ()):
                    self.result.blame(path, object_id, problem)

    def _batches(self, path: Path, entries: tuple[ObjectEntry, ...]) -> Iterator[list[_Item]]:
        batch: list[_Item] = []
        size = 0
        for entry in entries:
            wanted = self._left.pop(ID_TYPES[entry.kind].from_digest(entry.digest), None)
            if wanted is not None and wanted.kind != entry.kind:
                self._left[wanted] = wanted
                wanted = None
            is_spare = entry.digest in self._several
            if is_spare:
                self._places.setdefault(entry.digest, []).append(path)
            batch.append(_Item(entry, wanted, is_spare or wanted is None))
            size += entry.size
            if size >= _BATCH_BYTES or len(batch) == _BATCH_OBJECTS:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _read(self, pack: Pack, batch: list[_Item]) -> tuple[int, list[_Found]]:
        """Read some objects, in a thread; return how many were wanted, and what is wrong."""
        found: list[_Found] = []
        for item in batch:
            object_id = item.wanted or ID_TYPES[item.entry.kind].from_digest(item.entry.digest)
            if item.wanted is not None:
                with self._large if item.entry.size > _LARGE_BYTES else nullcontext():
                    problem = self._problem(item.wanted)
                if problem is not None:
                    found.append(_Found(object_id, problem, True, _is_whole_difference(pack, item.entry)))
                    continue
            if item.stored:
                problem = stored_problem(pack, item.entry)
                if problem is not None:
                    found.append(_Found(object_id, problem, wanted=False))
        return sum(item.wanted is not None for item in batch), found

    def _problem(self, object_id: ObjectId) -> str | None:
        try:
            return self._objects.problems(object_id)
        except FileSystemError as error:
            return damage(error)

    def _note(self, path: Path, here: PackDamage, done: tuple[int, list[_Found]], bar: Bar) -> None:
        count, found = done
        bar.advance(count, path.name)
        for item in found:
            if item.wanted:
                self.result.problems[item.object_id] = item.problem
            if item.depends:
                self.result.dependents[item.object_id] = path
            else:
                here.objects[item.object_id] = item.problem
        if here.objects:
            self.result.packs[path] = here


def _is_whole_difference(pack: Pack, entry: ObjectEntry) -> bool:
    """Whether an object needs bases to be read and is not damaged itself."""
    try:
        has_base = any(chunk.base is not None for chunk in pack.chunks(entry))
    except CorruptObjectError:
        return False
    return has_base and stored_problem(pack, entry) is None
