"""The metrics every commit with a score records, under the same names."""

from __future__ import annotations

from mlgit.evaluation.score import Score


def id_metrics(score: Score) -> dict[str, float]:
    """Return a score on the ID validation split as a commit records it.

    Args:
        score: On the ID validation split, nothing else.

    Returns:
        ``id_accuracy``, the unweighted mean over the training domains that ranks runs (Ramé et al. 2023);
        ``id_accuracy_micro``, the share of all examples, which greedy selection compares; one per domain.
    """
    return {
        "id_accuracy": score.macro,
        "id_accuracy_micro": score.accuracy,
        **{f"id_accuracy/{name}": value for name, value in score.per_domain.items()},
    }
