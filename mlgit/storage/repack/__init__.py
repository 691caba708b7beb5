"""Writing packs anew: many small ones become few large ones, and tensors become differences to better bases.

Every object stays what it is, only how it is stored changes. Knows nothing of commits and models: what belongs
together is told from outside as families. ``docs/decisions/0012-repacking.md`` tells why nothing is lost.
"""

from __future__ import annotations

from mlgit.storage.repack.families import Family
from mlgit.storage.repack.output import UnsoundPackError
from mlgit.storage.repack.plan import Plan
from mlgit.storage.repack.repacker import NewPacks, Repacker

__all__ = ["Family", "NewPacks", "Plan", "Repacker", "UnsoundPackError"]
