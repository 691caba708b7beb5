"""The commit graph: ancestors, merge bases, revisions as text, the lineage of weights, and how to draw it.

Everything reads commits through a function or a small protocol, so nothing here knows files, packs or locks; nothing
here changes a repository. ``lineage`` (which needs networkx) and ``graph`` are imported only by those who use them.
"""

from mlgit.history.ancestry import (
    Order,
    ancestors,
    first_ancestor,
    is_ancestor,
    merge_bases,
    parent_ids,
    reached_among,
    that_reach,
    walk,
)
from mlgit.history.interfaces import GraphSource, HeadLike, ObjectSource, RefSource
from mlgit.history.names import names_by_commit, short_name
from mlgit.history.nodes import Read
from mlgit.history.revision import resolve, resolve_many

__all__ = [
    "GraphSource",
    "HeadLike",
    "ObjectSource",
    "Order",
    "Read",
    "RefSource",
    "ancestors",
    "first_ancestor",
    "is_ancestor",
    "merge_bases",
    "names_by_commit",
    "parent_ids",
    "reached_among",
    "resolve",
    "resolve_many",
    "short_name",
    "that_reach",
    "walk",
]
