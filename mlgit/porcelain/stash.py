"""``mlgit stash``: put uncommitted work aside, and take it up again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlgit.errors import CheckFailedError, ConflictError, NotFoundError
from mlgit.interrupts import held_back
from mlgit.objects import Commit, CommitId, JsonValue, Manifest, Parent, Role, Stage
from mlgit.objects.encoding import Fields
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.pending_run import PendingRun, load_run, run_from_json, run_to_json, save_run
from mlgit.porcelain.pending_run import drop_run as forget_run
from mlgit.porcelain.reset import overwrite_working_files
from mlgit.progress import Progress
from mlgit.repository import HEADS, Repository
from mlgit.worktree.checkout import checkout, remember
from mlgit.worktree.snapshot import Hashing, snapshot
from mlgit.worktree.status import FileChange, committed_contents, file_changes, working_changes, working_contents

STASHES = "refs/stash/"


@dataclass(frozen=True, slots=True)
class Stash:
    """Work that was put aside.

    Attributes:
        number: What it is called; later ones have larger numbers.
        id: Its commit, whose first parent is the commit the work was done on.
        commit: That commit.
        run: Whether a run waited for its commit.
    """

    number: int
    id: CommitId
    commit: Commit
    run: bool

    @property
    def base(self) -> CommitId:
        """The commit the work was done on."""
        return self.commit.parents[0].id


@dataclass(frozen=True, slots=True)
class StashResult:
    """What was put aside or taken up.

    Attributes:
        stash: Which.
        changes: The files of it.
    """

    stash: Stash
    changes: tuple[FileChange, ...]


def stashes(repository: Repository) -> list[Stash]:
    """Return what was put aside, newest first.

    Raises:
        NotFoundError, CorruptObjectError: A stash is damaged.
    """
    found = {int(name): CommitId(value) for name, value in repository.named(STASHES).items() if name.isdecimal()}
    return [_stash(repository, number, found[number]) for number in sorted(found, reverse=True)]


def push(
    repository: Repository, message: str | None = None, *, actor: Actor = ANYONE, progress: Progress | None = None
) -> StashResult:
    """Put uncommitted changes aside, with a run that waits for its commit; the working files become those of HEAD.

    Args:
        repository: Where.
        message: What it is; by default the branch and the commit it was done on.
        actor: Who and when.
        progress: Is told of bytes.

    Raises:
        CheckFailedError: Nothing is uncommitted.
        NotFoundError: There is no commit yet.
        ConflictError: A file changes meanwhile, or another command works here.
        FileSystemError: The operating system refused; no work is lost.
    """
    with repository.lock():
        head = repository.refs.head()
        if head.commit is None:
            raise NotFoundError("there is no commit to go back to", kind="no-commits", hint="make one first")
        before, run = repository.manifest_of(head.commit), load_run(repository)
        with repository.transaction() as transaction:
            current = snapshot(repository, transaction, base=before, progress=progress)
            changes = working_changes(repository, before, current)
            if not changes and run is None:
                raise CheckFailedError("nothing to put aside: the working files are those of HEAD", kind="no-changes")
            branch = "a detached HEAD" if head.branch is None else head.branch.removeprefix(HEADS)
            subject = repository.commit_of(head.commit).subject
            made: dict[str, JsonValue] = {"command": "stash", "branch": head.branch}
            record = Commit(
                manifest=transaction.put_record(current.manifest),
                parents=_parents(head.commit, run),
                stage=Stage.SNAPSHOT,
                made=made if run is None else {**made, "run": run_to_json(run)},
                author=actor.who(repository),
                time=actor.when(),
                message=message or f"on {branch}: {head.commit.short} {subject}",
            )
            new = transaction.put_record(record)
        number = 1 + max((item.number for item in stashes(repository)), default=0)

        def name() -> None:
            repository.refs.update(
                f"{STASHES}{number}", new, expected=None, who=record.author, when=record.time, reason="stash: push"
            )

        with held_back():
            overwrite_working_files(
                repository, head.commit, remove_others=True, then=name, deciding=f"{STASHES}{number}"
            )
            forget_run(repository)
    return StashResult(_stash(repository, number, new), tuple(changes))


def pop(
    repository: Repository, number: int | None = None, *, actor: Actor = ANYONE, progress: Progress | None = None
) -> StashResult:
    """Take work up again: its files and its run; then the stash is gone.

    Only files that were changed in it are touched, and only when they are as they were when it was put aside.

    Args:
        repository: Where.
        number: Which stash; the newest by default.
        actor: For the log.
        progress: Is told of files.

    Raises:
        NotFoundError: No such stash.
        ConflictError: A file has other changes, or another run waits for its commit; nothing was changed.
        FileSystemError: The operating system refused; nothing was changed.
    """
    with repository.lock():
        stash = _find(repository, number)
        run = _stashed_run(stash.commit)
        if run is not None and load_run(repository) not in (None, run):
            raise ConflictError(
                f"stash {stash.number} has a run, and another run waits for its commit",
                kind="run-waits",
                hint="commit that first with `mlgit commit`, or put it aside with `mlgit stash`",
            )
        manifest = repository.manifest(stash.commit.manifest)
        base = committed_contents(repository, repository.manifest_of(stash.base))
        work = committed_contents(repository, manifest)
        current = snapshot(repository, Hashing(), progress=progress)
        working = working_contents(current)
        changes = file_changes(base, work)
        differing = [change.path for change in changes if working.get(change.path) != work.get(change.path)]
        _refuse(stash, [path for path in differing if working.get(path) != base.get(path)])

        def finish() -> None:
            if run is not None:
                save_run(repository, run)
            _delete(repository, stash, actor, "stash: pop")

        write, remove = [path for path in differing if path in work], [path for path in differing if path not in work]
        _refuse(stash, [path for path in write if path not in working and _is_taken(repository.root / path)])
        deciding = f"{STASHES}{stash.number}"
        checkout(repository, manifest, paths=write, remove=remove, then=finish, deciding=deciding, progress=progress)
        _remember_head(repository, current.files.keys() - set(differing))
    return StashResult(stash, tuple(changes))


def drop(repository: Repository, number: int | None = None, *, actor: Actor = ANYONE) -> Stash:
    """Give work up that was put aside; its log keeps it for a while.

    Args:
        repository: Where.
        number: Which stash; the newest by default.
        actor: For the log.

    Raises:
        NotFoundError: No such stash.
        ConflictError: Another command works here.
    """
    with repository.lock():
        stash = _find(repository, number)
        _delete(repository, stash, actor, "stash: drop")
    return stash


def _parents(head: CommitId, run: PendingRun | None) -> tuple[Parent, ...]:
    """Return HEAD, then what the run came from, which must not be collected."""
    others = () if run is None else tuple(parent for parent in run.parents if parent.id != head)
    return (Parent(head, Role.BASE), *others)


def _stash(repository: Repository, number: int, commit_id: CommitId) -> Stash:
    commit = repository.commit_of(commit_id)
    return Stash(number, commit_id, commit, _stashed_run(commit) is not None)


def _stashed_run(commit: Commit) -> PendingRun | None:
    run = Fields(dict(commit.made), "a stash").optional_fields("run")
    return None if run is None else run_from_json(run)


def _find(repository: Repository, number: int | None) -> Stash:
    found = {item.number: item for item in stashes(repository)}
    if not found:
        raise NotFoundError("nothing was put aside", kind="no-stash", hint="`mlgit stash` puts uncommitted work aside")
    wanted = max(found) if number is None else number
    if wanted not in found:
        raise NotFoundError(
            f"there is no stash {wanted}", kind="no-stash", hint=f"there are {', '.join(map(str, found))}"
        )
    return found[wanted]


def _is_taken(place: Path) -> bool:
    """Whether something that is not tracked stands where a file is to be; a directory gives way when it is empty."""
    return place.is_symlink() or (place.exists() and not place.is_dir())


def _refuse(stash: Stash, paths: list[str]) -> None:
    if paths:
        shown = ", ".join(f"'{path}'" for path in paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
        raise ConflictError(
            f"{shown} changed since stash {stash.number} was put aside",
            kind="stash-conflict",
            hint=f"go to where it was made with `mlgit switch --detach {stash.base.short}` and take it up there",
        )


def _delete(repository: Repository, stash: Stash, actor: Actor, reason: str) -> None:
    repository.refs.update(
        f"{STASHES}{stash.number}",
        None,
        expected=stash.id,
        who=actor.who(repository),
        when=actor.when(),
        reason=reason,
    )


def _remember_head(repository: Repository, untouched: set[str]) -> None:
    """Write the index: of the files that were not touched, those that equal HEAD's."""
    head = repository.head
    manifest = Manifest({}) if head is None else repository.manifest_of(head)
    committed = committed_contents(repository, manifest)
    current = snapshot(repository, Hashing())
    working = working_contents(current)
    same = [path for path in untouched if path in committed and working.get(path) == committed[path]]
    remember(repository, manifest, [], seen={path: current.files[path] for path in same})
