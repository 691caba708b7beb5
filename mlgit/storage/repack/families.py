"""Which tensors may be differences to one another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mlgit.storage.repack.inventory import Inventory

_MANY_LINKS = 16
"""How many relatives of one tensor are remembered."""


class Family(NamedTuple):
    """The tensors of one model, and those of the models that it was made from.

    Attributes:
        tensors: Name -> the 32 bytes of the tensor's id.
        origins: The same for each model whose weights it began with.
    """

    tensors: Mapping[str, bytes]
    origins: Sequence[Mapping[str, bytes]] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Tensors of one dtype, shape and way to be cut, joined by a common name or by being bases of one another.

    Attributes:
        members: Their ids, those of older models first.
        links: For some of them: near relatives among the members.
    """

    members: tuple[bytes, ...]
    links: Mapping[bytes, tuple[bytes, ...]]


class _Sets:
    """Disjoint sets of ids that can be united."""

    def __init__(self) -> None:
        self._parent: dict[bytes, bytes] = {}

    def find(self, one: bytes) -> bytes:
        root = one
        while (above := self._parent.get(root, root)) != root:
            root = above
        while one != root:
            self._parent[one], one = root, self._parent.get(one, one)
        return root

    def unite(self, one: bytes, other: bytes) -> None:
        self._parent[self.find(one)] = self.find(other)


def group(inventory: Inventory, families: Iterable[Family]) -> list[Group]:
    """Return all objects that may be, or are, differences, in groups of which none needs another.

    Args:
        inventory: What is stored.
        families: The models, older ones before those made from them.
    """
    sets, rank = _Sets(), dict[bytes, None]()
    links: dict[bytes, list[bytes]] = {}
    heads: dict[tuple[str, bytes, int], bytes] = {}
    for family in families:
        for name, digest in family.tensors.items():
            item = inventory.items.get(digest)
            if item is None:
                continue
            rank.setdefault(digest)
            entry = item.entry
            sets.unite(digest, heads.setdefault((name, entry.metadata, entry.chunk_exponent), digest))
            for origin in family.origins:
                _link(links, inventory, digest, origin.get(name))
    for digest, item in inventory.items.items():
        for base in item.bases:
            rank.setdefault(base)
            rank.setdefault(digest)
            sets.unite(digest, base)
    together: dict[bytes, list[bytes]] = {}
    for digest in rank:
        together.setdefault(sets.find(digest), []).append(digest)
    return [
        Group(tuple(members), {one: tuple(links[one]) for one in members if one in links})
        for members in together.values()
    ]


def _link(links: dict[bytes, list[bytes]], inventory: Inventory, one: bytes, other: bytes | None) -> None:
    """Note two tensors as near relatives, if one could be the base of the other."""
    item, relative = inventory.items.get(one), None if other is None else inventory.items.get(other)
    if item is None or relative is None or other is None or one == other or not item.alike(relative):
        return
    for here, there in ((one, other), (other, one)):
        known = links.setdefault(here, [])
        if there not in known and len(known) < _MANY_LINKS:
            known.append(there)
