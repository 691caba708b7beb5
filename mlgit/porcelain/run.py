"""``mlgit run``: let any script train, and commit the weights it leaves with how they were made."""

from __future__ import annotations

import platform
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from mlgit.errors import InvalidInputError, JobFailedError, MlgitError
from mlgit.models.device import resolve_device
from mlgit.objects import CommitId, JsonValue, Manifest, Parent, Role, Stage, TaskRef
from mlgit.porcelain.actor import ANYONE, Actor, check_text
from mlgit.porcelain.child import Relay, run_child
from mlgit.porcelain.code_state import code_state
from mlgit.porcelain.commit import CommitResult
from mlgit.porcelain.commit_run import commit_run
from mlgit.porcelain.lineage_rules import check_test_domain_unseen
from mlgit.porcelain.model_layout import check_weights_committed, head_layout
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime, data_path, open_named_task
from mlgit.porcelain.pending_run import PendingRun
from mlgit.porcelain.probe import check_stage
from mlgit.porcelain.script_folder import ScriptFolder, filled, give, left, script_folder, variables
from mlgit.porcelain.script_metrics import read_metrics
from mlgit.progress import Progress
from mlgit.repository import Repository
from mlgit.storage.refs import Head
from mlgit.tasks.task import Task
from mlgit.training.record import device_record, package_versions
from mlgit.weights.types import Weights


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

    head: Head
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
    check_text(message or "", "the message")
    actor.who(repository)
    check_weights_committed(repository)
    start = _start(repository, how, runtime, progress)
    here = (directory or Path.cwd()).resolve()
    code = code_state(command, here, with_diff=how.with_diff)
    with script_folder(repository) as folder:
        places = give(repository, folder, start.manifest, as_pt=how.as_pt) | _named(repository, how)
        began = time.monotonic()
        _execute(filled(command, places), here, {**(environment or {}), **variables(places)}, folder, relay)
        duration_s = time.monotonic() - began
        with _keeping_weights(folder):
            metrics = read_metrics(folder.metrics)
            weights = left(repository, folder, start.manifest, as_pt=how.as_pt)
            changed = _changed_form(start.manifest, weights)
            done = commit_run(
                repository,
                weights,
                _what_ran(start, _record(command, how, start, code, duration_s, changed), metrics),
                message or _subject(command),
                expected=start.head,
                actor=actor,
                progress=progress,
            )
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
    return _Start(head, start, manifest, task, stage)


def _named(repository: Repository, how: RunOptions) -> dict[str, str]:
    """Return what else the script may need to know, by name."""
    data = None if how.task is None else data_path(repository, how.task)
    found = {"seed": how.seed, "task": how.task, "data": data}
    return {name: str(value) for name, value in found.items() if value is not None}


def _execute(
    command: Sequence[str], directory: Path, environment: Mapping[str, str], folder: ScriptFolder, relay: Relay | None
) -> None:
    with folder.open_log() as stream:
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
def _keeping_weights(folder: ScriptFolder) -> Iterator[None]:
    """When the weights of a script that succeeded cannot be committed, let its hours not be lost."""
    folder.kept = frozenset({"input", "output", "log"})
    try:
        yield
    except MlgitError as error:
        where = f"nothing was committed; what the script left is in '{folder.path}'"
        error.hint = f"{error.hint}; {where}" if error.hint else where
        raise


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


def _what_ran(start: _Start, made: Mapping[str, JsonValue], metrics: Mapping[str, float]) -> PendingRun:
    """Return what the commit records."""
    return PendingRun(
        stage=start.stage,
        task=None if start.task is None else TaskRef(start.task.name, start.task.digest),
        parents=() if start.id is None else (Parent(start.id, Role.INIT),),
        made=made,
        metrics=metrics,
    )


def _packages() -> dict[str, JsonValue]:
    """Return the versions of everything that is installed beside mlgit."""
    installed = {str(found.name): str(found.version) for found in metadata.distributions() if found.name}
    return {**dict(sorted(installed.items())), **package_versions()}


def _subject(command: Sequence[str]) -> str:
    text = " ".join(" ".join(command).split())
    return f"run {text[:67]}…" if len(text) > 68 else f"run {text}"
