"""Writing weights for other tools: a safetensors file, a directory in the manner of Hugging Face, or a ``.pt`` file."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open

from mlgit.errors import AlreadyExistsError, InvalidInputError, did_you_mean
from mlgit.fileio import file_system_error, replacing, sync_directory, write_file
from mlgit.objects.dtypes import tensor_size_bytes
from mlgit.objects.manifest import check_path
from mlgit.storage.owner import remove_abandoned, temporary_name
from mlgit.weights.forms import TensorLike
from mlgit.weights.header import build_header
from mlgit.weights.sharding import INDEX_SUFFIX, index_bytes, shards
from mlgit.weights.stored import tensor_bytes
from mlgit.weights.types import Weights, forms

Format = Literal["safetensors", "huggingface", "pt"]
FORMATS: tuple[Format, ...] = ("safetensors", "huggingface", "pt")
DEFAULT_SHARD_BYTES = 5 * 10**9
"""Most bytes of tensors per file of a Hugging Face directory, as in its own tools."""

_METADATA = {"format": "pt"}  # Hugging Face's loaders insist on it
_MODEL_FILE = re.compile(r"model(-[0-9]{5}-of-[0-9]{5})?\.safetensors(\.index\.json)?")


def export(
    weights: Weights,
    destination: Path,
    file_format: Format,
    *,
    max_shard_bytes: int = DEFAULT_SHARD_BYTES,
    files: Mapping[str, bytes] = MappingProxyType({}),
    force: bool = False,
) -> tuple[Path, ...]:
    """Write weights to a place outside the repository; a crash leaves what was there, or all of the new.

    Args:
        weights: What to write. Tensor by tensor, except for ``"pt"``, which needs all of them in memory.
        destination: A file, or for ``"huggingface"`` a directory; the folder it stands in must exist.
        file_format: ``"safetensors"``: one file. ``"huggingface"``: ``model.safetensors``, or shards with an index.
            ``"pt"``: a state dict as ``torch.save`` writes it.
        max_shard_bytes: Most bytes of tensors per file of ``"huggingface"``; a larger tensor has its own file.
        files: Other files of a ``"huggingface"`` directory: relative path -> content.
        force: Replace an existing file. In an existing directory, files are replaced one by one, the model's
            other files are removed, and everything else stays.

    Returns:
        The files that were written, sorted.

    Raises:
        AlreadyExistsError: ``destination`` exists and ``force`` is not set, or it is of the other kind.
        InvalidInputError: No such format, a tensor that cannot be written, a bad path in ``files``.
        FileSystemError: The operating system refused; nothing was changed.
    """
    if file_format not in FORMATS:
        raise InvalidInputError(
            f"no export format is named '{file_format}'", kind="unknown-format", hint=did_you_mean(file_format, FORMATS)
        )
    _check_destination(destination, file_format == "huggingface", force)
    if file_format == "huggingface":
        return _export_directory(weights, destination, max_shard_bytes, files)
    if file_format == "safetensors":
        _write_safetensors(weights, forms(weights), destination)
    else:
        _write_pt(weights, destination)
    return (destination,)


def _check_destination(destination: Path, directory: bool, force: bool) -> None:
    if not os.path.lexists(destination):
        return
    if destination.is_dir() != directory:
        what = "is a directory, not a file" if destination.is_dir() else "is a file, not a directory"
        raise AlreadyExistsError(f"'{destination}' {what}", kind="destination-exists", hint="choose another name")
    if not force:
        raise AlreadyExistsError(
            f"'{destination}' exists already", kind="destination-exists", hint="choose another name, or use `--force`"
        )


def _write_safetensors(weights: Weights, written: Mapping[str, TensorLike], path: Path) -> None:
    """Write the tensors named in ``written``, one at a time."""
    header = build_header(
        {name: (form.dtype, form.shape) for name, form in written.items()}, _METADATA, source=str(path)
    )
    with replacing(path, temporary_name=_temporary_name(path)) as stream:
        stream.write(header.prefix)
        for entry in header.entries:
            stream.write(tensor_bytes(weights[entry.name]))
        stream.flush()
        _check_readable(Path(stream.name), path, written)


def _check_readable(file: Path, path: Path, written: Mapping[str, TensorLike]) -> None:
    """Open a finished file with the reference reader, before it takes its place: other tools use no other."""
    try:
        with safe_open(file, framework="pt") as found:
            names = set(found.keys())
    except SafetensorError as error:
        raise InvalidInputError(
            f"'{path}' cannot be read by the safetensors library: {error}",
            kind="unreadable-export",
            hint="its dtypes may be newer than the installed library: `pip install --upgrade safetensors`",
        ) from error
    if names != set(written):
        raise InvalidInputError(f"'{path}' reads back with other names", kind="unreadable-export")


def _write_pt(weights: Weights, path: Path) -> None:
    forms(weights)
    state_dict = {name: _own_memory(tensor) for name, tensor in sorted(weights.items())}
    with replacing(path, temporary_name=_temporary_name(path)) as stream:
        try:
            torch.save(state_dict, stream)
        except RuntimeError as error:  # torch hides what interrupted it behind an error of its own
            if isinstance(error.__context__, (OSError, KeyboardInterrupt)):
                raise error.__context__ from error
            raise


def _own_memory(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor without the rest of the memory it is a view of: ``torch.save`` would write all of it."""
    tensor = tensor.detach().cpu()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _export_directory(
    weights: Weights, destination: Path, max_shard_bytes: int, files: Mapping[str, bytes]
) -> tuple[Path, ...]:
    known = dict(sorted(forms(weights).items()))
    sizes = {name: tensor_size_bytes(form.dtype, form.shape) for name, form in known.items()}
    layout = shards(sizes, "model", ".safetensors", max_shard_bytes)
    others = dict(files)
    if len(layout) > 1:
        others["model.safetensors" + INDEX_SUFFIX] = index_bytes(layout, sum(sizes.values()))
    _check_paths(files, layout)
    temporary = destination.with_name(_temporary_name(destination))
    try:
        temporary.mkdir()
        for path, names in layout.items():
            _write_safetensors(weights, {name: known[name] for name in names}, temporary / path)
        for path, content in others.items():
            (temporary / path).parent.mkdir(parents=True, exist_ok=True)
            write_file(temporary / path, content)
        _publish(temporary, destination, [*layout, *others])
    except OSError as error:
        raise file_system_error(error, "write", destination) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return tuple(sorted(destination / path for path in (*layout, *others)))


def _check_paths(files: Iterable[str], layout: Iterable[str]) -> None:
    for path in files:
        check_path(path)
        if _MODEL_FILE.fullmatch(path) or path in layout:
            raise InvalidInputError(f"'{path}' is the name of a file with weights", kind="bad-path")


def _temporary_name(destination: Path) -> str:
    """Return a name for what becomes ``destination``; what killed exports left there goes."""
    start = f".{destination.name[:100]}."
    remove_abandoned(destination.parent, start)
    return temporary_name(start)


def _publish(temporary: Path, destination: Path, paths: Sequence[str]) -> None:
    """Move the finished files to their place: all at once, or one by one into a directory that exists."""
    if not destination.exists():
        temporary.rename(destination)
        try:
            sync_directory(destination.parent)
        except OSError:
            destination.rename(temporary)  # removed by the caller
            raise
        return
    for path in paths:
        (destination / path).parent.mkdir(parents=True, exist_ok=True)
        (temporary / path).replace(destination / path)
    for stale in destination.iterdir():
        if _MODEL_FILE.fullmatch(stale.name) and stale.name not in paths:
            stale.unlink()
    sync_directory(destination)
