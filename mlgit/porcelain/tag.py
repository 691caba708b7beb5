"""``mlgit tag``: list, create and delete tags. A tag never moves."""

from __future__ import annotations

from dataclasses import dataclass

from mlgit.errors import AlreadyExistsError, InvalidInputError, NotFoundError, did_you_mean
from mlgit.objects import CommitId, Tag, TagId
from mlgit.porcelain.actor import ANYONE, Actor, check_text
from mlgit.repository import TAGS, Repository, check_branch_name


@dataclass(frozen=True, slots=True)
class TagResult:
    """A tag.

    Attributes:
        name: Short name.
        commit: What it names.
        tag: The annotation, or None for a plain tag.
    """

    name: str
    commit: CommitId
    tag: Tag | None


def tags(repository: Repository) -> list[TagResult]:
    """Return all tags, sorted by name."""
    found = []
    for name, value in repository.named(TAGS).items():
        note = repository.objects.read_record(value) if isinstance(value, TagId) else None
        found.append(TagResult(name, note.commit if note else CommitId(value), note))
    return found


def create_tag(
    repository: Repository, name: str, revision: str = "HEAD", *, message: str | None = None, actor: Actor = ANYONE
) -> TagResult:
    """Create a tag; with a message it is an object of its own.

    Args:
        repository: Where.
        name: Short name.
        revision: What to tag.
        message: Why; None for a plain tag.
        actor: Who and when.

    Raises:
        InvalidInputError: Not a name for a tag, or an empty message.
        AlreadyExistsError: The name is taken.
        NotFoundError: ``revision`` names nothing.
    """
    check_branch_name(name)
    with repository.keeping():
        commit_id = repository.resolve(revision)
        if repository.refs.read(TAGS + name) is not None:
            raise AlreadyExistsError(
                f"a tag '{name}' exists",
                kind="tag-exists",
                hint=f"tags never move; delete it first with `mlgit tag -d {name}`",
            )
        if message is not None and not message.strip():
            raise InvalidInputError(
                "the message of a tag is empty", kind="no-message", hint="leave out `-m` for a plain tag"
            )
        check_text(message or "", "the message")
        who, when = actor.who(repository), actor.when()
        value: CommitId | TagId = commit_id
        tag = None
        if message is not None:
            tag = Tag(commit=commit_id, name=name, tagger=who, time=when, message=message)
            with repository.objects.transaction() as transaction:
                value = transaction.put_record(tag)
        repository.refs.update(TAGS + name, value, expected=None, who=who, when=when, reason="tag: created")
    return TagResult(name, commit_id, tag)


def delete_tag(repository: Repository, name: str, *, actor: Actor = ANYONE) -> TagResult:
    """Delete a tag.

    Raises:
        NotFoundError: No such tag.
    """
    found = {tag.name: tag for tag in tags(repository)}
    if name not in found:
        raise NotFoundError(f"no tag is named '{name}'", kind="unknown-tag", hint=did_you_mean(name, found))
    repository.refs.update(
        TAGS + name,
        None,
        expected=repository.refs.read(TAGS + name),
        who=actor.who(repository),
        when=actor.when(),
        reason="tag: deleted",
    )
    return found[name]
