"""``mlgit gc``: free the disk of what no name leads to any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlgit.errors import CorruptObjectError, InvalidInputError, NotFoundError
from mlgit.objects import Timestamp
from mlgit.porcelain.ancestry import WRITE_AFTER, graph_path, replace_graph
from mlgit.porcelain.marking import Marking
from mlgit.porcelain.reachable import follow_names
from mlgit.progress import NoProgress, Progress
from mlgit.repository import Repository
from mlgit.storage.collect import Collector, OldPack
from mlgit.storage.lock import FileLock

GRACE_DAYS = 14.0
REFLOG_DAYS = 90.0
_DAY_S = 86_400
_WAIT_S = 10.0
_NEVER_S, _EVERYTHING_S = 1 << 62, -(1 << 62)


@dataclass(frozen=True, slots=True)
class GcResult:
    """What was collected, or would be.

    Attributes:
        removed: Packs without anything that is needed.
        rewritten: Packs that were replaced by smaller ones.
        freed_bytes: What the disk gains.
        stored_bytes: What all packs take afterwards.
        young: Packs that were too young to be judged.
        expired: Old lines dropped from the logs of refs; 0 in a dry run.
        damaged: What is wrong with packs that cannot be opened and were left alone.
        dry_run: Nothing was changed.
    """

    removed: tuple[str, ...]
    rewritten: tuple[str, ...]
    freed_bytes: int
    stored_bytes: int
    young: int
    expired: int
    damaged: tuple[str, ...]
    dry_run: bool


def gc(
    repository: Repository,
    *,
    dry_run: bool = False,
    grace_days: float = GRACE_DAYS,
    reflog_days: float = REFLOG_DAYS,
    wait_s: float = _WAIT_S,
    now: Timestamp | None = None,
    progress: Progress | None = None,
) -> GcResult:
    """Remove packs that nothing leads to, and write those anew of which little is needed.

    Kept is what refs, HEAD, the logs of refs, the run that waits for its commit, the index and young packs lead to,
    and what is needed to decode it. Other processes may commit and read all the while.

    Args:
        repository: Where.
        dry_run: Only say what would go.
        grace_days: Packs younger than this are kept with all they lead to.
        reflog_days: Changes older than this are dropped from the logs of refs first; 0 drops them all.
        wait_s: How long to wait for other processes that are writing, in seconds.
        now: The moment ages are counted from in logs; None for now.
        progress: Is told of packs.

    Raises:
        InvalidInputError: A negative number of days.
        ConflictError: Another process collects or writes all the time; nothing that was needed is gone.
        CorruptObjectError: The history is damaged, so that nobody can say what is needed; nothing was removed.
        FileSystemError: The operating system refused; nothing that was needed is gone.
    """
    if not (grace_days >= 0 and reflog_days >= 0):
        raise InvalidInputError(
            f"a grace of {grace_days:g} days and logs of {reflog_days:g} days cannot be", hint="use 0 or more"
        )
    moment = (now or Timestamp.now()).seconds
    since_s = moment - int(reflog_days * _DAY_S) if reflog_days else _NEVER_S
    with FileLock(repository.folder / "gc.lock", timeout_s=wait_s):
        _check_logs(repository)
        expired = 0 if dry_run else _expire(repository, since_s)
        collector = repository.objects.collector()
        marking = Marking(repository, collector.needed)
        # lines that others have written since the logs were shortened count, however old these were allowed to be
        counting_s = since_s if dry_run else _EVERYTHING_S
        run = _Run(repository, marking, collector, counting_s, grace_days * _DAY_S, wait_s)
        if not dry_run:
            run.collector.tidy()
        run.mark()
        plan = run.collector.plan(grace_s=run.grace_s)
        freed = plan.freed_bytes
        dead, sparse = list(plan.dead), list(plan.sparse)
        if not dry_run:
            dead = run.sweep(dict.fromkeys(dead))  # first, so that there is room for the copies
            copies, copied_bytes = _rewrite(run.collector, sparse, progress)
            sparse = run.sweep(copies)
            freed = sum(pack.size_bytes - copied_bytes.get(pack, 0) for pack in (*dead, *sparse))
            run.tidy()
        stored = repository.objects.stored_bytes()
    return GcResult(
        removed=tuple(pack.name for pack in dead),
        rewritten=tuple(pack.name for pack in sparse),
        freed_bytes=freed,
        stored_bytes=stored - freed if dry_run else stored,
        young=plan.young,
        expired=expired,
        damaged=plan.damaged,
        dry_run=dry_run,
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """One collection."""

    repository: Repository
    found: Marking
    collector: Collector
    since_s: int
    grace_s: float
    wait_s: float

    def mark(self) -> None:
        """Tell the collector what is needed now."""
        try:
            follow_names(self.repository, self.found, since_s=self.since_s)
            self.found.follow(self.collector.young(self.grace_s), complete=False)
        except (NotFoundError, CorruptObjectError) as error:
            raise CorruptObjectError(
                f"nothing is collected, since the history is damaged: {error.message}",
                hint="`mlgit fsck` lists what is hurt; get it again from a clone that has it",
            ) from error
        self.collector.close()

    def sweep(self, packs: Mapping[OldPack, Path | None]) -> list[OldPack]:
        """Remove packs of which there may be copies, while nobody writes, unless somebody needs them by now."""
        if not packs:
            return []
        with self.collector.guard.excluding(timeout_s=self.wait_s):
            self.mark()
            return self.collector.remove(packs)

    def tidy(self) -> None:
        """Write anew what spares others to read: the commit-graph file, of a long history, and catalogues of packs."""
        if len(self.found.shapes) > WRITE_AFTER or graph_path(self.repository).exists():
            replace_graph(self.repository, self.found.shapes)
        self.collector.tidy_catalogues()


def _rewrite(
    collector: Collector, packs: Sequence[OldPack], progress: Progress | None
) -> tuple[dict[OldPack, Path | None], dict[OldPack, int]]:
    """Copy what is needed of packs into new ones; return the copies and their sizes."""
    copies: dict[OldPack, Path | None] = {}
    sizes: dict[OldPack, int] = {}
    with (progress or NoProgress()).task("rewriting packs", len(packs)) as bar:
        for pack in packs:
            path = collector.rewrite(pack)
            if path is not None:
                copies[pack], sizes[pack] = path, path.stat().st_size
            bar.advance(1)
    return copies, sizes


def _check_logs(repository: Repository) -> None:
    """Refuse to collect what a damaged line of a log may have named.

    Raises:
        CorruptObjectError: There is one.
    """
    for name in repository.refs.reflog_names():
        for problem in repository.refs.log_problems(name):
            raise CorruptObjectError(
                f"nothing is collected, since {problem}",
                kind="corrupt-ref",
                hint="remove the line if what it named may go; then run the command again",
            )


def _expire(repository: Repository, since_s: int) -> int:
    names = list(repository.refs.reflog_names())
    return sum(repository.refs.expire_reflog(name, since_s) for name in names)
