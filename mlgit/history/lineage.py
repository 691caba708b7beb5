"""The commit graph as training history: which commits gave their weights to which.

Edges of role ``init``, ``head`` and ``merge`` carry weights; ``base`` edges only order a branch, and a member of an
average with coefficient 0 gave nothing to it. Names of branches play no part anywhere here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import networkx as nx

from mlgit.history.ancestry import Entry, walk
from mlgit.history.nodes import Read
from mlgit.objects import Commit, CommitId, Parent, Role, Stage


def carries_weights(parent: Parent) -> bool:
    """Return whether weights of this parent are part of the commit's weights."""
    return parent.role is not Role.BASE and parent.coefficient != 0


def lineage_graph(read: Read, starts: Iterable[CommitId]) -> nx.MultiDiGraph[CommitId]:
    """Return the commits that can be reached from ``starts`` as a graph.

    Two commits can be joined by several edges: a merge whose branch stood at one of its members has it as ``base`` and
    as ``merge``.

    Args:
        read: Reads one commit.
        starts: The newest commits; included.

    Returns:
        Nodes are ids with the attribute ``commit`` (Commit), newest first. Edges lead from parent to child and have the
        attributes ``role`` (Role), ``coefficient`` (float or None) and ``index`` (int, the parent's place from 0).
    """
    return graph_of(walk(read, starts))


def graph_of(entries: Iterable[Entry]) -> nx.MultiDiGraph[CommitId]:
    """Return some commits as a graph; see ``lineage_graph``.

    Args:
        entries: Pairs of id and commit; their order becomes the order of the nodes.

    Returns:
        Parents that are not among the commits are nodes without the attribute ``commit``, behind the others.
    """
    graph: nx.MultiDiGraph[CommitId] = nx.MultiDiGraph()
    known = list(entries)
    for commit_id, commit in known:
        graph.add_node(commit_id, commit=commit)
    for commit_id, commit in known:
        for index, parent in enumerate(commit.parents):
            graph.add_edge(parent.id, commit_id, role=parent.role, coefficient=parent.coefficient, index=index)
    return graph


def parents_in(graph: nx.MultiDiGraph[CommitId], commit: CommitId) -> list[CommitId]:
    """Return a commit's parents in their order, each once."""
    found = [(int(attributes["index"]), parent) for parent, _, attributes in graph.in_edges(commit, data=True)]
    return list(dict.fromkeys(parent for _, parent in sorted(found)))


def weight_ancestors(read: Read, commit: CommitId) -> Iterator[Entry]:
    """Yield the commits whose weights are part of a commit's weights, lazily.

    Args:
        read: Reads one commit; each at most once.
        commit: Where to begin; it comes first.

    Yields:
        Pairs of id and commit, each once, by the number of edges that lead there, then in the order of the parents.
    """
    seen = {commit}
    queue = deque([commit])
    while queue:
        commit_id = queue.popleft()
        entry = read(commit_id)
        yield commit_id, entry
        for parent in entry.parents:
            if carries_weights(parent) and parent.id not in seen:
                seen.add(parent.id)
                queue.append(parent.id)


def trained_on(read: Read, commit: CommitId, task: str) -> CommitId | None:
    """Return the nearest commit trained on a task whose weights are part of this commit's weights.

    This decides whether a commit may serve as auxiliary: weights that saw the target task may not. A merge is not
    counted as trained on the task by whose data its members were selected; its members are looked at.

    Args:
        read: Reads one commit.
        commit: Where to begin; it is looked at too.
        task: The task's digest, which finds it under any name, or its name, which finds it with any data.

    Returns:
        The commit, or None when the task took no part.
    """
    return next((one for one, entry in weight_ancestors(read, commit) if _trained_on(entry, task)), None)


def _trained_on(commit: Commit, task: str) -> bool:
    return (
        commit.stage is not Stage.MERGE and commit.task is not None and task in {commit.task.digest, commit.task.name}
    )


def nearest(read: Read, commit: CommitId, stage: Stage) -> CommitId | None:
    """Return the nearest commit of a stage whose weights are part of this commit's weights.

    Args:
        read: Reads one commit.
        commit: Where to begin; it is looked at too.
        stage: ``Stage.PRETRAIN``, for example.

    Returns:
        The commit with the fewest edges in between, the first parent's side first; None when there is none.
    """
    return next((one for one, entry in weight_ancestors(read, commit) if entry.stage is stage), None)
