"""RotatedMNIST and ColoredMNIST, made from the MNIST files on this machine, the same on every machine.

In the published code, which digit lies in which domain, its colour and its false label come from a global random
generator that every run seeds otherwise, so that runs of one sweep see different datasets. Here all of it is a function
of the option ``seed``, and rotation is done in whole numbers.

Reference:
    Gulrajani and Lopez-Paz, "In Search of Lost Domain Generalization", ICLR 2021, arXiv:2007.01434;
    Arjovsky et al., "Invariant Risk Minimization", 2019, arXiv:1907.02893.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray

from mlgit.errors import InvalidInputError, NotFoundError, did_you_mean
from mlgit.tasks.arrays import ArrayDomain
from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.kinds.idx import read_idx
from mlgit.tasks.kinds.kind import TaskKind
from mlgit.tasks.picture_task import find_root
from mlgit.tasks.place import Place
from mlgit.tasks.split import seed_hash
from mlgit.tasks.task import Task, TaskData

ANGLES = (0, 15, 30, 45, 60, 75)
"""Degrees, against the clock."""
COLOUR_NOISE: Mapping[str, float] = {"+90%": 0.1, "+80%": 0.2, "-90%": 0.9}
"""Domain -> probability that the colour is not that of the label; in the published order, which deals the images."""
LABEL_NOISE = 0.25
_BITS = 16
_SUBFOLDERS = ("", "raw", "MNIST/raw", "MNIST")
_PARTS = (("train-images", "train-labels"), ("t10k-images", "t10k-labels"))

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


@final
@dataclass(frozen=True, kw_only=True)
class MnistDomainsKind(TaskKind):
    """Handwritten digits in domains that are turned, or coloured, differently.

    Training and test files are joined, shuffled and dealt to the domains, so that no digit stands in two of them.

    Attributes:
        variant: ``rotated``: domains 0, 15, 30, 45, 60 and 75 are degrees, classes are digits, images 1 by 28 by 28.
            ``colored``: domains +90%, +80% and -90% say how far the colour agrees with the label, which is whether the
            digit is below 5, false in a quarter of all cases; images are 2 by 28 by 28.
        seed: Of the shuffle, the false labels and the colours; 0 to 2^31 - 1.
    """

    name: ClassVar[str] = "mnist-domains"
    summary: ClassVar[str] = "RotatedMNIST and ColoredMNIST from MNIST's own files"
    needs_data: ClassVar[bool] = True

    variant: str = "rotated"
    seed: int = 0

    def __post_init__(self) -> None:
        known = ("rotated", "colored")
        if self.variant not in known:
            raise InvalidInputError(
                f"option 'variant' cannot be '{self.variant}'",
                kind="bad-option",
                hint=did_you_mean(str(self.variant), known),
            )
        seed: object = self.seed  # from a file: the annotation is a hope
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**31:
            raise InvalidInputError(f"option 'seed' is {seed!r}; 0 to 2^31 - 1 is allowed", kind="bad-option")

    def open(self, definition: TaskDefinition, place: Place) -> Task:
        """Read the four files and make the domains.

        Args:
            definition: The task.
            place: Its data are a directory with ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the two
                files that begin with ``t10k``, packed with gzip or not; or the one around it.

        Raises:
            NotFoundError: No such directory or test domain.
            InvalidInputError: A file is missing, damaged, or does not fit the others.
        """
        images, labels = read_mnist(find_root(definition, place.data, ("MNIST",)))
        random = np.random.RandomState(seed_hash("mnist-domains", self.variant, self.seed))
        order = random.permutation(len(images))
        images, labels = images[order], labels[order]
        domains = _rotated(images, labels) if self.variant == "rotated" else _colored(images, labels, random)
        classes = tuple(str(digit) for digit in range(10)) if self.variant == "rotated" else ("5 to 9", "0 to 4")
        shape = tuple(domains[0].pixels.shape[1:])
        return Task(definition, TaskData(domains=tuple(domains), classes=classes, input_shape=shape))


def read_mnist(root: Path) -> tuple[Images, Labels]:
    """Return all images, uint8 (N, H, W), and digits, int64 (N,), of the training files and the test files.

    Raises:
        NotFoundError: A file is missing.
        InvalidInputError: A file is damaged or does not fit the others.
    """
    images, labels = [], []
    for image_name, label_name in _PARTS:
        image, label = read_idx(_find(root, image_name, 3)), read_idx(_find(root, label_name, 1))
        if image.ndim != 3 or label.shape != image.shape[:1] or not len(image) or label.max() > 9:
            raise InvalidInputError(
                f"'{image_name}' and '{label_name}' in '{root}' do not fit together: "
                f"shapes {list(image.shape)} and {list(label.shape)}",
                kind="bad-idx",
            )
        images.append(image)
        labels.append(label.astype(np.int64))
    if images[0].shape[1:] != images[1].shape[1:]:
        raise InvalidInputError(f"training and test images in '{root}' have different sizes", kind="bad-idx")
    return np.concatenate(images), np.concatenate(labels)


def _find(root: Path, name: str, dimensions: int) -> Path:
    for folder in _SUBFOLDERS:
        for dot in ("-", "."):
            for ending in ("", ".gz"):
                path = root / folder / f"{name}{dot}idx{dimensions}-ubyte{ending}"
                if path.is_file():
                    return path
    raise NotFoundError(
        f"there is no '{name}-idx{dimensions}-ubyte' in '{root}', packed or not",
        kind="missing-data",
        hint="give the directory with the four files of MNIST",
    )


def _rotated(images: Images, labels: Labels) -> list[ArrayDomain]:
    step = len(ANGLES)
    return [
        _domain(str(angle), rotate(images[place::step], angle)[:, None], labels[place::step])
        for place, angle in enumerate(ANGLES)
    ]


def _colored(images: Images, labels: Labels, random: np.random.RandomState) -> list[ArrayDomain]:
    small = (labels < 5) ^ (random.random_sample(len(labels)) < LABEL_NOISE)
    wrong = random.random_sample(len(labels))
    domains = []
    for place, (name, noise) in enumerate(COLOUR_NOISE.items()):
        chosen = slice(place, None, len(COLOUR_NOISE))
        colours = small[chosen] ^ (wrong[chosen] < noise)
        both = np.stack([images[chosen], images[chosen]], axis=1)
        both[np.arange(len(both)), 1 - colours.astype(np.int64)] = 0
        domains.append(_domain(name, both, small[chosen].astype(np.int64)))
    return sorted(domains, key=lambda domain: domain.name)


def _domain(name: str, pixels: Images, labels: Labels) -> ArrayDomain:
    if not len(labels):
        raise InvalidInputError(f"there are too few digits for domain '{name}'", kind="empty-domain")
    return ArrayDomain(
        name, torch.from_numpy(np.ascontiguousarray(pixels)), torch.from_numpy(labels.copy()), mean=0.0, std=1.0
    )


def rotate(images: Images, degrees: int) -> Images:
    """Turn images against the clock around their centre with bilinear interpolation; what comes in is 0.

    As Pillow does it, but sine and cosine are rounded to 16 bits and the rest is exact.

    Args:
        images: uint8 (N, H, W).
        degrees: Any whole number.
    """
    _, height, width = images.shape
    sine, cosine = (round(part(math.radians(degrees)) * 2**_BITS) for part in (math.sin, math.cos))
    down, right = np.meshgrid(
        np.arange(1 - height, height, 2), np.arange(1 - width, width, 2), indexing="ij"
    )  # in half pixels from the centre
    unit = 2 << _BITS
    row, row_rest, inside_rows = _place(cosine * down + sine * right, height, unit)
    column, column_rest, inside_columns = _place(cosine * right - sine * down, width, unit)
    total = np.zeros(images.shape, np.int64)
    for step_down, share_down in ((0, unit - row_rest), (1, row_rest)):
        for step_right, share_right in ((0, unit - column_rest), (1, column_rest)):
            rows = np.clip(row + step_down, 0, height - 1)
            columns = np.clip(column + step_right, 0, width - 1)
            total += (share_down * share_right) * images[:, rows, columns]
    total *= inside_rows & inside_columns
    return (total >> (2 * (_BITS + 1))).astype(np.uint8)


def _place(
    position: NDArray[np.int64], length: int, unit: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return index, remainder and whether a position, in units of half a pixel from the centre, lies in the image."""
    centred = position + (length * unit) // 2
    inside = (centred >= 0) & (centred < length * unit)
    index, rest = np.divmod(centred - unit // 2, unit)
    return index, rest, inside
