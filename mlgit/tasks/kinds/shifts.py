"""The domains of digits: mild changes of 8 by 8 images, in whole numbers only, so that every machine agrees.

What varies from image to image comes from BLAKE3 of the domain's name and the image's index: no random number
generator, no floating point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

Pixels = NDArray[np.int64]
Shift = Callable[[Pixels, Sequence[int]], Pixels]

_UNIT = 16  # bits behind the point of a sine


def plain(pixels: Pixels, members: Sequence[int]) -> Pixels:
    """Return the digits as they were written."""
    del members
    return pixels


def blur(pixels: Pixels, members: Sequence[int]) -> Pixels:
    """Smooth with the binomial filter 1-2-1 in both directions."""
    del members
    wide = _framed(pixels)
    rows = wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]
    smooth: Pixels = (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:] + 8) // 16
    return smooth


def bold(pixels: Pixels, members: Sequence[int]) -> Pixels:
    """Thicken strokes: a pixel has at least two thirds of its brightest direct neighbour."""
    del members
    wide = _framed(pixels)
    beside = np.maximum(wide[:, 1:-1, :-2], wide[:, 1:-1, 2:])
    above = np.maximum(wide[:, :-2, 1:-1], wide[:, 2:, 1:-1])
    thick: Pixels = np.maximum(pixels, np.maximum(beside, above) * 2 // 3)
    return thick


def noise(pixels: Pixels, members: Sequence[int]) -> Pixels:
    """Add independent noise, nearly Gaussian (the sum of four bytes), with a standard deviation of a fifth."""
    values = [np.frombuffer(_bytes("noise", index, 256), np.uint8).reshape(4, 8, 8) for index in members]
    total = np.stack(values).astype(np.int64).sum(axis=1)  # mean 510, standard deviation 148
    noisy: Pixels = np.clip(pixels + (total - 510) // 3, 0, 255)
    return noisy


def rotate(pixels: Pixels, members: Sequence[int]) -> Pixels:
    """Turn by 10 to 25 whole degrees, either way, around the centre, with bilinear interpolation."""
    return np.stack([turn(image, angle(index)) for image, index in zip(pixels, members, strict=True)])


def shift(pixels: Pixels, members: Sequence[int]) -> Pixels:
    """Move by one pixel in one of the eight directions; zeros come in."""
    moves = [(down, right) for down in range(3) for right in range(3) if (down, right) != (1, 1)]
    wide = _framed(pixels)
    chosen = [moves[_bytes("shift", index, 1)[0] % 8] for index in members]
    return np.stack([wide[row, down : down + 8, right : right + 8] for row, (down, right) in enumerate(chosen)])


SHIFTS: Mapping[str, Shift] = {
    "blur": blur,
    "bold": bold,
    "noise": noise,
    "plain": plain,
    "rotate": rotate,
    "shift": shift,
}
"""Name of the domain -> function of pixels, int64 (N, 8, 8) from 0 to 255, and the images' indices."""


def _framed(pixels: Pixels) -> Pixels:
    """Return the images within a frame of zeros, one pixel wide."""
    return np.pad(pixels, ((0, 0), (1, 1), (1, 1)))


def _bytes(domain: str, index: int, length: int) -> bytes:
    return blake3(f"mlgit digits {domain} {index}".encode()).digest(length=length)


def angle(index: int) -> int:
    """Return by how many degrees an image is turned: -25 to -10 or 10 to 25."""
    size, side = _bytes("rotate", index, 2)
    return (10 + size % 16) * (1 if side % 2 else -1)


def turn(image: Pixels, degrees: int) -> Pixels:
    """Rotate one image around its centre with bilinear interpolation; what comes in from outside is 0.

    Sine and cosine are rounded to 16 bits, the rest is exact.

    Args:
        image: int64 (8, 8), 0 to 255.
        degrees: -25 to 25.
    """
    sine, cosine = (round(part(math.radians(degrees)) * 2**_UNIT) for part in (math.sin, math.cos))
    down, right = np.meshgrid(np.arange(-7, 8, 2), np.arange(-7, 8, 2), indexing="ij")  # in half pixels
    half = 7 << _UNIT
    row, row_rest = np.divmod(cosine * down - sine * right + half, 2 << _UNIT)
    column, column_rest = np.divmod(sine * down + cosine * right + half, 2 << _UNIT)
    wide = np.pad(image, 3)
    total = np.zeros((8, 8), np.int64)
    for step_down in (0, 1):
        for step_right in (0, 1):
            share = _share(row_rest, step_down) * _share(column_rest, step_right)
            total += share * wide[row + 3 + step_down, column + 3 + step_right]
    bits = 2 * (_UNIT + 1)
    return (total + (1 << (bits - 1))) >> bits


def _share(rest: Pixels, step: int) -> Pixels:
    return rest if step else (2 << _UNIT) - rest
