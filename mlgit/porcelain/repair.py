"""Mending a repository from another one: good copies are fetched by id, packs that are damaged are set aside.

Three steps, each of which can be interrupted without loss. What is hurt is read from the other repository, verified,
and published here in packs of its own. What is sound in a damaged pack is copied into a new one. Only then, while
nobody writes, the damaged pack is moved to the folder ``damaged``, where nobody looks for objects and nothing is ever
removed by mlgit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlgit.errors import CorruptObjectError, FileSystemError, InvalidInputError, NotFoundError
from mlgit.fileio import file_system_error, sync_directory
from mlgit.objects import BlobId, ObjectId, TensorId
from mlgit.porcelain.verification import PackDamage, Verification
from mlgit.progress import Progress
from mlgit.repository import FOLDER, Repository
from mlgit.storage.chunk_reader import ChunkReader
from mlgit.storage.collect import OldPack
from mlgit.storage.directories import make_directories
from mlgit.storage.located import Located
from mlgit.storage.objects import ObjectDatabase
from mlgit.storage.pack import Pack
from mlgit.storage.pack_check import check_pack, identity_of
from mlgit.storage.pack_folder import PackFolder
from mlgit.storage.payload import PayloadReader
from mlgit.storage.transaction import Transaction
from mlgit.storage.workers import Workers

DAMAGED = "damaged"
"""Folder, below that of the packs, of packs that were set aside."""
_PACK_BYTES = 1 << 32
"""What is fetched is published whenever it has this size, so that an interrupted repair goes on where it was."""
_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Repair:
    """What was mended.

    Attributes:
        fetched: Objects that were taken from the other repository.
        set_aside: Where the damaged packs are now.
        healed: Paths of the packs that are not damaged, or not in use, any more.
    """

    fetched: tuple[ObjectId, ...]
    set_aside: tuple[Path, ...]
    healed: frozenset[Path]


def open_source(repository: Repository, path: Path) -> ObjectDatabase:
    """Return the objects of another repository; it is only read. The folder of objects here is created if it is gone.

    Args:
        repository: The one that is to be mended.
        path: A model directory, its ``.mlgit``, or a folder of packs.

    Raises:
        NotFoundError: There are no packs.
        InvalidInputError: It is the repository itself.
    """
    candidates = [path / FOLDER / "objects", path / "objects", path]
    for folder in candidates:
        if folder.is_dir() and (folder.name == "objects" or any(folder.glob("pack-*.pack"))):
            if folder.resolve() == repository.objects.root.resolve():
                raise InvalidInputError(
                    f"'{path}' is the repository that is to be repaired", hint="give another one, such as a clone"
                )
            if not repository.objects.root.is_dir():
                ObjectDatabase.create(repository.objects.root)
            return ObjectDatabase(folder)
    raise NotFoundError(
        f"'{path}' is neither a repository nor a folder of packs",
        kind="no-repository",
        hint="give the directory of a clone, or its .mlgit/objects",
    )


def repair(
    repository: Repository, source: ObjectDatabase, found: Verification, *, complete: bool, progress: Progress
) -> Repair:
    """Fetch what is hurt and set damaged packs aside.

    Args:
        repository: Where.
        source: The objects of another repository; damaged ones are refused.
        found: What is hurt; what was mended is removed from its problems.
        complete: Whether all names could be followed, so that packs that cannot be opened may be set aside too.
        progress: Is told of objects.

    Raises:
        ConflictError: Others wrote all the time; what was fetched is stored, damaged packs are where they were.
        CorruptObjectError: What was just written is damaged already.
        FileSystemError: The operating system refused; nothing is lost.
    """
    objects = repository.objects
    before = {path: identity_of(path) for path in objects.pack_paths()}
    needed = set(found.problems)
    useful = {found_id for pack in found.packs.values() for found_id in pack.objects} | needed
    hurt = set(useful)
    fetched = _fetch(objects, source, useful.difference(found.dependents), hurt, progress)
    fetched += _fetch(objects, source, _still_hurt(objects, found), hurt, progress)
    left = set(found.problems).difference(fetched)
    chosen = {
        path: pack
        for path, pack in found.packs.items()
        if not left.intersection(pack.objects) and (not pack.structure or (complete and not left))
    }
    moving = _salvage(objects, chosen)
    _check_new(path for path in objects.pack_paths() if before.get(path) != identity_of(path))
    set_aside = _set_aside(objects, moving)
    for object_id in {*fetched, *found.dependents}.intersection(needed):
        problem = objects.problems(object_id)
        if problem is None:
            found.problems.pop(object_id, None)
        else:
            found.problems[object_id] = problem
    healed = frozenset(path for path, pack in found.packs.items() if identity_of(path) != pack.identity)
    return Repair(tuple(fetched), set_aside, healed)


def _still_hurt(objects: ObjectDatabase, found: Verification) -> set[ObjectId]:
    """Return the differences that cannot be read although what they are differences to was fetched."""
    hurt: set[ObjectId] = set()
    for object_id, path in found.dependents.items():
        problem = objects.problems(object_id)
        if problem is None:
            found.problems.pop(object_id, None)
        else:
            hurt.add(object_id)
            found.blame(path, object_id, problem)
    return hurt


def _fetch(
    objects: ObjectDatabase, source: ObjectDatabase, ids: set[ObjectId], hurt: set[ObjectId], progress: Progress
) -> list[ObjectId]:
    """Store again what the source has, bases first, so that differences stay differences.

    Args:
        objects: Where.
        source: Where from.
        ids: What.
        hurt: What must not be read here; what was fetched is removed from it.
        progress: Is told of objects.

    Returns:
        What the source has.
    """
    fetched: list[ObjectId] = []
    streams = _Streams(source.root, objects.root, hurt)
    with progress.task("fetching", len(ids)) as bar:
        for group in _groups(source, ids):
            with objects.transaction(again=group) as transaction:
                here = [
                    object_id for object_id in group if _put(transaction, source, object_id, streams, objects, hurt)
                ]
            hurt.difference_update(here)
            fetched += here
            bar.advance(len(group))
    return fetched


def _groups(source: ObjectDatabase, ids: Iterable[ObjectId]) -> Iterator[list[ObjectId]]:
    """Yield what the source has of these objects, in groups of bounded size, shallow differences first."""
    known: list[tuple[int, ObjectId, int]] = []
    for object_id in ids:
        try:
            depth = max((chunk.depth for chunk in source.chunks(object_id)), default=0)
            known.append((depth, object_id, source.size(object_id)))
        except (CorruptObjectError, NotFoundError, FileSystemError):
            continue
    group: list[ObjectId] = []
    total = 0
    for _, object_id, size in sorted(known):
        group.append(object_id)
        total += size
        if total >= _PACK_BYTES:
            yield group
            group, total = [], 0
    if group:
        yield group


def _put(
    transaction: Transaction,
    source: ObjectDatabase,
    object_id: ObjectId,
    streams: _Streams,
    objects: ObjectDatabase,
    hurt: set[ObjectId],
) -> bool:
    """Store one object again; return whether the source has a good copy."""
    try:
        if isinstance(object_id, TensorId):
            dtype, shape = source.tensor_type(object_id)
            bases = (base for base in sorted(source.bases(object_id)) if base in transaction or base not in hurt)
            base = next((base for base in bases if base in transaction or base in objects), None)
            transaction.put_tensor(dtype, shape, streams.of(object_id), base=base, expected=object_id)
        elif isinstance(object_id, BlobId):
            transaction.put_blob(streams.of(object_id), expected=object_id)
        else:
            record = source.read_record(object_id)  # type: ignore[call-overload]  # any of the four
            return bool(transaction.put_record(record) == object_id)
    except (CorruptObjectError, NotFoundError, InvalidInputError):
        return False
    return True


class _Streams:
    """Reads objects of the source, whose differences may be to objects that only this repository still has.

    Args:
        source: The packs to read from.
        here: The packs of this repository.
        hurt: Objects that are damaged in them.
    """

    def __init__(self, source: Path, here: Path, hurt: set[ObjectId]) -> None:
        self._source, self._here = PackFolder(source), PackFolder(here)
        self._hurt = {object_id.digest for object_id in hurt}
        self._payloads = PayloadReader(ChunkReader(self._copies), Workers())
        self._here.refresh()

    def of(self, object_id: ObjectId) -> Iterator[memoryview]:
        """Yield an object in parts; that it cannot be read there is no reason to give up the others.

        Raises:
            CorruptObjectError: It is not there, or damaged.
        """
        try:
            located = self._source.find(object_id.digest)
            if located is None:
                raise CorruptObjectError(f"{object_id.kind} {object_id.short} is not in '{self._source.root}'")
            yield from self._payloads.stream(located)
        except FileSystemError as error:
            raise CorruptObjectError(error.message, hint=error.hint) from error

    def _copies(self, digest: bytes) -> Iterator[Located]:
        if digest not in self._hurt:
            yield from self._here.copies(digest)
        yield from self._source.copies(digest)


def _salvage(objects: ObjectDatabase, packs: Mapping[Path, PackDamage]) -> dict[Path, PackDamage]:
    """Copy what is sound in damaged packs into new ones; return the packs that nothing needs then."""
    collector = objects.collector()
    spare: dict[Path, PackDamage] = {}
    for path, pack in packs.items():
        if identity_of(path) != pack.identity:  # it was written anew, or is gone
            continue
        sound = _sound(path, pack) if pack.openable else frozenset()
        if not sound or collector.rewrite(OldPack(path.name, pack.identity, 0, sound, 0)) is not None:
            spare[path] = pack
    return spare


def _sound(path: Path, damage: PackDamage) -> frozenset[bytes]:
    """Return the ids of the objects of a pack that are not damaged."""
    pack = Pack(path)
    hurt = {object_id.digest for object_id in damage.objects}
    numbers = (number for number in range(pack.object_count) if not damage.structure or _has_entry(pack, number))
    return frozenset(digest for digest in map(pack.digest, numbers) if digest not in hurt)


def _has_entry(pack: Pack, number: int) -> bool:
    try:
        list(pack.chunks(pack.entry(number)))
    except CorruptObjectError:
        return False
    return True


def _check_new(paths: Iterable[Path]) -> None:
    for path in paths:
        for problem in check_pack(path, checksums=True):
            raise CorruptObjectError(
                f"what was just written is damaged already: {problem}", hint="check the disk and the memory"
            )


def _set_aside(objects: ObjectDatabase, packs: Mapping[Path, PackDamage]) -> tuple[Path, ...]:
    """Move packs away while nobody writes."""
    if not packs:
        return ()
    folder = objects.root / DAMAGED
    moved: list[Path] = []
    try:
        make_directories(folder, objects.root)
        with objects.collector().guard.excluding(timeout_s=_WAIT_S):
            for path, pack in packs.items():
                if identity_of(path) == pack.identity:
                    moved.append(_free_name(folder, path.name))
                    path.rename(moved[-1])
            sync_directory(folder)
            sync_directory(objects.root)
    except OSError as error:
        raise file_system_error(error, "set aside damaged packs in", folder) from error
    objects.pack_paths()  # lists the folder again
    return tuple(moved)


def _free_name(folder: Path, name: str) -> Path:
    taken: Sequence[str] = [path.name for path in folder.iterdir()]
    number = 0
    while (free := f"{name}.{number}" if number else name) in taken:
        number += 1
    return folder / free
