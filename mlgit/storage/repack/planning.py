"""From what is stored to what should be: new bases for the tensors of one group after another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from mlgit.errors import CorruptObjectError
from mlgit.storage.repack.choice import Problem, choose
from mlgit.storage.repack.families import Group
from mlgit.storage.repack.inventory import Inventory, Item
from mlgit.storage.repack.samples import Sampler, Samples

SMALLEST_BYTES = 1024
"""Tensors below this stay as they are: a base costs 32 bytes itself."""
WORTH = 0.01
"""A group is left as it is unless its samples promise to shrink by this share."""


@dataclass(slots=True)
class Change:
    """What becomes of a group.

    Attributes:
        bases: Id -> id of its new base, or None for a whole tensor; those not named stay as they are stored.
        saves: Bytes, about.
    """

    bases: dict[bytes, bytes | None] = field(default_factory=dict)
    saves: int = 0


class Planner:
    """Chooses bases.

    Args:
        inventory: What is stored.
        sampler: Reads samples.
        fixed: Ids of objects that must stay as they are stored.
        depth: How many differences may stand before a value.
    """

    def __init__(self, inventory: Inventory, sampler: Sampler, fixed: Collection[bytes], depth: int) -> None:
        self._inventory = inventory
        self._sampler = sampler
        self._fixed = fixed
        self._depth = depth

    def plan(self, group: Group) -> Change:
        """Choose bases for a group; a group with damage in it stays as it is.

        Raises:
            FileSystemError: The operating system refused.
        """
        items = [self._inventory.items[digest] for digest in group.members]
        first = items[0]
        free = [digest for digest in group.members if digest not in self._fixed]
        if first.entry.kind != "tensor" or first.entry.size < SMALLEST_BYTES or len(items) < 2 or not free:
            return Change()
        if not all(first.alike(item) for item in items):
            return Change()
        try:
            samples = self._sampler.read(items)
        except CorruptObjectError:  # writing names it, or `mlgit fsck` does
            return Change()
        return self._compare(group, items, samples, choose(self._problem(group, items, samples)))

    def _problem(self, group: Group, items: list[Item], samples: Samples) -> Problem:
        place = {digest: number for number, digest in enumerate(group.members)}
        uses = Counter(base for item in items for base in item.bases)
        links = {
            place[digest]: [place[other] for other in relatives if other in place]
            for digest, relatives in group.links.items()
        }
        linked = sorted(links, key=lambda number: -len(links[number]))
        return Problem(
            points=samples.points(),
            whole=samples.bits_alone(),
            fixed={place[one]: self._inventory.depths.get(one, 0) for one in group.members if one in self._fixed},
            links=links,
            favoured=list(dict.fromkeys([*(place[base] for base, _ in uses.most_common()), *linked])),
            depth=self._depth,
        )

    def _compare(self, group: Group, items: list[Item], samples: Samples, chosen: list[int | None]) -> Change:
        """Return the new bases if samples encoded with them are smaller than with the old ones."""
        place = {digest: number for number, digest in enumerate(group.members)}
        before = after = everything = stored = 0
        change = Change()
        for number, item in enumerate(items):
            old = place[item.bases[0]] if item.bases else None
            now = samples.encoded(number, old)
            everything, stored = everything + now, stored + item.stored
            if group.members[number] in self._fixed:
                continue
            new = chosen[number]
            if new == old and len(item.bases) < 2:
                continue
            before, after = before + now, after + samples.encoded(number, new)
            change.bases[group.members[number]] = None if new is None else group.members[new]
        if before - after <= WORTH * everything:
            return Change()
        change.saves = (before - after) * stored // max(1, everything)
        return change
