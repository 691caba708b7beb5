"""``mlgit lmc``: measure the path between two models, or between the mean of two and a third."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mlgit.errors import InvalidInputError
from mlgit.merging.connectivity import FULL, GRIDS
from mlgit.merging.connectivity import lmc as measure
from mlgit.merging.criterion import Criterion
from mlgit.merging.curve import Curve
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime
from mlgit.porcelain.report_pool import open_report
from mlgit.repository import Repository

SPLITS = ("validation", "test")


def lmc(
    repository: Repository,
    revisions: Sequence[str],
    *,
    task: str,
    grid: str = "full",
    criterion: Criterion | None = None,
    featurizers_only: bool = False,
    split: str = "validation",
    trial: int = 0,
    runtime: Runtime = DEFAULT_RUNTIME,
    actor: Actor = ANYONE,
) -> Curve:
    """Measure linear mode connectivity on a task.

    Args:
        repository: Where.
        revisions: Two, or three: then the path leads from the mean of the first two to the third.
        task: The task.
        grid: ``full`` (eleven points) or ``chord`` (the midpoint).
        criterion: When the path counts as connected.
        featurizers_only: Give all models the task's linear probe as head, to compare featurizers that were not trained
            on the task (hypothesis 1 of Ramé et al. 2023, arXiv:2212.10445).
        split: ``validation`` (the ID validation split), or ``test`` for reports: the figures of the paper show the test
            domain. What was measured there must select nothing; ``merge`` measures on the validation split by itself.
        trial: Number of the data split.
        runtime: Device and trust.
        actor: For a new linear probe's commit.

    Returns:
        The curve with its verdict.

    Raises:
        InvalidInputError: Not two or three different commits, an unknown grid or split, or no test domain.
        IncompatibleWeightsError: The models do not fit together.
        NotFoundError: No such revision or task.
    """
    if grid not in GRIDS:
        raise InvalidInputError(f"no grid is named '{grid}'", kind="bad-grid", hint="use " + " or ".join(GRIDS))
    if split not in SPLITS:
        raise InvalidInputError(
            f"a path is not measured on the split '{split}'", kind="unknown-split", hint="use " + " or ".join(SPLITS)
        )
    ids = [repository.resolve(revision) for revision in revisions]
    if len(ids) not in (2, 3) or len(set(ids)) != len(ids):
        raise InvalidInputError(
            f"a path needs two or three different commits, got {len(set(ids))}", kind="bad-path-ends"
        )
    pool = open_report(
        repository,
        sorted(ids),
        task=task,
        split=split,
        featurizers_only=featurizers_only,
        trial=trial,
        runtime=runtime,
        actor=actor,
    )
    by_id = {candidate.label: candidate for candidate in pool.candidates}
    first, second, *third = (by_id[commit_id] for commit_id in ids)
    curve = measure(
        first,
        second,
        pool.evaluate,
        third=third[0] if third else None,
        grid=GRIDS.get(grid, FULL),
        criterion=criterion or Criterion(),
        statistics="first" if pool.recomputes else "require-equal",
    )
    return replace(curve, split=split)


def plot(curve: Curve, path: Path) -> None:
    """Draw a curve as PNG or SVG.

    Raises:
        InvalidInputError: Another suffix.
        FileSystemError: The operating system refused.
    """
    from mlgit.merging.plot import plot_curve  # noqa: PLC0415 - matplotlib takes half a second that only this needs

    plot_curve(curve, path)
