"""Checkpoints written by ``torch.save``: read without running the code a pickle may carry."""

from __future__ import annotations

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, NoReturn, cast

import torch

from mlgit.errors import InvalidInputError, MlgitError
from mlgit.fileio import file_system_error
from mlgit.objects.manifest import check_name
from mlgit.weights.types import tensor_form

SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
"""Names of files that are read as pickles."""
WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep the state dict among other things."""

_ZIP_MAGIC = b"PK\x03\x04"
_MAX_DEPTH = 4
_SHOWN = 10
_MAX_GROWTH, _FREE_GROWTH_BYTES = 8, 64 * 2**20
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)
"""What unpickling and unzipping of damaged bytes may raise."""


class Checkpoint(NamedTuple):
    """What a file held.

    Attributes:
        weights: Name -> tensor; tied tensors still share memory, and the file is mapped where its format allows.
        skipped: Keys beside the state dict that were left out: ``optimizer``, ``epoch``.
    """

    weights: dict[str, torch.Tensor]
    skipped: tuple[str, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a state dict, bare or under one of the keys ``WRAPPERS``.

    Args:
        path: A file of ``torch.save``, in today's or the old format.

    Raises:
        InvalidInputError: ``kind="unsafe-pickle"``: the file needs code to be run. ``kind="bad-checkpoint"``: damaged,
            or its tensors are far larger than the file. ``kind="not-a-state-dict"``: something else than names and
            tensors. ``kind="unsupported-tensor"``: sparse, quantized or of a dtype that safetensors does not have.
        FileSystemError: The operating system refused.
    """
    content = _load(path)
    state_dict, skipped = _unwrap(content, path)
    _check_entries(state_dict, path)
    weights = {name: tensor.detach() for name, tensor in cast("dict[str, torch.Tensor]", state_dict).items()}
    for name, tensor in weights.items():
        _check_tensor(name, tensor, path)
    _check_growth(weights.values(), path)
    return Checkpoint(weights, tuple(skipped))


def _load(path: Path) -> object:
    try:
        mapped = _is_zip(path)
        if mapped:
            _check_zip(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd protocols and sparse tensors, which are refused anyway
            return cast("object", torch.load(path, map_location="cpu", weights_only=True, mmap=mapped))
    except MlgitError:
        raise
    except OSError as error:
        raise file_system_error(error, "read", path) from error
    except pickle.UnpicklingError as error:
        _refuse_code(path, str(error), error)
    except _DAMAGE as error:
        raise InvalidInputError(
            f"'{path}' is not a readable checkpoint: {type(error).__name__}: {str(error)[:200] or 'no details'}",
            kind="bad-checkpoint",
            hint="the file is damaged or was not written by `torch.save`; get it again from where it came",
        ) from error


def _is_zip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC


def _check_zip(path: Path) -> None:
    """Refuse archives that torch would map wrongly (compressed ones) or that hold programs (TorchScript)."""
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
    if any(record.filename.endswith("/constants.pkl") for record in records):
        _refuse_code(path, "TorchScript", None)
    for record in records:
        if record.compress_type != zipfile.ZIP_STORED:
            raise InvalidInputError(
                f"'{path}' is not a readable checkpoint: its record {record.filename[:80]!a} is compressed",
                kind="bad-checkpoint",
                hint="write it again with `torch.save`, which never compresses",
            )


def _refuse_code(path: Path, reason: str, cause: BaseException | None) -> NoReturn:
    found = re.search(r"(?:GLOBAL|[Cc]lass) ([\w.]*\w)", reason)
    if "TorchScript" in reason:
        what = "a TorchScript program"
    elif found:
        what = f"'{found[1][:200]}', which is code to be run"
    else:
        what = "a pickle that is not plain names and tensors"
    raise InvalidInputError(
        f"'{path}' holds {what}; it was not read",
        kind="unsafe-pickle",
        hint="if you trust the file, load it yourself and save its `state_dict()` with `safetensors.torch.save_file`",
    ) from cause


def _unwrap(content: object, path: Path, depth: int = 0) -> tuple[dict[object, object], list[str]]:
    """Return the state dict inside, and the keys beside it."""
    if not isinstance(content, dict):
        _refuse_content(path, f"holds a {type(content).__name__}, not a state dict")
    inner = [key for key in WRAPPERS if isinstance(content.get(key), dict)]
    if not inner:
        return content, []
    if len(inner) > 1 or depth == _MAX_DEPTH:
        _refuse_content(path, f"holds several state dicts: {', '.join(inner)}")
    state_dict, skipped = _unwrap(content[inner[0]], path, depth + 1)
    return state_dict, [*(_shown(key) for key in content if key != inner[0]), *skipped]


def _check_entries(state_dict: dict[object, object], path: Path) -> None:
    if not state_dict:
        _refuse_content(path, "holds an empty state dict")
    others = [
        f"{_shown(key)} ({type(value).__name__})" for key, value in state_dict.items() if not _is_entry(key, value)
    ]
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        shown = ", ".join(others[:_SHOWN])
        _refuse_content(path, f"holds {len(others)} entries that are not named tensors: {shown}{more}")


def _shown(key: object) -> str:
    """Return a key for a message; only strings, since the text of nested ones may be endless."""
    return f"{key[:80]!a}" if isinstance(key, str) else f"a {type(key).__name__}"


def _is_entry(key: object, value: object) -> bool:
    return isinstance(key, str) and isinstance(value, torch.Tensor)


def _check_tensor(name: str, tensor: torch.Tensor, path: Path) -> None:
    try:
        check_name(name, "a tensor")
        tensor_form(tensor, name)
    except InvalidInputError as error:
        raise InvalidInputError(f"'{path}': {error.message}", kind=error.kind, hint=error.hint) from error


def _check_growth(tensors: Iterable[torch.Tensor], path: Path) -> None:
    """Refuse a small file whose views unfold to huge tensors; tied and expanded tensors of usual size pass."""
    views = {(tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()): tensor.nbytes for tensor in tensors}
    total, size = sum(views.values()), path.stat().st_size
    if total > _MAX_GROWTH * size + _FREE_GROWTH_BYTES:
        raise InvalidInputError(
            f"'{path}' has {size} bytes, but its tensors would take {total}",
            kind="bad-checkpoint",
            hint="the file repeats few bytes as large tensors; get it again from where it came",
        )


def _refuse_content(path: Path, what: str) -> NoReturn:
    raise InvalidInputError(
        f"'{path}' {what}",
        kind="not-a-state-dict",
        hint="a checkpoint is a dict of names and tensors, bare or under the key 'state_dict'",
    )
