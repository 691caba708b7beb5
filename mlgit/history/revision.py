"""Revisions: text that names a commit, as in git.

A revision is ``HEAD`` or ``@``, a branch, a tag, a remote-tracking branch (``origin/main``), a full ref name or an
unambiguous id prefix, then any number of ``~n`` (n first parents up) and ``^n`` (the n-th parent). ``branch:x``,
``tag:x`` and ``remote:x`` say which kind of ref is meant. Annotated tags stand for the commit they tag. ``main@{2}`` is
where main was two changes ago, by its log, which outlives it; ``@{2}`` asks the log of the current branch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from itertools import repeat
from unicodedata import category

from mlgit.errors import InvalidInputError, NotFoundError, did_you_mean
from mlgit.history.ancestry import first_ancestor
from mlgit.history.interfaces import ObjectSource, RefSource
from mlgit.history.names import BRANCHES, KINDS, REMOTES, TAGS, peel, possible_full_names, short_names, split_kind
from mlgit.history.names import short_name as _short
from mlgit.objects import CommitId, ObjectId, TagId

MIN_PREFIX = 4
"""Digits an id prefix needs."""

_HEX = re.compile(r"[0-9a-fA-F]{4,64}")
_AT = re.compile(r"^[^@{}~^]*@\{([0-9]+)\}(?=[~^]|$)")
_STEP = re.compile(r"([~^])([0-9]*)")
_PATTERN = re.compile(r"[*?\[]")
_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
_MAX_BYTES = 1000
_FAR = 100
"""So many first parents are read one after the other; for more of them the graph is asked."""

Step = tuple[str, int]


def resolve(text: str, refs: RefSource, objects: ObjectSource) -> CommitId:
    """Return the commit that a revision names.

    A full id wins over a ref of the same name, a ref over an id prefix.

    Args:
        text: The revision: ``main~2``.
        refs: Where refs are read.
        objects: Where commits and tags are read.

    Raises:
        NotFoundError: Nothing has this name (kind ``unknown-revision``), or HEAD has no commit yet (``no-commits``).
        InvalidInputError: Not a revision (kind ``bad-revision``), more than one commit fits (``ambiguous-revision``),
            or it names something that is not a commit (``not-a-commit``).
    """
    name, steps = _parse(text)
    if _PATTERN.search(name):
        raise InvalidInputError(
            f"'{text}' is a pattern, and one revision is needed here",
            kind="bad-revision",
            hint="name one branch, tag or id",
        )
    return _follow(text, _find(name, refs, objects), steps, objects)


def resolve_many(texts: Iterable[str], refs: RefSource, objects: ObjectSource) -> list[CommitId]:
    """Return the commits that revisions and patterns name, in the order given, each once.

    A pattern (``*``, ``?``, ``[a-z]``; ``*`` crosses ``/``) stands for all branches whose names fit, sorted, then all
    tags; for remote-tracking branches when neither fits; for one kind only after ``branch:``, ``tag:`` or ``remote:``.
    Steps behind a pattern apply to each: ``pacs/*~1``.

    Raises:
        NotFoundError: As ``resolve``, or nothing fits a pattern.
        InvalidInputError: As ``resolve``.
    """
    found: dict[CommitId, None] = {}
    for text in texts:
        name, steps = _parse(text)
        starts = _matches(name, refs, objects) if _PATTERN.search(name) else [_find(name, refs, objects)]
        found.update(dict.fromkeys(_follow(text, start, steps, objects) for start in starts))
    return list(found)


def _parse(text: str) -> tuple[str, list[Step]]:
    _refuse_nonsense(text)
    cut = min((text.index(sign) for sign in "~^" if sign in text), default=len(text))
    name, suffix = text[:cut], text[cut:].replace("^{commit}", "^0").replace("^{}", "^0")
    if _STEP.sub("", suffix) or not name:
        raise InvalidInputError(
            f"'{text}' is not a revision: only ~n and ^n can follow a name",
            kind="bad-revision",
            hint="for example 'main~2' or 'main^2'",
        )
    return name, [(sign, _number(digits)) for sign, digits in _STEP.findall(suffix)]


def _number(digits: str) -> int:
    return int(digits.lstrip("0")[:12] or 0) if digits else 1  # 12 digits are beyond any history and below any limit


def _refuse_nonsense(text: str) -> None:
    reason, hint = "", "name a branch, a tag, an id or HEAD"
    if not text:
        reason = "it is empty"
    elif len(text.encode("utf-8", "surrogatepass")) > _MAX_BYTES:
        text, reason = text[:40] + "…", f"it has more than {_MAX_BYTES} bytes"
    elif any(letter in " \\" or category(letter) in _INVISIBLE for letter in text):
        reason = "it has a blank or a character that no name can have"
    elif text.startswith("-"):
        reason = "it looks like an option"
    elif ".." in text:
        reason, hint = "ranges are not supported", "name each commit by itself, 'a' and 'b' instead of 'a..b'"
    elif text.startswith("^"):
        reason, hint = "commits cannot be excluded", "name the commits that are meant; 'main^' is main's parent"
    elif "@{" in text and not _AT.search(text):
        reason, hint = (
            "behind a name, '@{' needs a number and '}'",
            "'main@{1}' is where main was before its last change",
        )
    if reason:
        shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
        raise InvalidInputError(f"'{shown}' is not a revision: {reason}", kind="bad-revision", hint=hint)


def _find(name: str, refs: RefSource, objects: ObjectSource) -> CommitId:
    if "@{" in name:
        return _earlier(name, refs, objects)
    if name in {"HEAD", "@"}:
        return _head(refs)
    digits = name.lower() if _HEX.fullmatch(name) else ""
    if len(digits) == 64 and (found := objects.with_prefix(digits)):
        return _by_prefix(digits, found, objects)
    targets = {full_name: target for full_name in possible_full_names(name) if (target := refs.read(full_name))}
    if targets:
        return _only_one(name, {ref: _commit_of(ref, target, objects) for ref, target in targets.items()})
    if digits and (found := objects.with_prefix(digits)):
        return _by_prefix(digits, found, objects)
    raise _unknown(name, refs)


def _earlier(text: str, refs: RefSource, objects: ObjectSource) -> CommitId:
    """Return where a ref was some changes ago: ``main@{2}``."""
    name, _, digits = text.removesuffix("}").partition("@{")
    if name in {"", "HEAD"}:
        logged = ["HEAD" if name else refs.head().branch or "HEAD"]
    else:
        logged = [one for one in possible_full_names(name) if refs.read(one) is not None or refs.reflog(one)]
    if not logged:
        raise _unknown(name, refs)
    values = {full_name: _value(text, full_name, _number(digits), refs) for full_name in logged}
    return _only_one(name, {full_name: _commit_of(text, value, objects) for full_name, value in values.items()})


def _value(text: str, full_name: str, back: int, refs: RefSource) -> ObjectId:
    """Return what a ref pointed at ``back`` changes ago; without a log only its value now is known."""
    changes = refs.reflog(full_name)
    current = refs.head().commit if full_name == "HEAD" else refs.read(full_name)
    values = [change.new for change in changes] + [change.old for change in changes[-1:]] or [current]
    found = values[back] if back < len(values) else None
    if found is None:
        reason = "it did not exist then" if back < len(values) else f"its log tells of {len(changes)} changes"
        raise NotFoundError(
            f"'{text}' does not exist: {reason}",
            kind="unknown-revision",
            hint=f"`mlgit reflog {_short(full_name)}` lists where it was",
        )
    return found


def _head(refs: RefSource) -> CommitId:
    head = refs.head()
    if head.commit is None:
        what = "HEAD" if head.branch is None else f"branch '{_short(head.branch)}'"
        raise NotFoundError(
            f"{what} has no commits yet", kind="no-commits", hint="make one with `mlgit commit` or `mlgit import`"
        )
    return head.commit


def _only_one(name: str, commits: dict[str, CommitId]) -> CommitId:
    if len(set(commits.values())) > 1:
        raise InvalidInputError(
            f"'{name}' names several refs: " + ", ".join(f"{ref} ({commit.short})" for ref, commit in commits.items()),
            kind="ambiguous-revision",
            hint="write one of the full names, or 'branch:…' or 'tag:…'",
        )
    return next(iter(commits.values()))


def _by_prefix(digits: str, fitting: Sequence[ObjectId], objects: ObjectSource) -> CommitId:
    found = sorted(one for one in fitting if isinstance(one, (CommitId, TagId)))
    if len(found) == 1:
        return _commit_of(digits, found[0], objects)
    if found:
        shown = next(length for length in range(10, 65) if len({one[:length] for one in found}) == len(found))
        raise InvalidInputError(
            f"'{digits}' begins {len(found)} ids: "
            + ", ".join(f"{one.kind} {one[:shown]}" for one in found[:10])
            + (", …" if len(found) > 10 else ""),
            kind="ambiguous-revision",
            hint="write more digits",
        )
    return _commit_of(digits, min(fitting), objects)


def _unknown(name: str, refs: RefSource) -> NotFoundError:
    kind, _ = split_kind(name)
    known = {f"{kind}:{one}" for one in short_names(refs, KINDS[kind])} if kind else short_names(refs, *KINDS.values())
    hint = did_you_mean(name, known if kind else known | {"HEAD"})
    if re.fullmatch(r"[0-9a-fA-F]{1,3}", name):
        hint = f"the id of a commit needs at least {MIN_PREFIX} digits"
    return NotFoundError(f"no branch, tag or commit is named '{name}'", kind="unknown-revision", hint=hint)


def _matches(pattern: str, refs: RefSource, objects: ObjectSource) -> list[CommitId]:
    kind, rest = split_kind(pattern)
    groups = _groups(kind, rest)
    for prefixes in groups:
        fitting = [name for prefix in prefixes for name in sorted(refs.names(prefix)) if _fits(name, prefix, rest)]
        if fitting:
            return [_commit_of(full_name, refs.read(full_name), objects) for full_name in fitting]
    raise NotFoundError(
        f"no branch or tag fits '{pattern}'",
        kind="unknown-revision",
        hint=did_you_mean(rest, short_names(refs, *groups[0])),
    )


def _groups(kind: str, pattern: str) -> list[list[str]]:
    """Return where refs are looked for; the second group only when nothing in the first one fits."""
    if kind:
        return [[KINDS[kind]]]
    return [["refs/"]] if pattern.startswith("refs/") else [[BRANCHES, TAGS], [REMOTES]]


def _fits(full_name: str, prefix: str, pattern: str) -> bool:
    return fnmatchcase(full_name if prefix == "refs/" else full_name.removeprefix(prefix), pattern)


def _follow(text: str, start: CommitId, steps: Iterable[Step], objects: ObjectSource) -> CommitId:
    current = start
    for sign, wanted in steps:
        number = wanted
        if sign == "~" and number > _FAR and (graph := objects.graph()) is not None:
            current, number = first_ancestor(objects.read_record, current, number, graph=graph)
        for which in repeat(1, number) if sign == "~" else repeat(number, min(number, 1)):
            parents = objects.read_record(current).parents
            if which > len(parents):
                plural = "s" * (len(parents) != 1)
                raise NotFoundError(
                    f"'{text}' does not exist: {current.short} has {len(parents) or 'no'} parent{plural}",
                    kind="unknown-revision",
                )
            current = parents[which - 1].id
    return current


def _commit_of(name: str, target: ObjectId | None, objects: ObjectSource) -> CommitId:
    commit_id = peel(target, objects)
    if commit_id is None:
        what = "nothing" if target is None else f"a {target.kind}"
        raise InvalidInputError(f"'{name}' names {what}, not a commit", kind="not-a-commit")
    return commit_id
