"""What will be written anew, and why the rest stays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from mlgit.objects import ObjectId
from mlgit.progress import NoProgress, Progress
from mlgit.storage.collect import identity
from mlgit.storage.pack_folder import PackFolder
from mlgit.storage.repack.families import Family, Group, group
from mlgit.storage.repack.inventory import Inventory, take_stock
from mlgit.storage.repack.planning import Change, Planner
from mlgit.storage.repack.samples import Sampler
from mlgit.storage.workers import InOrder, Workers

LARGE_BYTES = 1 << 30
"""A pack from this size on is written anew only for the sake of better bases."""
_AROUND_BYTES = 16 + 16 + 64
"""Header, counts and footer of a pack."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of the packs of a database.

    Attributes:
        inventory: What is stored now.
        rewritten: File names of the packs to write anew.
        others: File names of packs that are left alone because something in them is damaged.
        groups: Tensors that may be differences to one another.
        changes: What becomes of each group.
        spare: Objects in ``rewritten`` that nothing needs; they go into a pack of their own, which can be collected.
        order: Ids of records, in the order that they are likely read in.
        identities: Tells each of ``rewritten`` from another file of its name.
        written_ns: When the newest of them was written, in nanoseconds.
    """

    inventory: Inventory
    rewritten: frozenset[str]
    others: frozenset[str]
    groups: tuple[Group, ...]
    changes: tuple[Change, ...]
    spare: frozenset[bytes]
    order: tuple[bytes, ...]
    identities: dict[str, tuple[int, int, int]]
    written_ns: int

    @property
    def objects(self) -> int:
        """How many objects will be written."""
        return sum(item.pack in self.rewritten for item in self.inventory.items.values())

    @property
    def rebased(self) -> int:
        """How many tensors will have another base, or none."""
        return sum(len(change.bases) for change in self.changes)

    @property
    def saves(self) -> int:
        """How many bytes fewer the packs will take, about."""
        if not self.rewritten:
            return 0
        copies = [
            self.inventory.items[digest].stored * (len(holders & self.rewritten) - 1)
            for digest, holders in self.inventory.holders.items()
            if holders & self.rewritten
        ]
        return sum(change.saves for change in self.changes) + sum(copies) + _AROUND_BYTES * (len(self.rewritten) - 1)


def make_plan(
    folder: PackFolder,
    workers: Workers,
    families: Callable[[], Iterable[Family]],
    needed: Iterable[ObjectId],
    *,
    depth: int,
    order: Sequence[ObjectId] = (),
    avoided: Collection[str] = (),
    progress: Progress | None = None,
) -> Plan:
    """Look at all packs, and at samples of the tensors in them.

    Args:
        folder: The packs.
        workers: Threads to decode in.
        families: Yields the models, older ones before those made from them; may be asked again.
        needed: Everything that names lead to.
        depth: How many differences may stand before a value, 1 to 8.
        order: Records in the order that they are likely read in.
        avoided: Packs to leave alone.
        progress: Is told of groups of tensors.

    Raises:
        FileSystemError: The operating system refused.
    """
    others = frozenset(avoided)
    while True:
        inventory = take_stock(folder, others)
        if inventory.unsound <= others:
            break
        others |= inventory.unsound
    used = inventory.with_bases(object_id.digest for object_id in needed)
    live = {name for digest in used for name in inventory.packs_of(digest)} - others
    identities = {name: found for name in live if (found := identity(folder.root / name)) is not None}
    live &= set(identities)
    spare = {one for one, item in inventory.items.items() if item.pack in live and one not in used}
    fixed = inventory.with_bases({*spare, *(one for one in inventory.items if not inventory.packs_of(one) <= live)})
    groups = tuple(group(inventory, families()))
    planner = Planner(inventory, Sampler(folder, workers.count), fixed, depth)
    changes: list[Change] = []
    tasks: InOrder[Change] = InOrder(workers, window=workers.count)
    with (progress or NoProgress()).task("comparing tensors", sum(len(one.members) for one in groups)) as bar:
        try:
            for change in tasks.map([partial(planner.plan, one) for one in groups]):
                bar.advance(len(groups[len(changes)].members))
                changes.append(change)
        finally:
            tasks.cancel()
    rewritten = _chosen(inventory, live, {digest for change in changes for digest in change.bases})
    return Plan(
        inventory=inventory,
        rewritten=frozenset(rewritten),
        others=others,
        groups=groups,
        changes=tuple(changes),
        spare=frozenset(one for one in spare if inventory.items[one].pack in rewritten),
        order=tuple(object_id.digest for object_id in order),
        identities={name: identities[name] for name in rewritten},
        written_ns=max((identities[name][2] for name in rewritten), default=0),
    )


def _chosen(inventory: Inventory, live: set[str], changed: set[bytes]) -> set[str]:
    """Return the packs with an object that changes or whose base does, and the small ones, if these are several."""
    touched: set[str] = set()
    for digest, item in inventory.items.items():
        if digest in changed or not changed.isdisjoint(item.bases):
            touched |= inventory.packs_of(digest) & live
    small = {name for name in live if inventory.sizes[name] < LARGE_BYTES}
    return touched | small if len(touched | small) > 1 else touched
