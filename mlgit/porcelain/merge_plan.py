"""What a merge was asked for, checked before anything is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from mlgit.errors import InvalidInputError
from mlgit.merging.connectivity import GRIDS
from mlgit.merging.criterion import Criterion, Definition
from mlgit.merging.registry import MERGE_STRATEGIES
from mlgit.merging.strategy import MergeStrategy, make_strategy
from mlgit.objects import CommitId, JsonValue
from mlgit.porcelain.actor import check_text
from mlgit.porcelain.open_model import find_definition
from mlgit.repository import Repository

LMC_MODES = ("off", *GRIDS)
STATISTICS = ("auto", "require-equal", "average", "first", "recompute")


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeOptions:
    """How models are merged.

    Attributes:
        strategy: A row of ``MERGE_STRATEGIES``.
        parameters: The strategy's fields -> values. Where one names a candidate (``pretrained`` of ``wise``), any
            revision does.
        statistics: What becomes of batch-norm statistics that differ: ``require-equal`` refuses, ``average`` and
            ``first`` do what they say, ``recompute`` measures them anew on the task's training data. ``auto`` does that
            when a task is given, and refuses otherwise.
        lmc: ``off``, ``chord`` (the midpoint of every pair) or ``full`` (eleven points); None: ``chord`` where a task
            is given and the strategy yields a model that predicts, ``off`` otherwise.
        criterion: When a path counts as connected.
        force: Merge although a path is violated; the record says so.
        trial: Number of the data split whose ID validation part selects and judges.
    """

    strategy: str = "uniform"
    parameters: Mapping[str, JsonValue] | None = None
    statistics: str = "auto"
    lmc: str | None = None
    criterion: Criterion = field(default_factory=Criterion)
    force: bool = False
    trial: int = 0


def criterion(tolerance: float | None = None, definition: str = "ratatouille") -> Criterion:
    """Return when a path counts as connected.

    Args:
        tolerance: Accepted drop, 0 to 1; None: a paired test decides (``ratatouille``), or 0.02 (the others).
        definition: ``ratatouille``, ``frankle-mean`` or ``frankle-worst``.

    Raises:
        InvalidInputError: Values out of range.
    """
    return Criterion(definition=cast("Definition", definition), tolerance=tolerance)  # checked by Criterion itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A merge of which names and options were checked.

    Attributes:
        strategy: Of the options, before the pool decides about statistics and heads.
        lmc: ``off``, ``chord`` or ``full``.
        ids: The candidates, sorted.
        message: Why.
        task: The task's name, or None.
        how: The options.
    """

    strategy: MergeStrategy
    lmc: str
    ids: tuple[CommitId, ...]
    message: str
    task: str | None
    how: MergeOptions


def plan(
    repository: Repository, revisions: Sequence[str], message: str, task: str | None, options: MergeOptions | None
) -> Plan:
    """Check names and options of a merge; nothing but names and commits is read.

    Raises:
        InvalidInputError: No message, unknown parameters, or a strategy that needs a task.
        NotFoundError: No such revision, strategy or task.
    """
    how = options or MergeOptions()
    if not message.strip():
        raise InvalidInputError("a merge needs a message", kind="no-message", hint='give one with `-m "…"`')
    check_text(message, "the message")
    how = replace(how, parameters=_resolved(repository, how))
    strategy = _strategy(how)
    lmc = _lmc_mode(how, strategy, task)
    ids = tuple(sorted(repository.resolve_many(revisions)))
    strategy.check_pool(ids)
    if task is not None:
        find_definition(repository, task)
    return Plan(strategy=strategy, lmc=lmc, ids=ids, message=message, task=task, how=how)


def _resolved(repository: Repository, how: MergeOptions) -> dict[str, JsonValue]:
    """Return the parameters with commit ids in the place of revisions."""
    fields = MERGE_STRATEGIES.get(how.strategy).label_fields
    return {
        key: repository.resolve(value) if key in fields and isinstance(value, str) and value else value
        for key, value in (how.parameters or {}).items()
    }


def _strategy(how: MergeOptions) -> MergeStrategy:
    if how.statistics not in STATISTICS:
        raise InvalidInputError(
            f"'{how.statistics}' is no way to treat batch-norm statistics",
            kind="bad-statistics",
            hint="use " + ", ".join(STATISTICS),
        )
    return make_strategy(how.strategy, how.parameters)


def _lmc_mode(how: MergeOptions, strategy: MergeStrategy, task: str | None) -> str:
    """Return which paths are to be measured; refuse what cannot be done without data."""
    lmc = how.lmc or ("off" if task is None or strategy.name == "fusing" else "chord")
    if lmc not in LMC_MODES:
        raise InvalidInputError(f"'{lmc}' is no way to check paths", kind="bad-lmc-mode", hint="use off, chord or full")
    wants = [
        name
        for name, asked in (
            (f"`--lmc {lmc}`", lmc != "off"),
            (f"`--strategy {strategy.name}`", strategy.needs_evaluation),
            ("`--statistics recompute`", how.statistics == "recompute"),
        )
        if asked
    ]
    if wants and task is None:
        raise InvalidInputError(
            f"{wants[0]} needs data to measure on", kind="needs-evaluation", hint="name the task with `--task`"
        )
    return lmc
