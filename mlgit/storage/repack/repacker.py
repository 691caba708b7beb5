"""The whole of it: what becomes of each pack, the new packs, and the old ones removed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlgit.errors import CorruptObjectError
from mlgit.objects import ObjectId
from mlgit.progress import NoProgress, Progress
from mlgit.storage.collect import Collector, OldPack
from mlgit.storage.pack_check import check_pack
from mlgit.storage.pack_folder import PackFolder
from mlgit.storage.repack.families import Family, Group
from mlgit.storage.repack.output import Copier, NewPack
from mlgit.storage.repack.plan import Plan, make_plan
from mlgit.storage.repack.planning import Change
from mlgit.storage.workers import Workers

_KINDS = ("commit", "tag", "certificate", "manifest", "blob", "tensor")
"""The order in a new pack: what `log` reads lies together at the start."""


@dataclass(frozen=True, slots=True)
class NewPacks:
    """Packs that were written, beside the old ones.

    Attributes:
        paths: The files.
        replaced: The packs that need not stay.
        rebased: How many tensors have another base now, or none.
        deeper: Ids of objects that more differences stand before than in the old packs.
    """

    paths: tuple[Path, ...]
    replaced: tuple[OldPack, ...]
    rebased: int
    deeper: frozenset[bytes]


class Repacker:
    """Writes packs of one database anew. One process at a time, which the caller sees to; others go on meanwhile.

    Args:
        root: The folder of packs.
        progress: Is told of tensors and objects.
    """

    def __init__(self, root: Path, progress: Progress | None = None) -> None:
        self._folder = PackFolder(root)
        self._workers = Workers()
        self._progress = progress or NoProgress()

    def plan(
        self,
        families: Callable[[], Iterable[Family]],
        needed: Iterable[ObjectId],
        *,
        depth: int,
        order: Sequence[ObjectId] = (),
        avoided: Collection[str] = (),
    ) -> Plan:
        """Look at all packs and at samples of the tensors in them; see ``make_plan``."""
        return make_plan(
            self._folder, self._workers, families, needed,
            depth=depth, order=order, avoided=avoided, progress=self._progress,
        )  # fmt: skip

    def tidy(self) -> None:
        """Remove what killed processes left.

        Raises:
            ConflictError: Another collector is at work.
            FileSystemError: The operating system refused.
        """
        Collector(self._folder).tidy()

    def write(self, plan: Plan) -> NewPacks | None:
        """Write new packs as planned; the old ones stay for now.

        Returns:
            What was written; None when that would not be smaller, or fewer packs of the same size.

        Raises:
            UnsoundPackError: A pack holds an object that cannot be read; plan again without it.
            CorruptObjectError: What was written does not read back; it was removed.
            FileSystemError: The operating system refused; nothing was written.
        """
        with self._folder.guard.holding():
            work = _Work(self._folder, self._workers, plan)
            try:
                with self._progress.task("writing packs", plan.objects) as bar:
                    work.fill(bar.advance)
                return work.publish()
            finally:
                for pack in work.packs:
                    pack.abandon()

    def replace(self, plan: Plan, new: NewPacks, *, wait_s: float) -> list[OldPack]:
        """Remove the old packs while nobody writes, but for those that a commit made meanwhile rests on.

        Args:
            plan: What was planned.
            new: What was written.
            wait_s: How long to wait for other processes that are writing, in seconds.

        Returns:
            Those that were removed.

        Raises:
            ConflictError: Another process writes all the time; the new packs were removed instead.
            FileSystemError: The operating system refused; some old packs may stay.
        """
        collector = Collector(self._folder)
        has_begun = False
        try:
            with self._folder.guard.excluding(timeout_s=wait_s):
                kept = self._relied_on(plan, new)
                has_begun = True
                removed = collector.remove({old: None for old in new.replaced if old.name not in kept})
            collector.tidy_catalogues()
        except BaseException:
            if not has_begun:
                withdraw(plan, new.paths)
            raise
        return removed

    def _relied_on(self, plan: Plan, new: NewPacks) -> set[str]:
        """Return old packs that stay, since differences written meanwhile would rest on more differences than before.

        Raises:
            CorruptObjectError: A new pack is gone, so that no old one can go.
        """
        names = self._folder.names()
        if not all(self._folder.open(path.name) for path in new.paths):
            raise CorruptObjectError(f"a pack in '{self._folder.root}' that was just written is gone")
        known = {*plan.inventory.sizes, *plan.others, *(path.name for path in new.paths)}
        pending = [base for name in names if name not in known for base in self._bases_of(name)]
        kept: set[str] = set()
        while pending:
            digest = pending.pop()
            if digest in new.deeper:
                for name in (plan.inventory.packs_of(digest) & plan.rewritten) - kept:
                    kept.add(name)
                    pending += self._bases_of(name)
        return kept

    def _bases_of(self, name: str) -> list[bytes]:
        pack = self._folder.open(name)
        return [] if pack is None else pack.base_digests()


def withdraw(plan: Plan, paths: Iterable[Path]) -> None:
    """Remove new packs while all old ones are there; everything in them is in the old ones too."""
    for path in paths:
        if path.name not in plan.inventory.sizes:  # one of equal content took the place of the old one
            with suppress(OSError):
                path.unlink(missing_ok=True)


class _Work:
    """New packs in the making.

    Args:
        folder: The packs.
        workers: Threads to encode in.
        plan: What to write.
    """

    def __init__(self, folder: PackFolder, workers: Workers, plan: Plan) -> None:
        self.packs: list[NewPack] = []
        self._folder = folder
        self._plan = plan
        self._items = plan.inventory.items
        self._copier = Copier(folder, workers, plan.inventory)
        self._rebased = 0
        self._written: set[bytes] = set()

    def fill(self, advance: Callable[[int], object]) -> None:
        """Write all chunks."""
        plan = self._plan
        grouped = {digest for group in plan.groups for digest in group.members}
        place = {digest: number for number, digest in enumerate(plan.order)}
        moving = [digest for digest, item in self._items.items() if item.pack in plan.rewritten]
        loose = [digest for digest in moving if digest not in grouped and digest not in plan.spare]
        loose.sort(key=lambda digest: (_KINDS.index(self._items[digest].entry.kind), place.get(digest, len(place))))
        for digest in loose:
            self._copy(digest)
            advance(1)
        for group, change in zip(plan.groups, plan.changes, strict=True):
            self._group(group, change)
            advance(len(group.members))
        spare = sorted(plan.spare, key=lambda digest: plan.inventory.depths.get(digest, 0))
        if spare:
            self.packs.append(NewPack(self._folder.root))
        for digest in spare:
            self._copy(digest)
            advance(1)

    def publish(self) -> NewPacks | None:
        """Give the packs their names, unless they are no gain."""
        plan = self._plan
        old = sum(plan.inventory.sizes[name] for name in plan.rewritten)
        new = sum(pack.size_bytes for pack in self.packs)
        if (new, len(self.packs)) >= (old, len(plan.rewritten)):
            return None
        paths: list[Path] = []
        try:
            for pack in self.packs:
                paths.append(pack.publish(plan.written_ns))
                for problem in check_pack(paths[-1], checksums=True):
                    raise CorruptObjectError(f"a new pack does not read back: {problem}")
                self._folder.replaced(paths[-1].name)
        except BaseException:
            withdraw(plan, paths)
            raise
        depths = self._copier.depths
        deeper = {one for one, found in depths.items() if max(found, default=0) > plan.inventory.depths.get(one, 0)}
        return NewPacks(tuple(paths), tuple(self._replaced()), self._rebased, frozenset(deeper))

    def _replaced(self) -> list[OldPack]:
        """Return the old packs of which every object is in a new pack or in one that stays, newest first."""
        replaced = []
        for name in self._plan.rewritten:
            pack = self._folder.open(name)
            if pack is None:
                continue
            here = frozenset(map(pack.digest, range(pack.object_count)))
            if all(one in self._written or self._items[one].pack not in self._plan.rewritten for one in here):
                replaced.append(OldPack(name, self._plan.identities[name], pack.size_bytes, here, 0))
        return sorted(replaced, key=lambda old: -old.identity[2])

    def _pack(self) -> NewPack:
        if not self.packs or self.packs[-1].is_full:
            self.packs.append(NewPack(self._folder.root))
        return self.packs[-1]

    def _copy(self, digest: bytes) -> None:
        self._copier.copy(digest, self._pack())
        self._written.add(digest)

    def _group(self, group: Group, change: Change) -> None:
        """Write a group with its new bases, or as it was when that is smaller. All of it goes into one pack."""
        members = [
            digest
            for digest in group.members
            if self._items[digest].pack in self._plan.rewritten and digest not in self._plan.spare
        ]
        if not members:
            return
        pack = self._pack()
        mark = pack.mark
        if change.bases:
            for level in _bases_first(members, change, self._plan):
                for digest in level:
                    if digest not in change.bases:
                        self._copier.copy(digest, pack)
                self._copier.encode([(one, change.bases[one]) for one in level if one in change.bases], pack)
            old = sum(self._items[digest].stored for digest in members)
            bases = len({base for base in change.bases.values() if base is not None})
            if pack.mark.stored - mark.stored + 32 * bases < old:
                self._rebased += len(change.bases)
                self._written.update(members)
                return
            pack.back_to(mark)
        for level in _bases_first(members, Change(), self._plan):
            for digest in level:
                self._copier.copy(digest, pack)
        self._written.update(members)


def _bases_first(members: list[bytes], change: Change, plan: Plan) -> list[list[bytes]]:
    """Return objects by the number of differences before them, so that none comes before what it will rest on."""
    depths: dict[bytes, int] = {}

    def depth(digest: bytes) -> int:
        if digest not in depths:
            base = change.bases.get(digest)
            bases = (
                (base,) if base is not None else () if digest in change.bases else plan.inventory.items[digest].bases
            )
            depths[digest] = max((depth(one) + 1 for one in bases), default=0)
        return depths[digest]

    levels: dict[int, list[bytes]] = {}
    for digest in members:
        levels.setdefault(depth(digest), []).append(digest)
    return [levels[found] for found in sorted(levels)]
