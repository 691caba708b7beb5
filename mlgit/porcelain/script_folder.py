"""The folder that the script of ``mlgit run`` works in: what it is given there, and what it leaves."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mlgit.errors import ConflictError, InvalidInputError
from mlgit.fileio import file_system_error
from mlgit.objects import Manifest, TensorFile
from mlgit.repository import Repository
from mlgit.storage.lock import FileLock
from mlgit.weights.export import export
from mlgit.weights.files import FileWeights
from mlgit.weights.header import read_header
from mlgit.weights.sources import read_source
from mlgit.weights.stored import StoredWeights, tensor_bytes
from mlgit.weights.types import Weights
from mlgit.worktree.checkout import write_file_of

FOLDER = "runs"
"""Below ``.mlgit``: a folder per run at work, and what failed ones left."""

_LOCK, _LOG, _PT = "lock", "log", "model.pt"
_PLACES = re.compile(r"\{(input|output|weights|metrics|seed|task|data)\}")


@dataclass(slots=True)
class ScriptFolder:
    """The folder of a run.

    Attributes:
        path: Where.
        kept: What stays in it when the run fails; ``log`` is among it, unless it is empty.
    """

    path: Path
    kept: frozenset[str] = frozenset()

    @property
    def input(self) -> Path:
        """The directory with the weights that the script is given."""
        return self.path / "input"

    @property
    def output(self) -> Path:
        """The directory for the weights it leaves."""
        return self.path / "output"

    @property
    def metrics(self) -> Path:
        """The file for what it measured."""
        return self.path / "metrics.json"

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.path / _LOG

    def open_log(self) -> BinaryIO:
        """Open what takes all that it prints.

        Raises:
            FileSystemError: The operating system refused.
        """
        try:
            return self.log.open("wb")
        except OSError as error:
            raise file_system_error(error, "create", self.log) from error

    def remove(self, kept: frozenset[str] = frozenset()) -> None:
        """Remove it, but for ``kept``."""
        if not kept:
            _remove(self.path)
            return
        for name in {"input", "output"} - kept:
            shutil.rmtree(self.path / name, ignore_errors=True)


@contextmanager
def script_folder(repository: Repository) -> Iterator[ScriptFolder]:
    """Make the folder of a run, and remove it afterwards; after an error some of it may stay.

    What runs of killed processes left is removed first.

    Raises:
        ConflictError: Another process makes one, and does not end.
        FileSystemError: The operating system refused.
    """
    runs = repository.folder / FOLDER
    folder = ScriptFolder(runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}")
    lock = FileLock(folder.path / _LOCK)
    try:
        with FileLock(repository.folder / f"{FOLDER}.lock"):
            _sweep(runs)
            _make(folder.path)
            lock.acquire()
        _make(folder.input)
        _make(folder.output)
        yield folder
    except BaseException:
        folder.remove(folder.kept)
        raise
    else:
        folder.remove()
    finally:
        lock.release()


def _make(path: Path, *, exist_ok: bool = False) -> None:
    try:
        path.mkdir(parents=True, exist_ok=exist_ok)
    except OSError as error:
        raise file_system_error(error, "create", path) from error


def _sweep(runs: Path) -> None:
    """Remove what runs of killed processes left; the caller lets nobody begin one meanwhile.

    A lock that nobody holds tells them; or that there is no log, which is in whatever a failed run was to leave.
    """
    for path in runs.glob("*/"):
        if (path / _LOCK).exists() or not (path / _LOG).exists():
            with suppress(ConflictError, FileNotFoundError), FileLock(path / _LOCK, timeout_s=0):
                _remove(path)


def _remove(path: Path) -> None:
    """Remove a folder; whoever is killed in it leaves one without a log, which the next one removes."""
    with suppress(OSError):
        (path / _LOG).unlink()
    shutil.rmtree(path, ignore_errors=True)


def give(repository: Repository, folder: ScriptFolder, manifest: Manifest, *, as_pt: bool) -> dict[str, str]:
    """Write the starting weights, and return the places by name.

    Args:
        repository: Where the objects are.
        folder: Whose ``input`` to fill.
        manifest: The state to start from.
        as_pt: Give the weights as one ``model.pt`` of ``torch.save``.
    """
    as_pt = as_pt and bool(manifest.tensors)
    for file in manifest.files:
        if as_pt and isinstance(file, TensorFile):
            continue
        _make((folder.input / file.path).parent, exist_ok=True)
        write_file_of(repository, manifest, file, folder.input / file.path)
    if as_pt:
        export(StoredWeights(repository.objects, manifest), folder.input / _PT, "pt")
    names = [_PT] if as_pt else [file.path for file in manifest.files if isinstance(file, TensorFile)]
    places = {"input": folder.input, "output": folder.output, "metrics": folder.metrics}
    places |= {"weights": folder.input / names[0]} if len(names) == 1 and manifest.tensors else {}
    return {name: str(path) for name, path in places.items()}


def variables(places: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that say the places."""
    return {f"MLGIT_{name.upper()}": value for name, value in places.items()}


def filled(command: Sequence[str], places: Mapping[str, str]) -> list[str]:
    """Put the places into a command.

    Raises:
        InvalidInputError: It names a place that there is not.
    """

    def fill(found: re.Match[str]) -> str:
        if found[1] not in places:
            raise InvalidInputError(
                f"the command has '{found[0]}', but there is nothing to put there",
                kind="usage",
                hint={
                    "seed": "give one with `--seed`",
                    "task": "name it with `--task`",
                    "data": "name a task whose data lie on this machine with `--task`",
                }.get(found[1], "the starting commit has no single file of weights: use `{input}`, their directory"),
            )
        return places[found[1]]

    return [_PLACES.sub(fill, part) for part in command]


def left(repository: Repository, folder: ScriptFolder, manifest: Manifest, *, as_pt: bool) -> Weights:
    """Return the weights that the script left in its output directory, or else in the place of the input.

    Args:
        repository: Where the objects are.
        folder: Where it worked.
        manifest: The state it was given.
        as_pt: Whether it was given one ``model.pt``.

    Raises:
        InvalidInputError: It left none, or something that cannot be read.
    """
    if any(folder.output.iterdir()):
        return read_source(folder.output).weights
    weights = _in_place(folder.input, manifest, as_pt=as_pt)
    if not weights or _same(repository, weights, manifest):
        raise InvalidInputError(
            "the script succeeded, but left no weights",
            kind="no-weights",
            hint="let it save them into the directory that `{output}` in the command, or MLGIT_OUTPUT, names",
        )
    return weights


def _in_place(given: Path, manifest: Manifest, *, as_pt: bool) -> Weights:
    """Return what now lies where the input was."""
    paths = [given / file.path for file in manifest.files if isinstance(file, TensorFile)]
    paths = [path for path in paths if path.is_file()]
    if paths:
        return FileWeights([(path, read_header(path)) for path in paths])
    if as_pt and (given / _PT).is_file():
        return read_source(given / _PT).weights
    return {}


def _same(repository: Repository, weights: Weights, manifest: Manifest) -> bool:
    """Say whether weights are those of a commit, bit by bit."""
    if set(weights) != set(manifest.tensors):
        return False
    stored = StoredWeights(repository.objects, manifest)
    return all(_equal(weights, stored, name) for name in manifest.tensors)


def _equal(one: Weights, other: Weights, name: str) -> bool:
    a, b = one[name].detach(), other[name]
    return a.dtype == b.dtype and a.shape == b.shape and bool(tensor_bytes(a) == tensor_bytes(b))
