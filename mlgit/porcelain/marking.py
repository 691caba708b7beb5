"""Following names to everything they lead to, in little memory: for collections among millions of objects."""

from __future__ import annotations

import json

from mlgit.objects import BlobFile, CertificateId, Commit, CommitId, Manifest, ManifestId, ObjectId, TagId
from mlgit.porcelain.reachable import Follower
from mlgit.repository import Repository
from mlgit.storage.commit_graph import Shape, shape_of
from mlgit.storage.marks import ID_BYTES, Marks
from mlgit.storage.pack_format import MAX_RECORD_BYTES


class Marking(Follower):
    """Marks what was reached.

    Tensors and blobs, of which there are most, are put into ``marks`` alone, where each takes 8 bytes. The
    commit-graph file is not relied on: every commit, manifest, tag and certificate result is read.

    Args:
        repository: Where.
        marks: Takes everything that is reached.
    """

    def __init__(self, repository: Repository, marks: Marks) -> None:
        super().__init__(repository)
        self._marks = marks
        self._seen: set[bytes] = set()  # records
        self.shapes: dict[bytes, Shape] = {}
        """The commits that were reached."""

    def _knows(self, object_id: ObjectId) -> bool:
        return object_id.digest in self._seen

    def _keep(self, object_id: ObjectId) -> None:
        self._marks.add(object_id.digest)
        if isinstance(object_id, (CommitId, ManifestId, TagId, CertificateId)):
            self._seen.add(object_id.digest)

    def _commit_needs(self, commit_id: CommitId, commit: Commit) -> list[ObjectId]:
        self.shapes[commit_id.digest] = shape_of(commit)
        return super()._commit_needs(commit_id, commit)

    def _manifest_needs(self, manifest_id: ManifestId) -> list[ObjectId]:
        """Mark what a manifest refers to, without an object for each."""
        objects = self._repository.objects
        if objects.size(manifest_id) > MAX_RECORD_BYTES:
            objects.read_record(manifest_id)  # says what is wrong
        self._marks.add(content_of(objects.read(manifest_id)))
        return []


def content_of(data: bytes) -> bytes:
    """Return the ids of the tensors and blobs that a manifest refers to, 32 bytes each, one after another.

    Args:
        data: The manifest, canonical JSON.

    Raises:
        CorruptObjectError: It is none.
    """
    ids = _ids_in(data)
    if ids is None:  # let the strict reader say what is wrong
        manifest = Manifest.decode(data)
        files = [file.id if isinstance(file, BlobFile) else file.header for file in manifest.files]
        ids = [*(entry.id for entry in manifest.tensors.values()), *files]
    return bytes.fromhex("".join(ids))


def _ids_in(data: bytes) -> list[str] | None:
    """Return the ids in a plain manifest, several times as fast as reading it; None for anything unusual."""
    try:
        manifest = json.loads(data)
        tensors = [entry["id"] for entry in manifest["tensors"].values()]
        ids = tensors + [file["header"] if "header" in file else file["blob"] for file in manifest["files"]]
        is_plain = (manifest["type"], manifest["version"]) == ("manifest", 1) and {len(one) for one in ids} <= {64}
        is_plain &= len(bytes.fromhex("".join(ids))) == ID_BYTES * len(ids)  # no blanks
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    # quotation marks inside a name are escaped, so this counts keys; a key that stands twice is unusual
    return ids if is_plain and data.count(b'"id":"') == len(tensors) else None
