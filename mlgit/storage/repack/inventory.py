"""What is stored now: of every object one copy, what that takes, and what it rests on."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from mlgit.errors import CorruptObjectError
from mlgit.storage.located import Located
from mlgit.storage.pack import Pack
from mlgit.storage.pack_folder import PackFolder
from mlgit.storage.pack_format import MAX_DEPTH, ObjectEntry


@dataclass(frozen=True, slots=True)
class Item:
    """One object as it is stored now.

    Attributes:
        entry: What the index of its pack says; of several copies the one with the fewest differences to its value.
        pack: File name of that pack.
        stored: Bytes of its chunks.
        depth: What the index says of the deepest of its chunks.
        bases: Ids of the bases of its chunks, 32 bytes each.
    """

    entry: ObjectEntry
    pack: str
    stored: int
    depth: int
    bases: tuple[bytes, ...]

    def alike(self, other: Item) -> bool:
        """Whether one can be the base of the other."""
        one, two = self.entry, other.entry
        return (one.kind, one.metadata, one.chunk_exponent) == (two.kind, two.metadata, two.chunk_exponent)


@dataclass(slots=True)
class Inventory:
    """All objects of all sound packs.

    Attributes:
        items: By the 32 bytes of the id.
        sizes: Bytes of each sound pack, by file name.
        holders: The packs of each object that stands in more than one.
        unsound: Packs that cannot be opened, with an entry that cannot be used, or with objects that cannot be followed
            to a value.
        depths: How many differences stand before the value of an object, where there are any.
    """

    items: dict[bytes, Item] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    holders: dict[bytes, set[str]] = field(default_factory=dict)
    unsound: set[str] = field(default_factory=set)
    depths: dict[bytes, int] = field(default_factory=dict)

    def packs_of(self, digest: bytes) -> set[str]:
        """Return the names of all packs that hold an object."""
        item = self.items.get(digest)
        return self.holders.get(digest) or (set() if item is None else {item.pack})

    def with_bases(self, starts: Iterable[bytes]) -> set[bytes]:
        """Return objects together with all they rest on."""
        found: set[bytes] = set()
        pending = list(starts)
        while pending:
            digest = pending.pop()
            if digest not in found:
                found.add(digest)
                item = self.items.get(digest)
                pending += () if item is None else item.bases
        return found


def take_stock(folder: PackFolder, avoided: Collection[str] = ()) -> Inventory:
    """Read the indexes of all packs; none is kept open.

    Args:
        folder: The packs.
        avoided: File names of packs whose copies count only where there is no other.

    Raises:
        FileSystemError: The operating system refused.
    """
    inventory = Inventory()
    for name in sorted(folder.names(), key=lambda name: name in avoided):
        pack = folder.open(name)
        if pack is None:
            inventory.unsound.add(name)
            continue
        try:
            items = [_item(pack, number) for number in range(pack.object_count)]
        except CorruptObjectError:
            inventory.unsound.add(name)
            continue
        inventory.sizes[name] = pack.size_bytes
        for item in items:
            _add(inventory, item, may_replace=name not in avoided)
    for digest, item in inventory.items.items():
        depth = _depth(inventory, digest) if item.bases else 0
        if depth is None:
            inventory.unsound |= inventory.packs_of(digest)
        elif depth:
            inventory.depths[digest] = depth
    return inventory


def locate(folder: PackFolder, item: Item) -> Located:
    """Return where an object lies.

    Raises:
        CorruptObjectError: Its pack is gone.
    """
    pack = folder.open(item.pack)
    if pack is None:
        raise CorruptObjectError(f"pack '{folder.root / item.pack}' is gone or damaged")
    return Located(pack, item.entry)


def _item(pack: Pack, number: int) -> Item:
    entry = pack.entry(number)
    stored, depth, bases = 0, 0, dict[bytes, None]()
    for chunk in pack.chunks(entry):
        stored += chunk.stored
        depth = max(depth, chunk.depth)
        if chunk.base is not None:
            bases[chunk.base] = None
    return Item(entry, pack.path.name, stored, depth, tuple(bases))


def _add(inventory: Inventory, item: Item, *, may_replace: bool) -> None:
    digest = item.entry.digest
    known = inventory.items.get(digest)
    if known is not None:
        inventory.holders.setdefault(digest, {known.pack}).add(item.pack)
    if known is None or (may_replace and (item.depth, item.stored) < (known.depth, known.stored)):
        inventory.items[digest] = item


def _depth(inventory: Inventory, digest: bytes) -> int | None:
    """Return how many differences stand before an object's value; None when it has none that can be read.

    That is so when a base is missing or does not fit, or when there are too many, in a ring for example.
    """
    level = {digest}
    for depth in range(MAX_DEPTH + 1):
        below: set[bytes] = set()
        for item in map(inventory.items.__getitem__, level):
            bases = [inventory.items.get(base) for base in item.bases]
            if not all(base is not None and item.alike(base) for base in bases):
                return None
            below.update(item.bases)
        if not below:
            return depth
        level = below
    return None
