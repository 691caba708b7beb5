"""Writing catalogues: entries of new packs, merged with those of smaller files, in order and in bounded memory."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from mlgit.fileio import file_system_error, replacing
from mlgit.storage.catalogue import (
    BUCKET,
    FOLDER,
    HEADER,
    MAGIC,
    MAX_BITS,
    PREFIX,
    SUFFIX,
    VERSION,
    Catalogue,
    DamagedCatalogueError,
    bucket_checksum,
)
from mlgit.storage.directories import make_directories
from mlgit.storage.owner import INCOMING, temporary_name
from mlgit.storage.pack import Pack

ENTRIES_PER_BUCKET = 256
GROWTH = 4
"""A file is merged into a new one that would have a quarter of its entries or more."""
_PART_ENTRIES = 1 << 20
"""About how many entries are sorted at once."""
_LARGE = 1 << 16
_ROW = np.dtype([("id", ">u8", 4), ("pack", "<u4")])
_OBJECT = np.dtype({"names": ["id"], "formats": [(">u8", 4)], "offsets": [0], "itemsize": 64})

Rows = npt.NDArray[Any]


@dataclass(frozen=True)
class _Source:
    """Entries in order of their ids.

    Attributes:
        rows: Of ``_ROW``, or of ``_OBJECT`` for a single pack.
        packs: Number in the new file -> by number in ``rows``; for a single pack the one number. -1: left out.
    """

    rows: Rows
    packs: npt.NDArray[np.int64]

    def between(self, low: int, high: int) -> Rows:
        """Return the entries whose first 8 bytes are in a range, with the new numbers of packs."""
        first = self.rows["id"][:, 0]
        begin, end = (bisect_left(range(len(first)), bound, key=lambda at: int(first[at])) for bound in (low, high))
        part = self.rows[begin:end]
        numbers = self.packs[part["pack"]] if "pack" in (part.dtype.names or ()) else np.repeat(self.packs, len(part))
        wanted = numbers >= 0
        out = np.empty(int(wanted.sum()), _ROW)
        out["id"], out["pack"] = part["id"][wanted], numbers[wanted]
        return out


def update(root: Path, known: Collection[Catalogue], new: Iterable[Pack], existing: Collection[str]) -> None:
    """Enter packs into the catalogues of a folder, and drop what catalogues say of packs that do not exist any more.

    Args:
        root: The folder of packs.
        known: Its catalogues.
        new: Packs that are in none of them.
        existing: Names of all packs.

    Raises:
        FileSystemError: The operating system refused.
    """
    added = _Added()
    for pack in new:
        added.add(pack)
    merged = _to_merge(known, added.entry_count, existing)
    names = {name for catalogue in merged for name in catalogue.packs if name in existing}
    order = sorted(names.union(added.names))
    if order:
        try:
            written = _write(root, order, _sources(merged, added, order))
        except DamagedCatalogueError as damaged:  # without it next time
            _unlink(root / FOLDER / str(damaged))
            return
        merged = [catalogue for catalogue in merged if catalogue.name != written]
    for catalogue in merged:
        _unlink(root / FOLDER / catalogue.name)


class _Added:
    """The entries of new packs; of small ones a copy, so that not all of them are open at once."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.large: dict[str, Pack] = {}
        self.small: list[Rows] = []
        self.entry_count = 0

    def add(self, pack: Pack) -> None:
        """Take in a pack."""
        self.entry_count += pack.object_count
        if pack.object_count >= _LARGE:
            self.large[pack.path.name] = pack
        else:
            table = np.frombuffer(pack.object_table, _OBJECT)
            rows = np.empty(len(table), _ROW)
            rows["id"], rows["pack"] = table["id"], len(self.names)
            self.small.append(rows)
        self.names.append(pack.path.name)


def is_worth_pruning(catalogue: Catalogue, existing: Collection[str]) -> bool:
    """Return whether more than half of the packs a catalogue covers do not exist any more."""
    alive = sum(name in existing for name in catalogue.packs)
    return 2 * alive < len(catalogue.packs)


def _to_merge(known: Collection[Catalogue], entries: int, existing: Collection[str]) -> list[Catalogue]:
    chosen = []
    for catalogue in sorted(known, key=lambda each: each.entry_count):
        if catalogue.entry_count <= GROWTH * entries or is_worth_pruning(catalogue, existing):
            chosen.append(catalogue)
            entries += catalogue.entry_count
    return chosen


def _unlink(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _sources(merged: Sequence[Catalogue], added: _Added, order: Sequence[str]) -> list[_Source]:
    numbers = {name: number for number, name in enumerate(order)}
    found = []
    for catalogue in merged:
        rows = np.frombuffer(catalogue.entries(), _ROW)
        places = np.array([numbers.get(name, -1) for name in catalogue.packs], np.int64)
        if len(rows) and int(rows["pack"].max()) >= len(places):
            raise DamagedCatalogueError(catalogue.name)
        found.append(_Source(rows, places))
    for name, pack in added.large.items():
        found.append(_Source(np.frombuffer(pack.object_table, _OBJECT), np.array([numbers[name]], np.int64)))
    if added.small:
        places = np.array([numbers[name] for name in added.names], np.int64)
        found.append(_Source(_ordered(np.concatenate(added.small)), places))
    return found


def _ordered(rows: Rows) -> Rows:
    """Return rows sorted by id, then pack, each once."""
    rows = rows.astype(_ROW, copy=False)  # joining arrays may have changed the order of bytes
    first = rows["id"][:, 0].astype(np.uint64)
    order = np.argsort(first, kind="stable")
    rows, first = rows[order], first[order]
    same = first[1:] == first[:-1]
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    if len(tied):
        some = rows[tied]
        ids = some["id"]
        rows[tied] = some[np.lexsort((some["pack"], ids[:, 3], ids[:, 2], ids[:, 1], ids[:, 0]))]
        ids, packs = rows["id"], rows["pack"]
        again = (ids[1:] == ids[:-1]).all(axis=1) & (packs[1:] == packs[:-1])
        rows = rows[~np.append(False, again)]
    return rows


def _parts(sources: Sequence[_Source], total: int, bits: int) -> Iterator[list[Rows]]:
    """Yield all entries in order and by bucket, some buckets at a time."""
    parts = min(256, 1 << (total // _PART_ENTRIES).bit_length())
    step, width = (1 << 64) // parts, 1 << 64 - bits
    for low in range(0, 1 << 64, step):
        rows = _ordered(np.concatenate([source.between(low, low + step) for source in sources]))
        inner = np.array(range(low + width, low + step, width), np.uint64)
        yield np.split(rows, np.searchsorted(rows["id"][:, 0].astype(np.uint64), inner))


def _write(root: Path, order: Sequence[str], sources: Sequence[_Source]) -> str:
    """Write a file and return its name."""
    total = sum(len(source.rows) for source in sources)
    bits = min(MAX_BITS, max(8, (total // ENTRIES_PER_BUCKET).bit_length()))
    names = b"".join(bytes.fromhex(name.removeprefix(PREFIX).removesuffix(SUFFIX)) for name in order)
    seed = blake3(names).digest()
    name = blake3(seed + total.to_bytes(8, "little")).hexdigest()[:32]
    entries_at = HEADER.size + len(names) + 32 + (BUCKET.size << bits)
    buckets = bytearray()
    count = 0
    folder = root / FOLDER
    try:
        make_directories(folder, root)
    except OSError as error:
        raise file_system_error(error, "create", folder) from error
    with replacing(folder / name, durable=False, temporary_name=temporary_name(INCOMING)) as stream:
        stream.seek(entries_at)
        for number, rows in enumerate(chain.from_iterable(_parts(sources, total, bits))):
            data = rows.tobytes()
            stream.write(data)
            buckets += BUCKET.pack(count, bucket_checksum(seed, number, count, count + len(rows), data))
            count += len(rows)
        head = HEADER.pack(MAGIC, VERSION, bits, len(order), count) + names
        stream.seek(0)
        stream.write(head + blake3(head).digest() + buckets)
    return name
