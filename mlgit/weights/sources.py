"""Models that come from outside: a file, or a directory in the manner of Hugging Face.

A source says which files to copy as they are (safetensors, configuration) and which weights to write anew because they
came in a pickle. Nothing is copied here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from mlgit.errors import InvalidInputError, NotFoundError
from mlgit.fileio import file_system_error
from mlgit.weights import pickles
from mlgit.weights.directory import SAFETENSORS, Layout, read_layout
from mlgit.weights.files import FileWeights
from mlgit.weights.header import Header, read_header
from mlgit.weights.sharding import check_shards
from mlgit.weights.types import Weights


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to copy as it is.

    Attributes:
        path: Where it belongs, relative to the model directory, with ``/``.
        location: Where it is now.
        header: Its header where it is a safetensors file; None for any other file.
    """

    path: str
    location: Path
    header: Header | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A model outside any repository.

    Attributes:
        location: What was read.
        files: Files to copy byte by byte, sorted by path.
        loose: Weights that came in a pickle, to be written as the safetensors file ``loose_path``; None where all
            weights are in ``files``.
        loose_path: Name for the file of ``loose``, relative to the model directory.
        skipped: What is left out: weights in other formats, large files, the state of an optimizer.
    """

    location: Path
    files: tuple[SourceFile, ...]
    loose: Weights | None = None
    loose_path: str = "model" + SAFETENSORS
    skipped: tuple[str, ...] = ()

    @property
    def weights(self) -> Weights:
        """All weights; those of ``files`` are read when they are asked for."""
        if self.loose is not None:
            return self.loose
        return FileWeights([(file.location, file.header) for file in self.files if file.header is not None])


def read_source(path: Path) -> Source:
    """Look at a model and say what to copy and what to write.

    Args:
        path: A ``.safetensors`` file; a ``.pt``, ``.pth``, ``.bin`` or ``.ckpt`` file with a state dict; or a directory
            with a model in one of these, single or sharded with an index, and its small files.

    Returns:
        The source. The only weights of a ``.safetensors`` file are called ``model.safetensors``; files of a directory
        keep their paths. The headers of safetensors files are checked, their tensors are not read yet.

    Raises:
        NotFoundError: Nothing is there.
        InvalidInputError: Not a model, or one that cannot be read safely; the kinds are those of ``header``,
            ``pickles``, ``sharding`` and ``directory``.
        FileSystemError: The operating system refused.
    """
    try:
        if path.is_dir():
            return _read_directory(path)
        path.stat()
        return _read_file(path)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no model at '{path}'", kind="no-such-file") from error
    except OSError as error:
        raise file_system_error(error, "read", path) from error


def _read_file(path: Path) -> Source:
    suffix = path.suffix.lower()
    if suffix == SAFETENSORS:
        return Source(path, (SourceFile("model" + SAFETENSORS, path, read_header(path)),))
    if suffix in pickles.SUFFIXES:
        checkpoint = pickles.read_checkpoint(path)
        return Source(path, (), loose=checkpoint.weights, skipped=checkpoint.skipped)
    raise InvalidInputError(
        f"'{path}' is not a model file",
        kind="unknown-format",
        hint=f"known are {', '.join((SAFETENSORS, *pickles.SUFFIXES))}, and directories with such files",
    )


def _read_directory(root: Path) -> Source:
    layout = read_layout(root)
    small = [SourceFile(path, layout.locations[path]) for path in layout.small]
    if layout.pickled:
        weights, skipped = _read_pickles(root, layout)
        stem = "adapter_model" if layout.weights[0].startswith("adapter_model") else "model"
        return Source(root, tuple(small), weights, stem + SAFETENSORS, (*layout.skipped, *skipped))
    headers = {path: read_header(layout.locations[path]) for path in layout.weights}
    if layout.index is not None:
        check_shards(
            root / layout.index, layout.weight_map, lambda file: [entry.name for entry in headers[file].entries]
        )
        small.append(SourceFile(layout.index, layout.locations[layout.index]))
    files = [*small, *(SourceFile(path, layout.locations[path], header) for path, header in headers.items())]
    return Source(root, tuple(sorted(files, key=lambda file: file.path)), skipped=layout.skipped)


def _read_pickles(root: Path, layout: Layout) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    checkpoints = {path: pickles.read_checkpoint(layout.locations[path]) for path in layout.weights}
    if layout.index is not None:
        check_shards(root / layout.index, layout.weight_map, lambda file: checkpoints[file].weights)
    weights = {name: tensor for checkpoint in checkpoints.values() for name, tensor in checkpoint.weights.items()}
    return weights, tuple(key for checkpoint in checkpoints.values() for key in checkpoint.skipped)
