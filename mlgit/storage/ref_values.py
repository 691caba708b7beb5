"""What the files of refs hold, and what is said when a ref is not what it should be."""

from __future__ import annotations

from mlgit.errors import AlreadyExistsError, ConflictError, CorruptObjectError, InvalidInputError
from mlgit.objects import CommitId, ObjectId
from mlgit.objects.ids import ID_TYPES
from mlgit.storage.refnames import check_ref_name

HEAD = "HEAD"
LOG_SUFFIX = "..log"
"""End of a log's file name; no ref's name can hold ``..``."""


def check_branch(name: str) -> None:
    """Refuse what is not the full name of a branch.

    Raises:
        InvalidInputError: It cannot name a ref, or not one below ``refs/heads/``.
    """
    check_ref_name(name)
    if not name.startswith("refs/heads/"):
        raise InvalidInputError(f"'{name}' is not the full name of a branch", kind="bad-ref-name")


def parse_symbolic(text: str) -> str | None:
    """Return the branch that HEAD names, or None when it does not name one.

    Raises:
        CorruptObjectError: It names something that cannot be a branch.
    """
    if not text.startswith("ref: "):
        return None
    name = text.removeprefix("ref: ").removesuffix("\n")
    if not text.endswith("\n"):
        raise _damaged(HEAD, text)
    try:
        check_branch(name)
    except InvalidInputError as error:
        raise _damaged(HEAD, text) from error
    return name


def parse_value(name: str, text: str) -> ObjectId:
    """Return the id that a ref's file holds, with the type of its kind.

    Raises:
        CorruptObjectError: It holds something else.
    """
    kind, _, digits = text.removesuffix("\n").partition(" ")
    if kind not in ID_TYPES or not text.endswith("\n"):
        raise _damaged(name, text)
    try:
        return ID_TYPES[kind](digits)
    except InvalidInputError as error:
        raise _damaged(name, text) from error


def as_commit(name: str, value: ObjectId) -> CommitId:
    """Return the value of a branch or HEAD.

    Raises:
        CorruptObjectError: It is not a commit.
    """
    if not isinstance(value, CommitId):
        raise CorruptObjectError(f"'{name}' points at a {value.kind}, not at a commit", kind="corrupt-ref")
    return value


def _damaged(name: str, text: str) -> CorruptObjectError:
    return CorruptObjectError(
        f"'{name}' holds {text[:80]!a}, which is neither a branch nor an id",
        kind="corrupt-ref",
        hint=f"its last values are in '.mlgit/logs/{name}{LOG_SUFFIX}'",
    )


def say_value(value: ObjectId | None) -> str:
    """Say where a ref is."""
    return "absent" if value is None else f"at {value.short}"


def moved(name: str, expected: ObjectId | None, current: ObjectId | None) -> ConflictError:
    """Return the error for a ref that is not where the caller saw it."""
    return ConflictError(
        f"'{name}' was expected {say_value(expected)} but is {say_value(current)}",
        kind="ref-moved",
        hint="somebody moved it meanwhile; look at it and try again",
    )


def clash(name: str, other: str) -> AlreadyExistsError:
    """Return the error for a ref ``a`` beside ``a/b``."""
    return AlreadyExistsError(
        f"'{name}' cannot be created: '{other}' exists",
        kind="ref-clash",
        hint="a name cannot also be the folder of another; choose a different one",
    )
