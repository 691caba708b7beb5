"""Images in files: hashed when a task is opened, decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, final

import torch
from blake3 import blake3
from PIL import Image, UnidentifiedImageError
from torchvision.transforms import v2

from mlgit.errors import InvalidInputError
from mlgit.models.seeding import seeded
from mlgit.tasks.split import DomainData

CACHE_BYTES = 2**30
"""How much of decoded images is kept in memory; further ones are decoded each time."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue; published weights expect them."""
_PART = 2**20


@dataclass(frozen=True, slots=True)
class Picture:
    """One labelled file.

    Attributes:
        path: Relative to the root of the data, with ``/``.
        label: Index of its class.
        digest: BLAKE3 of its bytes, hexadecimal.
    """

    path: str
    label: int
    digest: str


@dataclass(eq=False)
class Decoder:
    """Reads images and keeps the first ones in memory.

    Attributes:
        root: Directory of the data.
        room_bytes: How many more bytes may be kept.
    """

    root: Path
    room_bytes: int = CACHE_BYTES
    _kept: dict[str, Image.Image] = field(default_factory=dict)

    def decode(self, path: str) -> Image.Image:
        """Return an image in RGB; orientation tags are not applied, as in the published protocols.

        Raises:
            InvalidInputError: It cannot be decoded; it is named.
        """
        if path in self._kept:
            return self._kept[path]
        with _opened(self.root / path) as image:
            transparent = image.mode == "P" and "transparency" in image.info
            decoded = (image.convert("RGBA") if transparent else image).convert("RGB")
        size_bytes = 3 * decoded.width * decoded.height
        if size_bytes <= self.room_bytes:
            self.room_bytes -= size_bytes
            self._kept[path] = decoded
        return decoded


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a tensor: Ramé et al. 2023 (arXiv:2212.10445), as in DomainBed.

    Attributes:
        size: Height and width of the result, in pixels.
    """

    size: int

    @property
    def plain(self) -> v2.Compose:
        """Resize without keeping the aspect ratio, normalise."""
        return v2.Compose([v2.Resize((self.size, self.size)), *self._ending])

    @property
    def augmenting(self) -> v2.Compose:
        """Random crop, flip, colours and grey, normalise; uses torch's global generator."""
        return v2.Compose(
            [
                v2.RandomResizedCrop(self.size, scale=(0.7, 1.0)),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(0.3, 0.3, 0.3, 0.3),
                v2.RandomGrayscale(0.1),
                *self._ending,
            ]
        )

    @property
    def _ending(self) -> list[torch.nn.Module]:
        return [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD), v2.ToPureTensor()]


@final
class PictureDomain(DomainData):
    """A domain whose images lie in files.

    Args:
        name: The domain.
        pictures: In order; labels fit the task's classes.
        decoder: Shared by all domains of a task.
        preprocessing: What happens to each image.
    """

    def __init__(self, name: str, pictures: Sequence[Picture], decoder: Decoder, preprocessing: Preprocessing) -> None:
        self.name = name
        self.pictures = tuple(pictures)
        self.labels = torch.tensor([picture.label for picture in pictures], dtype=torch.int64)
        self.digest = self._hash(preprocessing.size)
        self._decoder = decoder
        self._preprocessing = preprocessing
        self._plain, self._augmenting = preprocessing.plain, preprocessing.augmenting

    def images(self, indices: torch.Tensor) -> torch.Tensor:
        """Return resized, normalised images, float32 (B, 3, size, size)."""
        return torch.stack([self._plain(image) for image in self._decoded(indices)])

    def augmented(self, indices: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return randomly cropped, flipped and coloured images, float32 (B, 3, size, size)."""
        seeds = torch.randint(2**63 - 1, (len(indices),), generator=generator).tolist()
        result = []
        for image, seed in zip(self._decoded(indices), seeds, strict=True):
            with seeded(seed):
                result.append(self._augmenting(image))
        return torch.stack(result)

    def subset(self, indices: torch.Tensor) -> Self:
        """Return the images at ``indices``."""
        chosen = [self.pictures[index] for index in indices.tolist()]
        return type(self)(self.name, chosen, self._decoder, self._preprocessing)

    def _hash(self, size: int) -> str:
        rows = [
            f"{picture.digest} {picture.label} {picture.path}\n" for picture in self.pictures
        ]  # no path has a newline
        return blake3(f"mlgit domain 1 pictures\nsize {size}\n{''.join(rows)}".encode()).hexdigest()

    def _decoded(self, indices: torch.Tensor) -> Iterator[Image.Image]:
        return (self._decoder.decode(self.pictures[index].path) for index in indices.tolist())


def inspect(root: Path, paths: Sequence[str], labels: Sequence[int]) -> list[Picture]:
    """Hash files and check that each one begins like an image; decodes none.

    Args:
        root: Directory of the data.
        paths: Relative to it.
        labels: One for each path.

    Raises:
        InvalidInputError: A file is no image or too large to be one; it is named.
    """
    with ThreadPoolExecutor(max_workers=8) as pool:
        digests = pool.map(lambda path: _digest(root / path), paths)
        return [
            Picture(path=path, label=label, digest=digest)
            for path, label, digest in zip(paths, labels, digests, strict=True)
        ]


def _digest(path: Path) -> str:
    with _opened(path):
        pass
    state = blake3()
    with path.open("rb") as stream:
        while part := stream.read(_PART):
            state.update(part)
    return state.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image; what goes wrong within the block is the image's fault."""
    try:
        with Image.open(path) as image:
            yield image
    except UnidentifiedImageError as error:
        raise InvalidInputError(
            f"'{path}' is not an image", kind="unreadable-image", hint="replace or remove the file"
        ) from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        said = str(error).partition("\n")[0][:200]
        raise InvalidInputError(
            f"image '{path}' cannot be read: {said}", kind="unreadable-image", hint="replace or remove the file"
        ) from error
