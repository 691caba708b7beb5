"""A model directory in the manner of Hugging Face: which of its files hold the weights, and which belong to them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlgit.errors import InvalidInputError
from mlgit.objects.manifest import check_path
from mlgit.weights.pickles import SUFFIXES as PICKLES
from mlgit.weights.sharding import INDEX_SUFFIX, read_index

SAFETENSORS = ".safetensors"
MAX_SMALL_FILE_BYTES = 64 * 2**20
"""Larger files beside the weights are left out."""
MAX_FILES = 10_000
"""Most files in a directory that is read."""

_STEMS = ("model", "adapter_model", "pytorch_model", "diffusion_pytorch_model")
_WEIGHTS = (SAFETENSORS, *PICKLES, ".pkl", ".pickle", ".h5", ".msgpack", ".onnx", ".gguf", ".ot", ".npz", INDEX_SUFFIX)


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of a model directory, by what they are; paths are relative, with ``/``.

    Attributes:
        weights: The files with the weights, sorted.
        index: The index that names them, or None.
        weight_map: What the index says, name of a tensor -> file; empty without an index.
        small: Configuration, tokenizer, model card: sorted.
        skipped: Weights in other formats, and files larger than ``MAX_SMALL_FILE_BYTES``; sorted.
        locations: Where each of these files is.
    """

    weights: tuple[str, ...]
    index: str | None
    weight_map: Mapping[str, str]
    small: tuple[str, ...]
    skipped: tuple[str, ...]
    locations: Mapping[str, Path]

    @property
    def pickled(self) -> bool:
        """Whether the weights are in pickles."""
        return not self.weights[0].endswith(SAFETENSORS)


def read_layout(root: Path) -> Layout:
    """Look at a directory; hidden files and folders are passed over, and no file but an index is read.

    Args:
        root: The directory. Links to files are followed inside it, and to the blobs of a hub's cache.

    Raises:
        InvalidInputError: ``kind="no-weights"``: none, or several and no way to choose. ``kind="bad-index"``: an index
            that cannot be used, or names files that are missing. ``kind="bad-path"``: more than ``MAX_FILES`` files.
        OSError: The operating system refused.
    """
    locations = dict(_walk(root))
    chosen = _choose(root, sorted(path for path in locations if "/" not in path))
    index: str | None = None
    weight_map: dict[str, str] = {}
    weights: tuple[str, ...] = (chosen,)
    if chosen.endswith(INDEX_SUFFIX):
        index, weight_map = chosen, read_index(root / chosen)
        weights = tuple(sorted(set(weight_map.values())))
        _check_files(root / chosen, weights, locations)
    others = sorted(set(locations).difference(weights, [chosen]))
    small = tuple(path for path in others if _is_small(path, locations[path]))
    skipped = tuple(path for path in others if path not in small)
    return Layout(weights, index, weight_map, small, skipped, locations)


def _choose(root: Path, names: list[str]) -> str:
    """Return the file or index with the weights: safetensors before pickles, known names before others."""
    for suffix in (SAFETENSORS, SAFETENSORS + INDEX_SUFFIX, ".bin", ".bin" + INDEX_SUFFIX):
        for stem in _STEMS:
            if stem + suffix in names:
                return stem + suffix
    for suffixes in ((SAFETENSORS + INDEX_SUFFIX,), (SAFETENSORS,), PICKLES):
        found = [name for name in names if name.endswith(suffixes)]
        if len(found) == 1:
            return found[0]
        if found:
            raise InvalidInputError(
                f"'{root}' holds several models: {', '.join(found[:10])}",
                kind="no-weights",
                hint=f"name the file, as in `mlgit import {root / found[0]}`",
            )
    raise InvalidInputError(
        f"'{root}' holds no weights",
        kind="no-weights",
        hint=f"weights are files that end in {', '.join((SAFETENSORS, *PICKLES))}",
    )


def _check_files(index: Path, weights: tuple[str, ...], locations: Mapping[str, Path]) -> None:
    missing = [file for file in weights if file not in locations]
    if missing:
        raise InvalidInputError(
            f"of the {len(weights)} files that '{index}' names, {len(missing)} are missing: {', '.join(missing[:10])}",
            kind="bad-index",
            hint="get the missing files from where the others came",
        )
    suffixes = (SAFETENSORS,) if index.name.endswith(SAFETENSORS + INDEX_SUFFIX) else PICKLES
    foreign = [file for file in weights if not file.endswith(suffixes)]
    if foreign:
        raise InvalidInputError(f"the index '{index}' names files of another format: {foreign[0]}", kind="bad-index")


def _is_small(path: str, location: Path) -> bool:
    return not path.endswith(_WEIGHTS) and location.stat().st_size <= MAX_SMALL_FILE_BYTES


def _raise(error: OSError) -> None:
    raise error


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield relative path and place of every plain file that is not hidden."""
    resolved = root.resolve()
    allowed = [resolved]
    if resolved.parent.name == "snapshots":  # the cache of a hub: a snapshot's files are links to its blobs
        allowed.append(resolved.parent.parent / "blobs")
    count = 0
    for folder, folders, files in os.walk(root, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        for name in sorted(files):
            location = Path(folder, name)
            target = Path(os.path.realpath(location))  # unlike resolve(), it does not mind loops
            inside = any(target.is_relative_to(place) for place in allowed)
            if name.startswith(".") or not inside or not target.is_file():
                continue
            count += 1
            if count > MAX_FILES:
                raise InvalidInputError(f"'{root}' holds more than {MAX_FILES} files", kind="bad-path")
            path = location.relative_to(root).as_posix()
            check_path(path)
            yield path, location
