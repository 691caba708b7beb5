"""``mlgit run``: let any script train, and commit the weights it leaves with how they were made."""

from __future__ import annotations

import platform
import re
import secrets
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from mlgit.errors import ConflictError, InvalidInputError, JobFailedError, MlgitError
from mlgit.fileio import file_system_error
from mlgit.models.device import resolve_device
from mlgit.objects import CommitId, JsonValue, Manifest, Parent, Role, Stage, TaskRef, TensorFile
from mlgit.porcelain.actor import ANYONE, Actor, check_text
from mlgit.porcelain.child import Relay, run_child
from mlgit.porcelain.code_state import code_state
from mlgit.porcelain.commit import CommitResult, commit
from mlgit.porcelain.lineage_rules import check_test_domain_unseen
from mlgit.porcelain.model_layout import check_weights_committed, head_layout, place_weights, replace_weights
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime, data_path, open_named_task
from mlgit.porcelain.pending_run import PendingRun, save_run
from mlgit.porcelain.probe import check_stage
from mlgit.porcelain.script_metrics import read_metrics
from mlgit.progress import Progress
from mlgit.repository import Repository
from mlgit.storage.lock import FileLock
from mlgit.tasks.task import Task
from mlgit.training.record import device_record, package_versions
from mlgit.weights.export import export
from mlgit.weights.files import FileWeights
from mlgit.weights.header import read_header
from mlgit.weights.sources import read_source
from mlgit.weights.stored import StoredWeights, tensor_bytes
from mlgit.weights.types import Weights
from mlgit.worktree.checkout import write_file_of

FOLDER = "runs"
"""Below ``.mlgit``: a folder per run at work, and what failed ones left."""

_LOCK = "lock"
_PLACES = re.compile(r"\{(input|output|weights|metrics|seed|task|data)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a script is run.

    Attributes:
        task: What it trains on, if a task of mlgit's.
        start: The revision whose weights it gets; None for HEAD, or nothing before the first commit.
        stage: Place in the lineage; by default as of ``mlgit train`` with a task, ``snapshot`` without,
            ``pretrain`` for the first commit of a history.
        seed: Handed to the script and recorded; None: neither.
        as_pt: Give the weights as one ``model.pt`` of ``torch.save`` rather than as safetensors.
        with_diff: Record the uncommitted difference of the code itself.
    """

    task: str | None = None
    start: str | None = None
    stage: Stage | None = None
    seed: int | None = None
    as_pt: bool = False
    with_diff: bool = True


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """A script that ran to its end, and the commit of what it left.

    Attributes:
        commit: The commit.
        metrics: What it measured.
        duration_s: How long it ran, in seconds.
        changed_form: Numbers of tensors that are ``added``, ``removed`` or ``reshaped`` against the input; empty where
            names and shapes are the same.
    """

    commit: CommitResult
    metrics: Mapping[str, float]
    duration_s: float
    changed_form: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a run began: HEAD, the weights it gets, and the task."""

    head: CommitId | None
    branch: str | None
    id: CommitId | None
    manifest: Manifest
    task: Task | None
    stage: Stage


def run(
    repository: Repository,
    command: Sequence[str],
    message: str | None = None,
    *,
    options: RunOptions | None = None,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    relay: Relay | None = None,
    runtime: Runtime = DEFAULT_RUNTIME,
    actor: Actor = ANYONE,
    progress: Progress | None = None,
) -> RunOutcome:
    """Run a program that trains, and commit the weights it leaves on the current branch.

    It gets a fresh directory with the files of the starting commit, and an empty one to leave weights in: safetensors,
    a ``.pt`` or ``.bin`` of tensors, or a model directory. It may also change the weights it was given in their place.
    Where these lie is said by environment variables (``MLGIT_INPUT``, ``MLGIT_OUTPUT``, ``MLGIT_WEIGHTS``,
    ``MLGIT_METRICS``, ``MLGIT_SEED``, ``MLGIT_TASK``, ``MLGIT_DATA``), and ``{input}`` and so on in the command are
    replaced by the same. The working files are untouched until it has succeeded.

    Args:
        repository: Where.
        command: Program and arguments.
        message: Why; by default ``run COMMAND``.
        options: How.
        directory: Where the program runs; by default where this process stands.
        environment: Its environment, to which ``MLGIT_*`` is added; by default none but that.
        relay: Takes what it prints.
        runtime: Whether a task may run code from outside.
        actor: Who and when.
        progress: Is told of bytes.

    Raises:
        InvalidInputError: No command, or one with ``{seed}`` and no seed; weights or metrics that cannot be read.
        NotFoundError: No such program, revision or task.
        JobFailedError: The program failed; the message names its log.
        ConflictError: Weights in the working directory are not committed, or HEAD moved meanwhile.
    """
    how = options or RunOptions()
    if not command or not command[0]:
        raise InvalidInputError("there is no command to run", kind="usage", hint="write it after `--`")
    for part in command:
        check_text(part, "the command")
    if message is not None and not message.strip():
        raise InvalidInputError("a commit needs a message", kind="no-message", hint='give one with `-m "…"`')
    check_weights_committed(repository)
    start = _start(repository, how, runtime, progress)
    here = (directory or Path.cwd()).resolve()
    code = code_state(command, here, with_diff=how.with_diff)
    with _folder(repository) as folder:
        places = _prepare(repository, folder, start, how)
        began = time.monotonic()
        _execute(_filled(command, places), here, {**(environment or {}), **_variables(places)}, folder, relay)
        duration_s = time.monotonic() - began
        with _keeping_weights(folder):
            metrics = read_metrics(folder.metrics)
            weights = _left(repository, folder, start, as_pt=how.as_pt)
            changed = _changed_form(start.manifest, weights)
            made = _record(command, how, start, code, duration_s, changed)
            _leave(repository, start, weights, made, metrics)
            done = commit(repository, message or _subject(command), stage=start.stage, actor=actor, progress=progress)
    return RunOutcome(done, metrics, duration_s, changed)


def _start(repository: Repository, how: RunOptions, runtime: Runtime, progress: Progress | None) -> _Start:
    head = repository.refs.head()
    start = None if how.start is None and head.commit is None else repository.resolve(how.start or "HEAD")
    manifest = Manifest({}) if start is None else repository.manifest_of(start)
    here = head_layout(repository, manifest)
    if (here.factory, here.head) != (manifest.factory, manifest.head):
        raise InvalidInputError(
            f"{start.short if start else 'the start'} is a '{manifest.factory}', "
            f"the working directory holds a '{here.factory}'",
            kind="other-model",
            hint=f"go to that model first: `mlgit switch -c NAME {how.start}`",
        )
    task = None if how.task is None else open_named_task(repository, how.task, runtime, progress)
    if task is not None:
        usual = Stage.TARGET if task.test_domain else Stage.AUXILIARY
    else:
        usual = Stage.PRETRAIN if start is None else Stage.SNAPSHOT
    stage = how.stage or usual
    if stage is not Stage.SNAPSHOT:
        check_stage(stage)
    if task is not None and start is not None:
        check_test_domain_unseen(repository, task, start, own_head=stage is Stage.PRETRAIN)
    return _Start(head.commit, head.branch, start, manifest, task, stage)


@dataclass(slots=True)
class _Folder:
    """The folder of a run.

    Attributes:
        path: Where.
        kept: What stays in it when the run fails.
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
        return self.path / "log"

    def remove(self, kept: frozenset[str] = frozenset()) -> None:
        """Remove it, but for ``kept``."""
        for name in {"input", "output"} - kept:
            shutil.rmtree(self.path / name, ignore_errors=True)
        if not kept:
            shutil.rmtree(self.path, ignore_errors=True)


@contextmanager
def _folder(repository: Repository) -> Iterator[_Folder]:
    """Make the folder of a run, and remove it afterwards; after an error some of it may stay."""
    _sweep(repository.folder / FOLDER)
    folder = _Folder(repository.folder / FOLDER / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}")
    try:
        folder.input.mkdir(parents=True)
        folder.output.mkdir()
    except OSError as error:
        raise file_system_error(error, "write", folder.path) from error
    with FileLock(folder.path / _LOCK):
        try:
            yield folder
        except BaseException:
            folder.remove(folder.kept)
            raise
        folder.remove()


def _sweep(runs: Path) -> None:
    """Remove what runs of killed processes left: their locks are there, and nobody holds them."""
    for lock in runs.glob(f"*/{_LOCK}"):
        with suppress(ConflictError, FileNotFoundError), FileLock(lock, timeout_s=0):
            shutil.rmtree(lock.parent, ignore_errors=True)


def _prepare(repository: Repository, folder: _Folder, start: _Start, how: RunOptions) -> dict[str, str]:
    """Write the starting weights, and return the places by name."""
    given = folder.input
    skipped = TensorFile if how.as_pt else ()
    for file in start.manifest.files:
        if isinstance(file, skipped):
            continue
        (given / file.path).parent.mkdir(parents=True, exist_ok=True)
        write_file_of(repository, start.manifest, file, given / file.path)
    if how.as_pt and start.manifest.tensors:
        export(StoredWeights(repository.objects, start.manifest), given / "model.pt", "pt")
    files = [file.path for file in start.manifest.files if isinstance(file, TensorFile)]
    names = ["model.pt"] if how.as_pt and start.manifest.tensors else files
    data = None if how.task is None else data_path(repository, how.task)
    return {
        "input": str(given),
        "output": str(folder.output),
        "metrics": str(folder.metrics),
        **({"weights": str(given / names[0])} if len(names) == 1 and start.manifest.tensors else {}),
        **({} if how.seed is None else {"seed": str(how.seed)}),
        **({} if how.task is None else {"task": how.task}),
        **({} if data is None else {"data": str(data)}),
    }


def _variables(places: Mapping[str, str]) -> dict[str, str]:
    return {f"MLGIT_{name.upper()}": value for name, value in places.items()}


def _filled(command: Sequence[str], places: Mapping[str, str]) -> list[str]:
    """Put the places into the command."""

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


def _execute(
    command: Sequence[str], directory: Path, environment: Mapping[str, str], folder: _Folder, relay: Relay | None
) -> None:
    with folder.log.open("wb") as stream:
        code = run_child(command, directory=directory, environment=environment, log=stream, relay=relay)
    if code == 0:
        return
    folder.kept = frozenset({"log"})
    known = {each.value: each.name for each in signal.Signals}
    how = f"exit code {code}" if code > 0 else f"signal {known.get(-code, -code)}"
    raise JobFailedError(
        f"the script ended with {how}; nothing was committed",
        kind="script-failed",
        hint=f"what it printed is in '{folder.log}'",
    )


@contextmanager
def _keeping_weights(folder: _Folder) -> Iterator[None]:
    """When the weights of a script that succeeded cannot be committed, let its hours not be lost."""
    folder.kept = frozenset({"input", "output", "log"})
    try:
        yield
    except MlgitError as error:
        where = f"nothing was committed; what the script left is in '{folder.path}'"
        error.hint = f"{error.hint}; {where}" if error.hint else where
        raise


def _left(repository: Repository, folder: _Folder, start: _Start, *, as_pt: bool) -> Weights:
    """Return the weights that the script left in its output directory, or else in the place of the input."""
    if any(folder.output.iterdir()):
        return read_source(folder.output).weights
    weights = _in_place(folder.input, start.manifest, as_pt=as_pt)
    if not weights or _same(repository, weights, start.manifest):
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
    if as_pt and (given / "model.pt").is_file():
        return read_source(given / "model.pt").weights
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


def _changed_form(manifest: Manifest, weights: Weights) -> dict[str, int]:
    if not manifest.tensors:
        return {}
    entries = getattr(weights, "entries", weights)
    shapes = {name: tuple(entries[name].shape) for name in weights}
    numbers = {
        "added": len(shapes.keys() - manifest.tensors.keys()),
        "removed": len(manifest.tensors.keys() - shapes.keys()),
        "reshaped": sum(shapes[name] != entry.shape for name, entry in manifest.tensors.items() if name in shapes),
    }
    return {name: number for name, number in numbers.items() if number}


def _record(
    command: Sequence[str],
    how: RunOptions,
    start: _Start,
    code: Mapping[str, JsonValue],
    duration_s: float,
    changed: Mapping[str, int],
) -> dict[str, JsonValue]:
    """Return how the weights were made."""
    made: dict[str, JsonValue] = {
        "command": "run",
        "arguments": list(command),
        "exit_code": 0,
        "duration_s": duration_s,
        "code": dict(code),
        "packages": _packages(),
        "platform": platform.platform(),
        "device": device_record(resolve_device("auto")),
    }
    made |= {} if how.seed is None else {"seed": how.seed}
    made |= {} if not changed else {"changed_form": dict(changed)}
    return made | ({} if start.task is None else {"data_digest": start.task.data_digest})


def _packages() -> dict[str, JsonValue]:
    """Return the versions of everything that is installed beside mlgit."""
    installed = {str(found.name): str(found.version) for found in metadata.distributions() if found.name}
    return {**dict(sorted(installed.items())), **package_versions()}


def _subject(command: Sequence[str]) -> str:
    text = " ".join(" ".join(command).split())
    return f"run {text[:67]}…" if len(text) > 68 else f"run {text}"


def _leave(
    repository: Repository,
    start: _Start,
    weights: Weights,
    made: Mapping[str, JsonValue],
    metrics: Mapping[str, float],
) -> None:
    """Put the weights into the working directory and remember the run, as ``mlgit train`` does."""
    with repository.lock():
        head = repository.refs.head()
        if (head.commit, head.branch) != (start.head, start.branch):
            raise ConflictError("HEAD moved while the script ran", kind="head-moved", hint="go back there")
        check_weights_committed(repository)
        with repository.transaction() as transaction:
            manifest = place_weights(repository, transaction, weights, head_layout(repository, start.manifest))
            transaction.put_record(manifest)
        pending = PendingRun(
            stage=start.stage,
            task=None if start.task is None else TaskRef(start.task.name, start.task.digest),
            parents=() if start.id is None else (Parent(start.id, Role.INIT),),
            made=made,
            metrics=metrics,
            weights={name: entry.id for name, entry in manifest.tensors.items()},
        )
        replace_weights(repository, manifest, then=lambda: save_run(repository, pending))
