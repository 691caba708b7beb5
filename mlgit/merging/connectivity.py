"""Linear mode connectivity: whether the models between two models are as good as the two.

A merge conflict is a broken path: the average of two models that are not connected is worse than both.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

from mlgit.errors import CheckFailedError, InvalidInputError
from mlgit.evaluation.score import Evaluate, Score
from mlgit.merging.candidate import Candidate, canonical, short
from mlgit.merging.criterion import Criterion, Verdict, compare
from mlgit.merging.curve import Curve
from mlgit.progress import NoProgress, Progress
from mlgit.weights.arithmetic import Statistics, lazy_mix

FULL: tuple[float, ...] = tuple(step / 10 for step in range(11))
CHORD: tuple[float, ...] = (0.0, 0.5, 1.0)
GRIDS: Mapping[str, tuple[float, ...]] = {"full": FULL, "chord": CHORD}
"""Names of the grids, as in ``merge --lmc``."""


def lmc(
    a: Candidate,
    b: Candidate,
    evaluate: Evaluate,
    *,
    third: Candidate | None = None,
    grid: Sequence[float] = FULL,
    criterion: Criterion | None = None,
    scores: Mapping[str, Score] | None = None,
    statistics: Statistics = "require-equal",
) -> Curve:
    """Measure the accuracy on the straight line between two models, or between the mean of two and a third.

    With two models the path is (1 - l) a + l b; with ``third`` it is (1 - l)/2 a + (1 - l)/2 b + l third, and its ends
    are the mean of a and b, and the third.

    Args:
        a: The end at l = 0.
        b: The end at l = 1; or, with ``third``, the other half of the end at l = 0.
        evaluate: Scores weights; called once per place of the grid, except for ends whose score is given.
        third: The end at l = 1.
        grid: Places between 0 and 1. 0, 0.5 and 1 are always added.
        criterion: When the path counts as connected; by default the paper's definition with a paired test.
        scores: Label -> score on the same examples, for models that need not be evaluated again.
        statistics: What becomes of batch-norm statistics on the path.

    Returns:
        The curve with its verdict.

    Raises:
        InvalidInputError: A place outside 0 to 1, a label twice, or scores of different examples.
        IncompatibleWeightsError: The weights do not fit together.

    Reference:
        Frankle et al., arXiv:1912.05671; Rame et al., arXiv:2212.10445, equation 1 and appendix D.2 for three models.
    """
    models = (a, b) if third is None else (a, b, third)
    canonical(models)
    places = _places(grid)
    known = dict(scores or {})
    last = models[-1]
    path = {lam: _scored(models, lam, evaluate, statistics) for lam in places[1:-1]}
    path[1.0] = known[last.label] if last.label in known else evaluate(last.weights)
    if third is None:
        path[0.0] = known[a.label] if a.label in known else evaluate(a.weights)
    else:
        path[0.0] = _scored(models, 0.0, evaluate, statistics)
    ends = (path[0.0].correct, path[1.0].correct)
    points = tuple(compare(lam, path[lam].correct, *ends) for lam in places)
    return Curve(tuple(model.label for model in models), points, criterion or Criterion(), len(ends[0]))


def _places(grid: Sequence[float]) -> list[float]:
    """Return the sorted grid with 0, 0.5 and 1 in it."""
    bad = [lam for lam in grid if not 0 <= lam <= 1]
    if bad:
        raise InvalidInputError(
            f"places on a path lie between 0 and 1, got {', '.join(f'{lam:g}' for lam in bad[:10])}",
            kind="bad-grid",
            hint="use `full` for 0, 0.1, ... 1 or `chord` for 0, 0.5, 1",
        )
    return sorted({*(float(lam) for lam in grid), *CHORD})


def _scored(models: Sequence[Candidate], lam: float, evaluate: Evaluate, statistics: Statistics) -> Score:
    """Evaluate the weights at ``lam``."""
    shares = (1 - lam, lam) if len(models) == 2 else ((1 - lam) / 2, (1 - lam) / 2, lam)
    return evaluate(lazy_mix([model.weights for model in models], shares, statistics=statistics))


def check_pairs(
    candidates: Sequence[Candidate],
    evaluate: Evaluate,
    *,
    grid: Sequence[float] = CHORD,
    criterion: Criterion | None = None,
    scores: Mapping[str, Score] | None = None,
    statistics: Statistics = "require-equal",
    progress: Progress | None = None,
) -> tuple[Curve, ...]:
    """Measure the path between every two candidates; each candidate is evaluated once.

    M candidates cost M + M (M - 1) / 2 x (places between the ends) evaluations.

    Args:
        candidates: At least one, each label once.
        evaluate: Scores weights on the data that selection may see.
        grid: Places between 0 and 1; 0, 0.5 and 1 are always added.
        criterion: When a path counts as connected. Its ``comparisons`` is multiplied by the number of pairs, so that
            its ``level`` speaks about all of them together.
        scores: Label -> score on the same examples, for candidates that need not be evaluated again.
        statistics: What becomes of batch-norm statistics on the path.
        progress: Told about each pair.

    Returns:
        One curve per unordered pair, in canonical order; none for a single candidate.

    Raises:
        InvalidInputError: As ``lmc``.
        IncompatibleWeightsError: The weights do not fit together.
    """
    pairs = list(combinations(canonical(candidates), 2))
    wanted = criterion or Criterion()
    wanted = dataclasses.replace(wanted, comparisons=wanted.comparisons * max(1, len(pairs)))
    known = dict(scores or {})
    curves = []
    with (progress or NoProgress()).task("checking linear connectivity", len(pairs)) as bar:
        for a, b in pairs:
            for end in (a, b):
                if end.label not in known:
                    known[end.label] = evaluate(end.weights)
            curve = lmc(a, b, evaluate, grid=grid, criterion=wanted, scores=known, statistics=statistics)
            curves.append(curve)
            bar.advance(note=f"{curve.ends}: {curve.verdict}")
    return tuple(curves)


def broken_path_error(curves: Sequence[Curve]) -> CheckFailedError | None:
    """Return the error that refuses a merge, or None when no path is violated.

    Args:
        curves: The paths between the candidates.

    Returns:
        An error that names the worst pair, the place, the accuracy there and the accuracy it is compared with, and how
        many other paths are broken. The hint says which candidate to leave out when there are more than two.
    """
    broken = [curve for curve in curves if curve.verdict is Verdict.VIOLATED]
    if not broken:
        return None
    worst = min(broken, key=lambda curve: (_lost(curve), curve.labels))
    others = f", and {len(broken) - 1} more of {len(curves)} pairs are broken" if len(broken) > 1 else ""
    return CheckFailedError(
        f"{worst.ends} are not linearly connected: {worst.describe_worst()}{others}",
        kind="not-linearly-connected",
        hint=_hint(curves, broken, worst),
    )


def _lost(curve: Curve) -> float:
    return curve.worst.gap


def _hint(curves: Sequence[Curve], broken: Sequence[Curve], worst: Curve) -> str:
    """Return what to do about broken paths."""
    ways = ["use `--strategy greedy`", "accept it with `--force`"]
    if len(curves) > 1:
        counts = Counter(label for curve in broken for label in curve.labels)
        culprit = max(sorted(worst.labels), key=lambda label: counts[label])
        ways.insert(1, f"leave out {short(culprit)} ({counts[culprit]} broken pairs)")
    return ", ".join(ways[:-1]) + ", or " + ways[-1]
