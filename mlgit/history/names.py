"""Short names of refs, and what refs stand for."""

from __future__ import annotations

from mlgit.errors import InvalidInputError
from mlgit.history.interfaces import ObjectSource, RefSource
from mlgit.objects import CommitId, ObjectId, TagId

BRANCHES, TAGS, REMOTES = "refs/heads/", "refs/tags/", "refs/remotes/"
KINDS = {"branch": BRANCHES, "tag": TAGS, "remote": REMOTES}
"""What can stand before the colon of ``tag:v1``, and where such refs lie."""

_MAX_PART_BYTES = 200  # longer parts cannot be files everywhere


def names_by_commit(refs: RefSource, objects: ObjectSource) -> dict[CommitId, list[str]]:
    """Return the names to show beside each commit that has any.

    Returns:
        Commit -> ``HEAD -> main`` or ``HEAD``, then branches, ``tag: v1``, remote-tracking branches, each group sorted.
    """
    head = refs.head()
    names: dict[CommitId, list[str]] = {}
    if head.commit is not None:
        names[head.commit] = ["HEAD" if head.branch is None else f"HEAD -> {short_name(head.branch)}"]
    for prefix in KINDS.values():
        for full_name in sorted(refs.names(prefix)):
            commit_id = peel(refs.read(full_name), objects)
            if commit_id is not None and full_name != head.branch:
                label = "tag: " if prefix == TAGS else ""
                names.setdefault(commit_id, []).append(label + short_name(full_name))
    return names


def short_name(full_name: str) -> str:
    """Return the name people use: ``main`` for ``refs/heads/main``, ``origin/x`` for ``refs/remotes/origin/x``."""
    for prefix in KINDS.values():
        if full_name.startswith(prefix):
            return full_name.removeprefix(prefix)
    return full_name


def short_names(refs: RefSource, *prefixes: str) -> set[str]:
    """Return the short names of all refs that start with one of the prefixes."""
    return {short_name(full_name) for prefix in prefixes for full_name in refs.names(prefix)}


def possible_full_names(name: str) -> list[str]:
    """Return the refs that a short name can mean; none for a name that no ref can have.

    Raises:
        InvalidInputError: The name has a colon, but not after ``branch``, ``tag`` or ``remote``.
    """
    kind, rest = split_kind(name)
    if kind:
        candidates = [KINDS[kind] + rest]
    elif rest.startswith("refs/"):
        candidates = [rest]
    else:
        candidates = [BRANCHES + rest, TAGS + rest, REMOTES + rest, "refs/" + rest, f"{REMOTES}{rest}/HEAD"]
    return [full_name for full_name in candidates if _can_exist(full_name)]


def split_kind(name: str) -> tuple[str, str]:
    """Return what stands before and after the colon of ``tag:v1``; the first is empty when there is no colon.

    Raises:
        InvalidInputError: Something else than ``branch``, ``tag`` or ``remote`` stands before it.
    """
    kind, colon, rest = name.rpartition(":")
    if colon and kind not in KINDS:
        raise InvalidInputError(
            f"'{name}' is not a revision: nothing is written '{kind}:…'",
            kind="bad-revision",
            hint="'branch:x', 'tag:x' and 'remote:x' exist",
        )
    return kind, rest


def _can_exist(full_name: str) -> bool:
    parts = full_name.split("/")
    return (
        len(parts) >= 3
        and not parts[2].startswith("-")
        and not full_name.endswith(".")
        and all(part and not part.startswith(".") and not part.endswith(".lock") for part in parts)
        and all(len(part.encode()) <= _MAX_PART_BYTES for part in parts)
    )


def peel(target: ObjectId | None, objects: ObjectSource) -> CommitId | None:
    """Return the commit that a ref's target stands for, through an annotated tag; None for anything else."""
    if isinstance(target, TagId):
        return objects.read_record(target).commit
    return target if isinstance(target, CommitId) else None
