"""What a repository consists of: tensors, blobs, manifests, commits, tags and certificate results.

Values only: frozen, with one canonical encoding and one id each. Nothing here reads a file, and nothing knows where
objects are kept. ``docs/format.md`` is the specification.
"""

from typing import TYPE_CHECKING

from mlgit.objects.commit import Commit, Identity, Parent, Role, Stage, TaskRef, Timestamp
from mlgit.objects.dtypes import BITS, tensor_size_bytes
from mlgit.objects.encoding import JsonValue, canonical_json
from mlgit.objects.ids import (
    BlobId,
    CertificateId,
    CommitId,
    ManifestId,
    ObjectId,
    TagId,
    TensorId,
    blob_id,
    hasher,
    preamble,
    tensor_id,
    tensor_preamble,
)
from mlgit.objects.record import Record, decode_record, record_type

if TYPE_CHECKING:
    from mlgit.objects.certificate import CertificateResult, CheckResult
    from mlgit.objects.manifest import BlobFile, Manifest, TensorEntry, TensorFile
    from mlgit.objects.tag import Tag

__all__ = [
    "BITS",
    "BlobFile",
    "BlobId",
    "CertificateId",
    "CertificateResult",
    "CheckResult",
    "Commit",
    "CommitId",
    "Identity",
    "JsonValue",
    "Manifest",
    "ManifestId",
    "ObjectId",
    "Parent",
    "Record",
    "Role",
    "Stage",
    "Tag",
    "TagId",
    "TaskRef",
    "TensorEntry",
    "TensorFile",
    "TensorId",
    "Timestamp",
    "blob_id",
    "canonical_json",
    "decode_record",
    "hasher",
    "preamble",
    "record_type",
    "tensor_id",
    "tensor_preamble",
    "tensor_size_bytes",
]

_ON_DEMAND = {
    "BlobFile": "manifest",
    "CertificateResult": "certificate",
    "CheckResult": "certificate",
    "Manifest": "manifest",
    "Tag": "tag",
    "TensorEntry": "manifest",
    "TensorFile": "manifest",
}
"""Name -> module: reading the history needs commits alone, and the others take longer to import."""


def __getattr__(name: str) -> object:
    """Import what is not always needed when it is used."""
    if name in _ON_DEMAND:
        from importlib import import_module  # noqa: PLC0415 - as above

        return getattr(import_module(f"{__name__}.{_ON_DEMAND[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
