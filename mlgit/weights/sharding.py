"""Models in several safetensors files, and the index that says which file holds which tensor."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from mlgit.errors import InvalidInputError
from mlgit.fileio import file_system_error
from mlgit.objects.manifest import check_path
from mlgit.weights.header import MAX_TENSORS

INDEX_SUFFIX = ".index.json"
MAX_INDEX_BYTES = 32 * 2**20
"""Longest index, in bytes."""
_SHOWN = 10


def shards(sizes: Mapping[str, int], stem: str, suffix: str, max_shard_bytes: int) -> dict[str, tuple[str, ...]]:
    """Spread tensors over files.

    Args:
        sizes: Name -> bytes, in the order in which the files shall hold them.
        stem: What the files are called before the number: ``model``.
        suffix: And after it: ``.safetensors``.
        max_shard_bytes: Most bytes of tensors in a file; a larger tensor has a file of its own.

    Returns:
        File name -> names of its tensors. One file is ``model.safetensors``; several are
        ``model-00001-of-00003.safetensors`` and so on.
    """
    groups: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if groups[-1] and filled + size > max_shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    if len(groups) == 1:
        return {stem + suffix: tuple(groups[0])}
    return {f"{stem}-{number:05d}-of-{len(groups):05d}{suffix}": tuple(group) for number, group in enumerate(groups, 1)}


def index_bytes(files: Mapping[str, Sequence[str]], total_size: int) -> bytes:
    """Return the index of a sharded model.

    Args:
        files: File name -> names of its tensors.
        total_size: Bytes of all tensors.
    """
    weight_map = {name: file for file, names in files.items() for name in names}
    document = {"metadata": {"total_size": total_size}, "weight_map": weight_map}
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")


def read_index(path: Path) -> dict[str, str]:
    """Read an index.

    Args:
        path: ``model.safetensors.index.json``.

    Returns:
        Name of a tensor -> name of the file that holds it, which lies below the index's own directory.

    Raises:
        InvalidInputError: ``kind="bad-index"``: not such a document, a name twice, a file outside the directory.
        FileSystemError: The operating system refused.
    """
    weight_map = _document(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        _refuse(path, "it has no weight_map")
    if len(weight_map) > MAX_TENSORS:
        _refuse(path, f"its {len(weight_map)} tensors are more than {MAX_TENSORS}")
    for file in set(map(_hashable, weight_map.values())):
        if not isinstance(file, str):
            _refuse(path, "its weight_map has something else than names of files")
        try:
            check_path(file)
        except InvalidInputError as error:
            _refuse(path, error.message, error)
    return weight_map


def check_shards(path: Path, weight_map: Mapping[str, str], names: Callable[[str], Iterable[str]]) -> None:
    """Compare an index with its files: each tensor stands in the file that the index says and in no other.

    Args:
        path: The index, for errors.
        weight_map: Name of a tensor -> file.
        names: File -> names of the tensors it holds.

    Raises:
        InvalidInputError: ``kind="bad-index"``, with the first tensors that are missing or misplaced.
    """
    found = [(name, file) for file in sorted(set(weight_map.values())) for name in names(file)]
    wrong = [
        f"'{name}' is in {file}, not in {weight_map[name]}"
        if name in weight_map
        else f"'{name}' of {file} is not listed"
        for name, file in found
        if weight_map.get(name) != file
    ]
    present = {name for name, _ in found}
    wrong += [f"'{name}' is not in {file}" for name, file in weight_map.items() if name not in present]
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        _refuse(path, f"it does not match its files: {'; '.join(wrong[:_SHOWN])}{more}")


def _document(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_INDEX_BYTES + 1)
    except OSError as error:
        raise file_system_error(error, "read", path) from error
    if len(data) > MAX_INDEX_BYTES:
        _refuse(path, f"it is longer than {MAX_INDEX_BYTES} bytes")
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        _refuse(path, str(error), error)
    if not isinstance(document, dict):
        _refuse(path, "it is not a JSON object")
    return document


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result


def _hashable(value: object) -> object:
    return value if isinstance(value, str) else None


def _refuse(path: Path, reason: str, cause: BaseException | None = None) -> NoReturn:
    raise InvalidInputError(
        f"the index '{path}' cannot be used: {reason}",
        kind="bad-index",
        hint="get the index and all its files again, from one place",
    ) from cause
