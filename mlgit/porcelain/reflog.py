"""``mlgit reflog``: where a branch, a tag or HEAD has been."""

from __future__ import annotations

from dataclasses import dataclass

from mlgit.errors import InvalidInputError, NotFoundError, did_you_mean
from mlgit.history.names import possible_full_names, short_name
from mlgit.repository import Repository
from mlgit.storage.reflog import ReflogEntry


@dataclass(frozen=True, slots=True)
class Position:
    """One place a ref has been at.

    Attributes:
        name: How to call it: ``main@{2}``.
        entry: The change that brought the ref there.
    """

    name: str
    entry: ReflogEntry


def reflog(repository: Repository, name: str = "HEAD") -> list[Position]:
    """Return the changes of a ref, newest first; of a deleted one too.

    Args:
        repository: Where.
        name: ``HEAD``, a branch, a tag, or the full name of any ref.

    Raises:
        NotFoundError: No ref of that name is or was here.
        InvalidInputError: Not a ref's name, or several refs have it.
    """
    full_name = _full_name(repository, name)
    shown = "HEAD" if full_name == "HEAD" else short_name(full_name)
    return [Position(f"{shown}@{{{back}}}", entry) for back, entry in enumerate(repository.refs.reflog(full_name))]


def _full_name(repository: Repository, name: str) -> str:
    if name in {"HEAD", "@"}:
        return "HEAD"
    refs = repository.refs
    found = [one for one in possible_full_names(name) if refs.read(one) is not None or refs.reflog(one)]
    if len(found) > 1:
        raise InvalidInputError(
            f"'{name}' names several refs: {', '.join(found)}",
            kind="ambiguous-revision",
            hint="write one of the full names",
        )
    if not found:
        known = {short_name(one) for one in refs.reflog_names()} | {"HEAD"}
        raise NotFoundError(
            f"no branch or tag is or was named '{name}'", kind="unknown-ref", hint=did_you_mean(name, known)
        )
    return found[0]
