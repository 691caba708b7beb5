"""The run that was trained and not yet committed: what the next commit records of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from mlgit.errors import CorruptObjectError, InvalidInputError
from mlgit.fileio import read_file, write_file
from mlgit.objects import CommitId, JsonValue, Manifest, Parent, Role, Stage, TaskRef, TensorId
from mlgit.objects.encoding import Fields, parse_json
from mlgit.repository import Repository
from mlgit.storage.sealed import seal, unseal

FILE = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingRun:
    """A run whose weights lie in the working files.

    Attributes:
        stage: Where its commit will stand.
        task: What it was trained on.
        parents: Where its weights came from: roles ``init`` and ``head``.
        made: How it was made.
        metrics: What was measured.
        weights: Tensor ids by name that the run left; the commit must find just these.
    """

    stage: Stage
    task: TaskRef | None
    parents: tuple[Parent, ...]
    made: Mapping[str, JsonValue]
    metrics: Mapping[str, float]
    weights: Mapping[str, TensorId] = field(default_factory=dict)

    def left(self, manifest: Manifest) -> bool:
        """Say whether ``manifest`` holds the weights this run left."""
        return {name: entry.id for name, entry in manifest.tensors.items()} == dict(self.weights)


def save_run(repository: Repository, run: PendingRun) -> None:
    """Keep ``run`` for the next commit."""
    write_file(repository.folder / FILE, seal(json.dumps(run_to_json(run)).encode("ascii")))


def run_to_json(run: PendingRun) -> dict[str, JsonValue]:
    """Return a run as JSON."""
    return {
        "stage": run.stage.value,
        "task": None if run.task is None else {"name": run.task.name, "digest": run.task.digest},
        "parents": [{"id": parent.id, "role": parent.role.value} for parent in run.parents],
        "made": run.made,
        "metrics": dict(run.metrics),
        "weights": dict(run.weights),
    }


def load_run(repository: Repository) -> PendingRun | None:
    """Return the run that waits for its commit, or None."""
    try:
        data = unseal(read_file(repository.folder / FILE))
        return run_from_json(parse_json(data, "the run that waits for its commit"))
    except FileNotFoundError:
        return None
    except (CorruptObjectError, InvalidInputError, ValueError) as error:
        raise InvalidInputError(
            f"'{repository.folder / FILE}' cannot be read: {error}",
            kind="bad-run",
            hint="remove the file; the weights it described can still be committed without `--task`",
        ) from error


def run_from_json(fields: Fields) -> PendingRun:
    """Return the run that ``run_to_json`` described.

    Raises:
        CorruptObjectError, InvalidInputError: It is something else.
    """
    try:
        task, metrics, weights = fields.optional_fields("task"), fields.fields("metrics"), fields.fields("weights")
        return PendingRun(
            stage=Stage(fields.text("stage")),
            task=None if task is None else TaskRef(task.text("name"), task.text("digest")),
            parents=tuple(
                Parent(CommitId(item.text("id")), Role(item.text("role"))) for item in fields.items("parents")
            ),
            made=fields.mapping("made"),
            metrics={name: metrics.number(name) for name in metrics.values},
            weights={name: TensorId(weights.text(name)) for name in weights.values},
        )
    except ValueError as error:  # an unknown stage or role
        raise CorruptObjectError(f"a run is not valid: {error}") from error


def drop_run(repository: Repository) -> None:
    """Forget the run: it is committed, or its weights are gone.

    Where the file cannot be removed it stays: it describes weights that no later commit has.
    """
    with suppress(OSError):
        (repository.folder / FILE).unlink()
