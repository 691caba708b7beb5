"""Single examples: their digests, which are equal, and what differs between two states of a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from blake3 import blake3

from mlgit.errors import InvalidInputError
from mlgit.tasks.split import DomainData

_HEADER = "mlgit examples 1\n"
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled example.

    Attributes:
        domain: Where it belongs.
        name: Path relative to the root of the data, or ``#3`` for the fourth of a domain that is no files.
        label: Index of its class.
        digest: BLAKE3, hexadecimal, of its content without the label.
    """

    domain: str
    name: str
    label: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What looking at every single example found.

    Attributes:
        examples: All that can be read, in the task's order.
        unreadable: Name -> why.
        ignored: Files that are passed over.
        notes: What else is remarkable, for people.
    """

    examples: tuple[Example, ...]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """How the examples of today differ from those of before.

    Attributes:
        changed: Same name, other content, class or domain.
        missing: Names that are gone.
        new: Names that were not there.
    """

    changed: tuple[str, ...]
    missing: tuple[str, ...]
    new: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.missing or self.new)


@runtime_checkable
class ListsExamples(Protocol):
    """Domains that know names and digests of their examples."""

    def examples(self) -> Iterator[Example]:
        """Yield them in order."""


def examples_of(domain: DomainData) -> Iterator[Example]:
    """Yield the examples of a domain; of one that does not list them, numbers and digests of the images it gives."""
    if isinstance(domain, ListsExamples):
        yield from domain.examples()
        return
    labels = domain.labels.tolist()
    for indices in torch.split(torch.arange(len(domain)), _BATCH):
        for index, image in zip(indices.tolist(), domain.images(indices), strict=True):
            digest = blake3(image.contiguous().numpy().tobytes()).hexdigest()
            yield Example(domain.name, f"#{index}", labels[index], digest)


def duplicates(examples: Iterable[Example]) -> tuple[tuple[Example, ...], ...]:
    """Return the groups of examples with equal content, each in order."""
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.digest, []).append(example)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def compare(before: Iterable[Example], after: Iterable[Example]) -> Differences:
    """Return what has changed between two states of a dataset."""
    old, new = ({(_place(each)): each for each in side} for side in (before, after))
    return Differences(
        changed=tuple(name for name in old if name in new and old[name] != new[name]),
        missing=tuple(name for name in old if name not in new),
        new=tuple(name for name in new if name not in old),
    )


def _place(example: Example) -> str:
    return f"{example.domain}/{example.name}" if example.name.startswith("#") else example.name


def encode_examples(examples: Iterable[Example]) -> bytes:
    """Return the lines of a file: digest, label, domain and name, separated by tabs."""
    rows = (f"{each.digest}\t{each.label}\t{each.domain}\t{each.name}\n" for each in examples)
    return "".join([_HEADER, *rows]).encode()


def decode_examples(data: bytes) -> tuple[Example, ...]:
    """Read the file back.

    Raises:
        InvalidInputError: It is no such file.
    """
    try:
        header, *lines = data.decode().splitlines()
        if header + "\n" != _HEADER:
            raise ValueError(header[:80])
        rows = [line.split("\t", 3) for line in lines]
        return tuple(Example(domain, name, int(label), digest) for digest, label, domain, name in rows)
    except ValueError as error:
        raise InvalidInputError(f"no list of examples: {error}", kind="bad-listing") from error
