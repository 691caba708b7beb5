"""From the bytes of a file to pixels in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from mlgit.errors import InvalidInputError
from mlgit.tasks.preprocessing import Pixels

KEPT_BYTES = 2**30
"""How much of decoded images is kept in memory where there is no cache on disk."""


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


class PixelSource(ABC):
    """Gives the pixels of pictures."""

    @abstractmethod
    def pixels(self, picture: Picture) -> Pixels:
        """Return a decoded picture, read-only.

        Raises:
            InvalidInputError: It cannot be decoded; it is named.
        """


@dataclass(frozen=True)
class Decoder:
    """Decodes files.

    Attributes:
        root: Directory of the data.
        decode_size: Images whose shorter side has more pixels are reduced to it, the aspect ratio kept; 0: never.
    """

    root: Path
    decode_size: int = 0

    def decode(self, path: str) -> Pixels:
        """Return an image in RGB; orientation tags are not applied, as in the published protocols.

        Raises:
            InvalidInputError: It cannot be decoded; it is named.
        """
        with opened(self.root / path) as image:
            transparent = image.mode == "P" and "transparency" in image.info
            decoded = (image.convert("RGBA") if transparent else image).convert("RGB")
        short = min(decoded.size)
        if 0 < self.decode_size < short:
            width, height = (max(1, round(side * self.decode_size / short)) for side in decoded.size)
            decoded = decoded.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(decoded)


@dataclass(eq=False)
class MemoryCache(PixelSource):
    """Decodes images when they are asked for, and keeps the first ones.

    Attributes:
        decoder: Decodes.
        room_bytes: How many more bytes may be kept.
    """

    decoder: Decoder
    room_bytes: int = KEPT_BYTES
    _kept: dict[str, Pixels] = field(default_factory=dict)

    def pixels(self, picture: Picture) -> Pixels:
        """Return a decoded picture."""
        if picture.digest not in self._kept:
            pixels = self.decoder.decode(picture.path)
            if pixels.nbytes > self.room_bytes:
                return pixels
            self.room_bytes -= pixels.nbytes
            self._kept[picture.digest] = pixels
        return self._kept[picture.digest]


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open an image; what goes wrong within the block is the image's fault.

    Raises:
        InvalidInputError: It is no image, is broken, or would be far too large; it is named.
    """
    try:
        with Image.open(path) as image:
            yield image
    except UnidentifiedImageError as error:
        raise InvalidInputError(
            f"'{path}' is not an image", kind="unreadable-image", hint="replace the file or leave it out"
        ) from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        said = str(error).partition("\n")[0][:200]
        raise InvalidInputError(
            f"image '{path}' cannot be read: {said}", kind="unreadable-image", hint="replace the file or leave it out"
        ) from error
