"""How commits, changes and numbers look, the same in every verb that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mlgit.cli.style import Part, Styled

if TYPE_CHECKING:  # porcelain is imported by the verbs that call it
    from mlgit.objects import CertificateResult, Commit, Parent
    from mlgit.porcelain.log import LogEntry
    from mlgit.worktree.scan import Skipped
    from mlgit.worktree.status import FileChange


def percent(share: float | None) -> str:
    """Return a share between 0 and 1 as ``93.4 %``."""
    return "-" if share is None else f"{100 * share:.1f} %"


def size(size_bytes: int) -> str:
    """Return a size for people: ``1.5 MB``, powers of 1,000."""
    value, unit = float(size_bytes), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{size_bytes} bytes" if unit == "bytes" else f"{value:.1f} {unit}"


def commit_json(entry: LogEntry) -> dict[str, object]:
    """Return a commit as ``log --json`` and ``show --json`` print it."""
    commit = entry.commit
    return {
        "id": entry.id,
        "parents": [_parent_json(parent) for parent in commit.parents],
        "message": commit.message,
        "stage": commit.stage.value,
        "task": None if commit.task is None else {"name": commit.task.name, "digest": commit.task.digest},
        "metrics": dict(commit.metrics),
        "author": {"name": commit.author.name, "email": commit.author.email},
        "time": commit.time.isoformat(),
        "manifest": commit.manifest,
        "refs": list(entry.names),
        "certificates": [certificate_json(result) for result in entry.certificates],
    }


def _parent_json(parent: Parent) -> dict[str, object]:
    return {"id": parent.id, "role": parent.role.value, "coefficient": parent.coefficient}


def certificate_json(result: CertificateResult) -> dict[str, object]:
    """Return a certificate's result as JSON."""
    return {"id": result.id, **result.to_json()}


def labels(entry: LogEntry) -> list[Part]:
    """Return branch and tag names in parentheses with a space behind, or nothing."""
    if not entry.names:
        return []
    return ["(", Styled(", ".join(entry.names), "ref"), ") "]


def facts(entry: LogEntry) -> list[Part]:
    """Return stage, task and headline metric, then the verdicts of certificates: ``[target digit 93.4 %]``."""
    commit = entry.commit
    words = [commit.stage.value] + ([commit.task.name] if commit.task is not None else [])
    if entry.headline is not None:
        words.append(percent(entry.headline[1]) if "accuracy" in entry.headline[0] else f"{entry.headline[1]:.4g}")
    parts: list[Part] = ["[", " ".join(words), "] "]
    for result in entry.certificates:
        parts += [verdict(result), " "]
    return parts


def verdict(result: CertificateResult) -> Styled:
    """Return a certificate's name and verdict."""
    word = "passed" if result.passed else "failed"
    return Styled(f"<{result.certificate}: {word}>", "good" if result.passed else "bad")


def coefficients(commit: Commit) -> str:
    """Return the members of a merge with their coefficients, ``0.125 4f2a91c0de + …``, or nothing."""
    members = [parent for parent in commit.parents if parent.coefficient is not None]
    return " + ".join(f"{parent.coefficient:.4g} {parent.id.short}" for parent in members)


def parents(commit: Commit) -> list[str]:
    """Return one line per role: ``init 4f2a91c0de``, ``merge 0.5 a + 0.5 b``."""
    lines = [f"{parent.role.value} {parent.id.short}" for parent in commit.parents if parent.coefficient is None]
    merged = coefficients(commit)
    return lines + ([f"merge {merged}"] if merged else [])


def change_line(change: FileChange) -> str:
    """Return one changed file: ``modified: model.safetensors (3 of 161 tensors)``."""
    counted = "" if change.tensors is None else f" ({change.tensors} of {change.of} tensors)"
    return f"{change.change.value}: {change.path}{counted}"


def changes_json(changes: Sequence[FileChange]) -> list[dict[str, object]]:
    """Return changed files as JSON."""
    return [
        {"path": change.path, "change": change.change.value, "tensors": change.tensors, "of": change.of}
        for change in changes
    ]


def skipped_json(skipped: Sequence[Skipped]) -> list[dict[str, object]]:
    """Return files that stay out of commits as JSON."""
    return [{"path": item.path, "reason": item.reason} for item in skipped]


def metric_lines(metrics: Mapping[str, float]) -> list[str]:
    """Return metrics, one per line."""
    return [f"{name}: {value:.4f}" for name, value in sorted(metrics.items())]
