"""The shape of the history in one file: who descends from whom, and when, without reading a commit.

A cache: it can be deleted at any time, one that is damaged is not used, and what is newer than it is read from the
commits themselves. It is mapped and bisected, never parsed. ``docs/format-commit-graph.md`` is the specification.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from mmap import ACCESS_READ, mmap
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from blake3 import blake3

from mlgit.errors import CorruptObjectError, NotFoundError
from mlgit.fileio import replacing
from mlgit.objects import Commit, CommitId
from mlgit.storage.owner import INCOMING, temporary_name

NAME = "commit-graph"
_MAGIC = b"\x89MLGCG\r\n"
_VERSION = 1
_HEADER = Struct("<8sIIQQ")
_ID_BYTES = 32
_DIGEST_BYTES = 32


class Shape(NamedTuple):
    """What the file keeps of a commit.

    Attributes:
        seconds: Its time, since 1970-01-01T00:00:00Z.
        parents: The 32 bytes of its parents' ids, in order, each once.
    """

    seconds: int
    parents: tuple[bytes, ...]


def shape_of(commit: Commit) -> Shape:
    """Return what the file keeps of a commit."""
    return Shape(commit.time.seconds, tuple(dict.fromkeys(parent.id.digest for parent in commit.parents)))


class CommitGraph:
    """A commit-graph file, mapped. Commits have numbers from 0, in the order of their ids; ancestors are all there.

    Args:
        data: The whole file, checked by ``load``.
    """

    def __init__(self, data: mmap | bytes) -> None:
        view = memoryview(data)
        counts: tuple[int, int] = _HEADER.unpack_from(view)[3:]
        self._count, edges = counts
        parts = _cut(view, self._count, edges)
        self._ids = parts[0]
        self._times, self._dates = parts[1].cast("q"), parts[2].cast("q")
        self._levels, self._starts, self._edges = (part.cast("I") for part in parts[3:])

    @classmethod
    def load(cls, path: Path) -> CommitGraph | None:
        """Map a file; None when there is none, or none that can be used."""
        try:
            with path.open("rb") as stream:
                data = mmap(stream.fileno(), 0, access=ACCESS_READ)
        except (OSError, ValueError):
            return None
        return None if sys.byteorder != "little" or damage(data) else cls(data)

    def __len__(self) -> int:
        return self._count

    def find(self, commit_id: CommitId) -> int | None:
        """Return the number of a commit, or None."""
        digest, ids = commit_id.digest, self._ids
        at = bisect_left(range(self._count), digest, key=lambda number: bytes(ids[32 * number : 32 * number + 32]))
        return at if at < self._count and self.digest(at) == digest else None

    def digest(self, number: int) -> bytes:
        """Return the 32 bytes of a commit's id."""
        return bytes(self._ids[_ID_BYTES * number : _ID_BYTES * (number + 1)])

    def id(self, number: int) -> CommitId:
        """Return a commit's id."""
        return CommitId.from_digest(self.digest(number))

    def seconds(self, number: int) -> int:
        """Return a commit's time, since 1970-01-01T00:00:00Z."""
        return self._times[number]

    def date(self, number: int) -> int:
        """Return a commit's time, or what is later: one second after the date of a parent."""
        return self._dates[number]

    def level(self, number: int) -> int:
        """Return one more than the largest level of a commit's parents; 1 without parents."""
        return self._levels[number]

    def parents(self, number: int) -> list[int]:
        """Return the numbers of a commit's parents, in order; what a forged file says may be no number of a commit."""
        return self._edges[self._starts[number] : self._starts[number + 1]].tolist()

    def shape(self, number: int) -> Shape:
        """Return what is known of a commit.

        Raises:
            IndexError: A parent is no number of a commit.
        """
        parents = self.parents(number)
        if any(parent >= self._count for parent in parents):
            raise IndexError(f"commit {number} has a parent that is not there")
        return Shape(self._times[number], tuple(map(self.digest, parents)))

    def shapes(self) -> dict[bytes, Shape]:
        """Return all commits by id; raises IndexError as ``shape``."""
        return {self.digest(number): self.shape(number) for number in range(self._count)}


def _cut(view: memoryview, commits: int, edges: int) -> list[memoryview]:
    """Return ids, times, dates, levels, starts of edges, and edges."""
    parts, at = [], _HEADER.size
    for length in (_ID_BYTES * commits, 8 * commits, 8 * commits, 4 * commits, 4 * (commits + 1), 4 * edges):
        parts.append(view[at : at + length])
        at += length
    return parts


def damage(data: mmap | bytes) -> str | None:
    """Return what is wrong with the bytes of a file, or None."""
    if len(data) < _HEADER.size:
        return "it is cut short"
    magic, version, zero, commits, edges = _HEADER.unpack_from(data)
    if (magic, zero) != (_MAGIC, 0):
        return "it does not begin like a commit-graph"
    if version != _VERSION:
        return f"it has version {version}, this mlgit reads version {_VERSION}"
    end = _HEADER.size + (_ID_BYTES + 24) * commits + 4 + 4 * edges
    if len(data) != end + _DIGEST_BYTES:
        return f"it has {len(data)} bytes, its counts say {end + _DIGEST_BYTES}"
    with memoryview(data) as view, view[:end] as covered:
        if blake3(covered).digest() != data[end:]:
            return "it does not match its digest"
    return None


def build(shapes: Mapping[bytes, Shape]) -> bytes:
    """Return the bytes of a file.

    Args:
        shapes: Commits by id. Those of which an ancestor is missing are left out.
    """
    order = _parents_first(shapes)
    numbers = {digest: number for number, digest in enumerate(sorted(order))}
    count = len(numbers)
    times, dates = array("q", bytes(8 * count)), array("q", bytes(8 * count))
    levels = array("I", bytes(4 * count))
    for digest in order:
        number, shape = numbers[digest], shapes[digest]
        parents = [numbers[parent] for parent in shape.parents]
        times[number] = shape.seconds
        dates[number] = max([shape.seconds, *(dates[parent] + 1 for parent in parents)])
        levels[number] = 1 + max((levels[parent] for parent in parents), default=0)
    starts, edges = array("I", [0]), array("I")
    for digest in numbers:
        edges.extend(numbers[parent] for parent in shapes[digest].parents)
        starts.append(len(edges))
    columns = (times, dates, levels, starts, edges)
    if sys.byteorder != "little":
        for column in columns:
            column.byteswap()
    header = _HEADER.pack(_MAGIC, _VERSION, 0, count, len(edges))
    data = b"".join((header, *numbers, *(column.tobytes() for column in columns)))
    return data + blake3(data).digest()


def _parents_first(shapes: Mapping[bytes, Shape]) -> list[bytes]:
    """Return the commits all of whose ancestors are there, each after its parents."""
    waiting: dict[bytes, int] = {}
    children: dict[bytes, list[bytes]] = {}
    ready = []
    for digest, shape in shapes.items():
        waiting[digest] = len(shape.parents)
        for parent in shape.parents:
            children.setdefault(parent, []).append(digest)
        if not shape.parents:
            ready.append(digest)
    for digest in ready:  # grows meanwhile
        for child in children.get(digest, ()):
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)
    return ready


def write(path: Path, data: bytes) -> None:
    """Replace the file; not synced, since nothing is lost with it.

    Raises:
        FileSystemError: The operating system refused.
    """
    with replacing(path, durable=False, temporary_name=temporary_name(INCOMING)) as stream:
        stream.write(data)


def grown(old: CommitGraph | None, shape: Callable[[CommitId], Shape], starts: Iterable[CommitId]) -> bytes | None:
    """Return the bytes of a file that covers more commits and all their ancestors.

    Args:
        old: The file so far; what it covers is not read.
        shape: Returns what the file keeps of one commit.
        starts: Commits to cover.

    Returns:
        None when there is nothing new, or when ``old`` contradicts itself.

    Raises:
        NotFoundError, CorruptObjectError: As ``shape``.
    """
    new: dict[bytes, Shape] = {}
    pending = list(starts)
    while pending:
        commit_id = pending.pop()
        if commit_id.digest not in new and (old is None or old.find(commit_id) is None):
            found = new[commit_id.digest] = shape(commit_id)
            pending += map(CommitId.from_digest, found.parents)
    if not new:
        return None
    try:
        return build((old.shapes() if old is not None else {}) | new)
    except IndexError:
        return None


def check(path: Path, read: Callable[[CommitId], Commit]) -> Iterator[str]:
    """Compare a file with the commits and yield what is wrong; commits that are gone, or damaged, do not count.

    Args:
        path: The file; may be missing.
        read: Reads one commit.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        yield f"commit-graph '{path}' cannot be read: {error.strerror}"
        return
    reason = damage(data)
    if reason is None and sys.byteorder == "little":
        reason = _contradiction(data, read)
    if reason:
        yield f"commit-graph '{path}' is not to be trusted: {reason}; it can be deleted at any time"


def _contradiction(data: bytes, read: Callable[[CommitId], Commit]) -> str | None:
    try:
        shapes = CommitGraph(data).shapes()
    except IndexError as error:
        return str(error)
    for digest, shape in shapes.items():
        try:
            true = shape_of(read(CommitId.from_digest(digest)))
        except (NotFoundError, CorruptObjectError):
            continue
        if true != shape:
            return f"it says otherwise about {digest.hex()[:10]} than the commit itself"
    return None if build(shapes) == data else "its numbers do not follow from its commits"
