"""Real handwritten digits that come with scikit-learn, in domains with mild shifts; no download."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, final

import numpy as np
import torch
from blake3 import blake3

from mlgit.errors import InvalidInputError, NotFoundError, did_you_mean
from mlgit.tasks.arrays import ArrayDomain
from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.kinds.kind import TaskKind
from mlgit.tasks.kinds.shifts import SHIFTS, Pixels
from mlgit.tasks.place import Place
from mlgit.tasks.task import Task, TaskData

SOURCE = "112d3db595b93626c22ec25ae4d78ce54f1a88dbdc1a1efa16b7d418a0f0e0d0"
"""BLAKE3 of the 1,797 images (0 to 16) and labels, one byte each."""
PARTS: Mapping[str, tuple[int, int]] = {"pretrain": (0, 500), "auxiliary": (500, 797), "target": (797, 1797)}
"""Which places of one fixed shuffle belong to which part; parts share no image."""
MEAN, STD = 0.3053, 0.376
"""Of all 1,797 images without shift, with pixels from 0 to 1."""


@dataclass(frozen=True)
class Labelling:
    """A question about a digit.

    Attributes:
        classes: Names of the answers.
        answer: Digit -> index of the answer.
    """

    classes: tuple[str, ...]
    answer: Callable[[int], int]


LABELLINGS: Mapping[str, Labelling] = {
    "digit": Labelling(tuple(str(digit) for digit in range(10)), lambda digit: digit),
    "large": Labelling(("at most four", "larger than four"), lambda digit: int(digit > 4)),
    "parity": Labelling(("even", "odd"), lambda digit: digit % 2),
    "prime": Labelling(("not prime", "prime"), lambda digit: int(digit in (2, 3, 5, 7))),
}
"""Name of the option ``labels`` -> question."""


@final
@dataclass(frozen=True, kw_only=True)
class DigitsKind(TaskKind):
    """scikit-learn's 1,797 digits of 8 by 8 pixels.

    They are dealt into three parts that share no image, and within a part evenly among the domains: no image stands
    in two domains.

    Attributes:
        labels: The question: ``digit``, ``large``, ``parity`` or ``prime``.
        part: ``pretrain`` (500 images), ``auxiliary`` (297) or ``target`` (1,000). Unless given, ``target`` when the
            task has a test domain and ``auxiliary`` otherwise.
        domains: Some of ``SHIFTS``, in any order; all of them unless given.
    """

    name: ClassVar[str] = "digits"
    summary: ClassVar[str] = "real handwritten digits that come with scikit-learn, with mild shifts"
    needs_data: ClassVar[bool] = False

    labels: str = "digit"
    part: str | None = None
    domains: tuple[str, ...] = tuple(sorted(SHIFTS))

    def __post_init__(self) -> None:
        _check_choice("labels", self.labels, LABELLINGS)
        if self.part is not None:
            _check_choice("part", self.part, PARTS)
        given: object = self.domains  # from a file: the annotation is a hope
        if not isinstance(given, tuple) or not all(isinstance(name, str) for name in given):
            raise InvalidInputError("option 'domains' is not a list of names", kind="bad-option")
        for name in self.domains:
            if name not in SHIFTS:
                raise NotFoundError(
                    f"there is no domain '{name}' of digits", kind="unknown-domain", hint=did_you_mean(name, SHIFTS)
                )
        if not self.domains or len(set(self.domains)) != len(self.domains):
            raise InvalidInputError("option 'domains' is empty or names one twice", kind="bad-option")
        object.__setattr__(self, "domains", tuple(sorted(self.domains)))

    def open(self, definition: TaskDefinition, place: Place) -> Task:
        """Make the images; they are the same on every machine.

        Raises:
            InvalidInputError: scikit-learn is missing or has other digits, or a path was given.
            NotFoundError: The test domain is none of the domains.
        """
        if place.data is not None:
            raise InvalidInputError(
                f"task '{definition.name}' brings its own data: '{place.data}' is not used",
                kind="needless-data",
                hint="leave `--data` out",
            )
        part = self.part or ("auxiliary" if definition.test_domain is None else "target")
        start, stop = PARTS[part]
        members = _shuffled()[start:stop]
        labelling = LABELLINGS[self.labels]
        domains = tuple(
            _domain(name, members[place :: len(self.domains)], labelling) for place, name in enumerate(self.domains)
        )
        return Task(definition, TaskData(domains=domains, classes=labelling.classes, input_shape=(1, 8, 8)))


def _check_choice(option: str, value: object, known: Mapping[str, object]) -> None:
    if not isinstance(value, str) or value not in known:
        raise InvalidInputError(
            f"option '{option}' cannot be '{value}'", kind="bad-option", hint=did_you_mean(str(value), known)
        )


def _domain(name: str, members: tuple[int, ...], labelling: Labelling) -> ArrayDomain:
    pixels, digits = _source()
    shifted = SHIFTS[name](pixels[list(members)], members)
    labels = [labelling.answer(int(digit)) for digit in digits[list(members)]]
    return ArrayDomain(
        name, torch.from_numpy(shifted.astype(np.uint8)).unsqueeze(1), torch.tensor(labels), mean=MEAN, std=STD
    )


@cache
def _shuffled() -> tuple[int, ...]:
    """Return all images in one fixed order that no library's random numbers can change."""
    return tuple(sorted(range(1797), key=lambda index: blake3(f"mlgit digits order {index}".encode()).digest()))


@cache
def _source() -> tuple[Pixels, Pixels]:
    """Return pixels, int64 (1797, 8, 8) from 0 to 255, and digits, int64 (1797,)."""
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415 - an optional extra, and slow to import
    except ImportError as error:
        raise InvalidInputError(
            "tasks of kind 'digits' need scikit-learn, which is not installed",
            kind="missing-extra",
            hint="pip install 'mlgit[demo]'",
        ) from error
    data, target = load_digits(return_X_y=True)
    raw, digits = data.astype(np.uint8), target.astype(np.uint8)
    if blake3(raw.tobytes() + digits.tobytes()).hexdigest() != SOURCE:
        raise InvalidInputError(
            "the installed scikit-learn has other digits than mlgit was made for",
            kind="data-changed",
            hint="install another version of scikit-learn",
        )
    pixels = (raw.astype(np.int64).reshape(-1, 8, 8) * 255 + 8) // 16
    return pixels, digits.astype(np.int64)
