"""``mlgit fsck``: read back everything that any name reaches, and say what is hurt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlgit.objects import CommitId, ObjectId
from mlgit.porcelain.ancestry import check_graph
from mlgit.porcelain.needed import LOG_OF, Needed
from mlgit.porcelain.verification import Verification, verify
from mlgit.progress import NoProgress, Progress
from mlgit.repository import Repository


@dataclass(frozen=True, slots=True)
class Hurt:
    """Something that cannot be trusted.

    Attributes:
        id: The object, or None for a pack or a name.
        kind: Kind of object, ``pack``, ``cache`` or ``ref``.
        problem: What is wrong, with the place: pack and offset.
        commits: Commits that need it, in no order.
        names: Names that lead straight to it: refs, then their logs.
    """

    id: ObjectId | None
    kind: str
    problem: str
    commits: tuple[CommitId, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FsckResult:
    """The state of a repository.

    Attributes:
        commits: How many commits were reached.
        objects: How many objects were read back.
        hurt: What is damaged or missing; after a repair, what is left of it.
        repaired: Objects that were fetched from the other repository.
        set_aside: Where the damaged packs are that nothing needs any more.
    """

    commits: int
    objects: int
    hurt: tuple[Hurt, ...]
    repaired: tuple[ObjectId, ...] = ()
    set_aside: tuple[Path, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether nothing is hurt."""
        return not self.hurt


def fsck(repository: Repository, *, repair_from: Path | None = None, progress: Progress | None = None) -> FsckResult:
    """Verify every object that any name reaches, and every pack from its first byte to its last.

    Names are refs, their logs, HEAD, the run that waits for its commit, and the index. Nothing raises for damage.

    Args:
        repository: Where; nothing is changed there unless it is to be repaired.
        repair_from: Another repository, whose good copies are fetched; see ``mlgit.porcelain.repair``.
        progress: Is told of objects.

    Returns:
        What was read, what is hurt, and what was mended.

    Raises:
        NotFoundError: There is nothing to repair from in ``repair_from``.
        InvalidInputError: ``repair_from`` is the repository itself.
        ConflictError: Others wrote all the time, so that damaged packs could not be set aside; what was fetched stays.
        FileSystemError: The operating system refused, for another reason than a bad disk.
    """
    told = progress or NoProgress()
    if repair_from is None:
        needed = Needed(repository)
        found = _verify(repository, needed, told)
        return FsckResult(needed.commits, len(needed.ids), _hurt(repository, needed, found))
    from mlgit.porcelain.repair import open_source, repair  # noqa: PLC0415 - most checks repair nothing

    source = open_source(repository, repair_from)
    needed = Needed(repository, source)
    found = _verify(repository, needed, told)
    mended = repair(repository, source, found, complete=not needed.hurt_names, progress=told)
    for path in mended.healed:
        del found.packs[path]
    needed.read.update(needed.ids.keys() & mended.fetched)
    hurt = _hurt(repository, needed, found)
    return FsckResult(needed.commits, len(needed.ids), hurt, mended.fetched, mended.set_aside)


def _verify(repository: Repository, needed: Needed, progress: Progress) -> Verification:
    needed.find()
    wanted = {found: kept for found, kept in needed.ids.items() if found not in needed.read}
    wanted = {found: kept for found, kept in wanted.items() if found not in needed.unread}
    return verify(repository.objects, wanted, needed.unread, progress)


def _hurt(repository: Repository, needed: Needed, found: Verification) -> tuple[Hurt, ...]:
    """Put everything that is hurt together: packs, caches, names, objects."""
    hurt = [Hurt(None, "pack", problem) for pack in found.packs.values() for problem in pack.structure]
    for pack in found.packs.values():
        copies = {item: problem for item, problem in pack.objects.items() if item not in found.problems}
        hurt += [Hurt(None, "pack", problem) for problem in copies.values()]
    hurt += [Hurt(None, "cache", problem) for problem in check_graph(repository)]
    objects = _hurt_objects(needed, found.problems) if found.problems else []
    return (*hurt, *(Hurt(None, "ref", problem) for problem in needed.hurt_names), *objects)


def _hurt_objects(needed: Needed, problems: Mapping[ObjectId, str]) -> list[Hurt]:
    commits, names = needed.users(set(problems))
    return [
        Hurt(item, item.kind, problem, tuple(commits.get(item, ())), _sorted(names.get(item, ())))
        for item, problem in problems.items()
        if item in commits or item in names  # otherwise it was removed meanwhile
    ]


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names), key=lambda name: (name.startswith(LOG_OF), name)))
