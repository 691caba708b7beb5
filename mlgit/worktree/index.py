"""The index: how the tracked files looked when they last equalled a manifest, so that clean ones are not read."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from mlgit.errors import CorruptObjectError, FileSystemError, InvalidInputError
from mlgit.fileio import read_file, write_file
from mlgit.objects import ManifestId
from mlgit.objects.encoding import Fields, parse_json
from mlgit.repository import Repository
from mlgit.storage.sealed import seal, unseal
from mlgit.worktree.scan import Stat

FILE = "index.json"
RACY_NS = 50_000_000
"""Files changed this shortly before the index was written may change again within one tick of the clock."""


@dataclass(frozen=True, slots=True)
class Index:
    """A cache; losing it costs time, never data.

    Attributes:
        manifest: The state the files had, or None when unknown.
        files: Relative path -> state then.
        written_ns: When.
    """

    manifest: ManifestId | None = None
    files: Mapping[str, Stat] = field(default_factory=dict)
    written_ns: int = 0

    def unchanged(self, path: str, now: Stat) -> bool:
        """Say whether the file certainly has the content it had."""
        return self.files.get(path) == now and max(now.mtime_ns, now.ctime_ns) < self.written_ns - RACY_NS


def read_index(repository: Repository) -> Index:
    """Return the index; an unreadable one counts as empty."""
    try:
        fields = parse_json(unseal(read_file(repository.folder / FILE)), "the index")
        files = fields.fields("files")
        return Index(
            ManifestId(fields.text("manifest")),
            {path: _stat(files.fields(path)) for path in files.values},
            fields.integer("written_ns"),
        )
    except (FileNotFoundError, FileSystemError, CorruptObjectError, InvalidInputError):
        return Index()


def write_index(repository: Repository, manifest: ManifestId, files: Mapping[str, Stat]) -> None:
    """Remember that ``files`` equal ``manifest``; where that cannot be written, what was remembered before stays."""
    document = {
        "manifest": manifest,
        "files": {path: asdict(state) for path, state in files.items()},
        "written_ns": time.time_ns(),
    }
    with suppress(FileSystemError):
        write_file(repository.folder / FILE, seal(json.dumps(document).encode("ascii")), durable=False)


def _stat(fields: Fields) -> Stat:
    return Stat(
        fields.integer("size_bytes"), fields.integer("mtime_ns"), fields.integer("ctime_ns"), fields.integer("inode")
    )
