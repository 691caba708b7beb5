"""Ids: BLAKE3 digests over a preamble that names the kind of object, then its bytes.

The preamble keeps the kinds apart: no blob can have the id of a commit. A tensor's preamble also names dtype and
shape, so equal bytes of different meaning have different ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import index
from typing import ClassVar, Self

from blake3 import blake3

from mlgit.errors import InvalidInputError
from mlgit.objects.dtypes import MAX_SIZE_BYTES, tensor_size_bytes
from mlgit.objects.encoding import canonical_json

Buffer = bytes | bytearray | memoryview
LENGTH = 64
SHORT = 10
_DIGITS = frozenset("0123456789abcdef")


class ObjectId(str):
    """64 lower-case hexadecimal digits. Subclasses say what they name; the type checker keeps them apart."""

    __slots__ = ()
    kind: ClassVar[str] = "object"

    def __new__(cls, text: str) -> Self:
        """Check ``text`` and return it as an id.

        Raises:
            InvalidInputError: Not 64 lower-case hexadecimal digits.
        """
        if len(text) != LENGTH or not _DIGITS.issuperset(text):
            raise InvalidInputError(
                f"'{text[:80]}' is not the id of a {cls.kind}: 64 hexadecimal digits are needed",
                kind="bad-id",
            )
        return super().__new__(cls, text)

    @classmethod
    def from_digest(cls, digest: bytes) -> Self:
        """Return the id with these 32 bytes."""
        return cls(digest.hex())

    @property
    def digest(self) -> bytes:
        """The 32 bytes of the id."""
        return bytes.fromhex(self)

    @property
    def short(self) -> str:
        """The first digits, for people."""
        return self[:SHORT]


class TensorId(ObjectId):
    """Names a tensor: dtype, shape and bytes."""

    __slots__ = ()
    kind = "tensor"


class BlobId(ObjectId):
    """Names any other file's bytes."""

    __slots__ = ()
    kind = "blob"


class ManifestId(ObjectId):
    """Names one state of a model."""

    __slots__ = ()
    kind = "manifest"


class CommitId(ObjectId):
    """Names a commit."""

    __slots__ = ()
    kind = "commit"


class TagId(ObjectId):
    """Names an annotated tag."""

    __slots__ = ()
    kind = "tag"


class CertificateId(ObjectId):
    """Names the result of a certificate on a commit."""

    __slots__ = ()
    kind = "certificate"


ID_TYPES: dict[str, type[ObjectId]] = {
    id_type.kind: id_type for id_type in (TensorId, BlobId, ManifestId, CommitId, TagId, CertificateId)
}
"""Kind -> type of its ids."""


def preamble(kind: str) -> bytes:
    """Return what is hashed before the bytes of an object that is not a tensor."""
    return f"mlgit {kind} 1\n".encode("ascii")


def tensor_preamble(dtype: str, shape: Sequence[int]) -> bytes:
    """Return what is hashed before a tensor's bytes.

    Raises:
        InvalidInputError: No such dtype, or an impossible shape.
    """
    tensor_size_bytes(dtype, shape)
    return _tensor_preamble(dtype, tuple(map(index, shape)))


@lru_cache(4096)
def _tensor_preamble(dtype: str, shape: tuple[int, ...]) -> bytes:
    return preamble("tensor") + _form(dtype, shape) + b"\n"


def _form(dtype: str, shape: Sequence[int]) -> bytes:
    """Return the canonical JSON of a tensor's form; it is easy to write but for numbers that no tensor has."""
    if all(extent <= MAX_SIZE_BYTES for extent in shape):
        return f'{{"dtype":"{dtype}","shape":[{",".join(map(str, shape))}]}}'.encode("ascii")
    return canonical_json({"dtype": dtype, "shape": list(shape)})


def hasher(start: bytes) -> blake3:
    """Return a BLAKE3 hasher that has seen ``start`` and takes the object's bytes with ``update``."""
    return blake3(start)


def tensor_id(dtype: str, shape: Sequence[int], parts: Iterable[Buffer]) -> TensorId:
    """Return the id of a tensor.

    Args:
        dtype: A safetensors dtype name.
        shape: Extents.
        parts: The little-endian, contiguous bytes, in as many parts as convenient.

    Raises:
        InvalidInputError: No such dtype, an impossible shape, or the wrong number of bytes.
    """
    state = hasher(tensor_preamble(dtype, shape))
    seen = 0
    for part in parts:
        state.update(part)
        seen += memoryview(part).nbytes
    if seen != tensor_size_bytes(dtype, shape):
        raise InvalidInputError(
            f"a tensor {dtype}{list(shape)} has {tensor_size_bytes(dtype, shape)} bytes, not {seen}",
            kind="bad-tensor",
        )
    return TensorId.from_digest(state.digest())


def blob_id(parts: Iterable[Buffer]) -> BlobId:
    """Return the id of a blob, given its bytes in any number of parts."""
    state = hasher(preamble("blob"))
    for part in parts:
        state.update(part)
    return BlobId.from_digest(state.digest())
