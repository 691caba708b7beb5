"""What the repository remembers of a sweep: its inputs, so that the same command goes on with the same runs.

Which runs are finished is not kept: a run is finished when its branch has a commit that records its job.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlgit.errors import ConflictError, CorruptObjectError, InvalidInputError
from mlgit.fileio import read_file, write_file
from mlgit.history.lineage import weight_ancestors
from mlgit.objects import CommitId, JsonValue
from mlgit.objects.encoding import parse_json
from mlgit.porcelain.in_progress import in_progress
from mlgit.porcelain.sweep_plan import PlannedRun
from mlgit.repository import HEADS, Repository
from mlgit.storage.sealed import seal, unseal

FOLDER = "sweeps"
_FILE = "sweep.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepState:
    """The inputs of a sweep.

    Attributes:
        task: Digest of its task.
        revisions: Where runs start, as the user wrote it.
        starts: What that meant when the sweep began.
        hparams: Where hyper-parameters are drawn from.
        arguments: All that the runs have in common, as options.
    """

    task: str
    revisions: tuple[str, ...]
    starts: tuple[CommitId, ...]
    hparams: str
    arguments: tuple[str, ...]

    def difference(self, other: SweepState) -> str | None:
        """Say what is not the same, in the words of the command line; where revisions lead now is not compared."""
        if self.task != other.task:
            return "the task or its data"
        if self.revisions != other.revisions:
            return f"`--from` was {' '.join(self.revisions)}"
        if self.hparams != other.hparams:
            return f"`--hparams` was {self.hparams}"
        return None if self.arguments == other.arguments else f"the options were {' '.join(self.arguments)}"


def sweep_folder(repository: Repository, task: str, name: str) -> Path:
    """Return the folder of a sweep: its state, its lock, and the logs of its runs."""
    return repository.folder / FOLDER / task / name


def read_state(folder: Path) -> SweepState | None:
    """Return what is known of a sweep, or None.

    Raises:
        InvalidInputError: Its file cannot be read.
    """
    path = folder / _FILE
    try:
        found = parse_json(unseal(read_file(path)), "a sweep")
        return SweepState(
            task=found.text("task"),
            revisions=tuple(str(each) for each in found.list("revisions")),
            starts=tuple(CommitId(str(each)) for each in found.list("starts")),
            hparams=found.text("hparams"),
            arguments=tuple(str(each) for each in found.list("arguments")),
        )
    except FileNotFoundError:
        return None
    except (CorruptObjectError, InvalidInputError, ValueError) as error:
        raise InvalidInputError(
            f"'{path}' cannot be read: {error}",
            kind="bad-sweep",
            hint="remove the file; the finished runs are found by their branches",
        ) from error


def write_state(folder: Path, state: SweepState) -> None:
    """Remember a sweep; the caller is ``sweeping``."""
    content: dict[str, JsonValue] = {
        "task": state.task,
        "revisions": list(state.revisions),
        "starts": list(state.starts),
        "hparams": state.hparams,
        "arguments": list(state.arguments),
    }
    write_file(folder / _FILE, seal(json.dumps(content).encode("ascii")))


@contextmanager
def sweeping(folder: Path) -> Iterator[None]:
    """Let no other process work on a sweep meanwhile.

    Raises:
        ConflictError: Another process does.
        FileSystemError: The operating system refused.
    """
    with in_progress(folder / "lock", folder / _FILE, _refusal):
        yield


def finished(repository: Repository, run: PlannedRun) -> CommitId | None:
    """Return the commit of a run, or None when it is still to be made.

    Raises:
        ConflictError: Its branch holds something else.
    """
    found = repository.refs.read(HEADS + run.branch)
    if found is None:
        return None
    for commit_id, commit in weight_ancestors(repository.commit_of, CommitId(found)):  # the branch may have grown
        if commit.made.get("job") == run.job.identity:
            return commit_id
    raise ConflictError(
        f"branch '{run.branch}' holds something else than run {run.number} of this sweep",
        kind="other-run",
        hint="give this sweep another `--name`, or delete the branch",
    )


def _refusal(who: str) -> ConflictError:
    return ConflictError(
        f"this sweep is in progress: {who}",
        kind="sweep-in-progress",
        hint="wait for it, or give this one another `--name`",
    )
