"""Colour changes of batches in which every image has its own strength; plain tensor code for any device.

Each change is the operation of the same name in ``torchvision.transforms.v2.functional`` on float images, with one
factor per image instead of one for all, and in place. On processors three things would cost more than the arithmetic:
``torch.where``, so choices are made with masks of 0 and 1; fresh memory, so intermediate results have places of their
own; and calls, so images are changed in blocks.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import final

import torch

_RED, _GREEN, _BLUE = 0.2989, 0.587, 0.114
_TINY = 1e-30
_BLOCK = 1 << 18  # numbers that are changed at once on a processor: a megabyte
_HUES = ((3.0, 2.0, 4.0), (1.0, -1.0, -1.0), (-1.0, 2.0, 2.0))
"""Of red, green and blue: the share of a channel at hue h, in sixths of the circle, is sign * |h - top| + shift."""
OPERATIONS = ("brightness", "contrast", "saturation", "hue")


@final
class Colours:
    """Changes colours of images of one size.

    Args:
        height: Of the images.
        width: Of the images.
        count: The most images there will be at once.
        device: Where they lie.
    """

    def __init__(self, height: int, width: int, count: int, device: torch.device) -> None:
        fitting = max(1, _BLOCK // (3 * height * width)) if device.type == "cpu" else count
        self._rows = min(count, fitting)
        self._images = torch.empty((self._rows, 3, height, width), device=device)
        self._planes = [torch.empty((self._rows, height, width), device=device) for _ in range(8)]
        self._hues = torch.tensor(_HUES, device=device)[:, None, :, None, None]

    def change_(self, images: torch.Tensor, operation: int, rows: torch.Tensor, strengths: torch.Tensor) -> None:
        """Change some of the images.

        Args:
            images: float32 (B, 3, H, W) from 0 to 1.
            operation: Index in ``OPERATIONS``.
            rows: int64 (N,), different ones, on the same device.
            strengths: float32 (N,): a factor, or for the hue a turn, of the whole circle.
        """
        change = (self.brightness_, self.contrast_, self.saturation_, self.hue_)[operation]
        for some, strength in zip(torch.split(rows, self._rows), torch.split(strengths, self._rows), strict=True):
            block = self._images[: len(some)]
            torch.index_select(images, 0, some, out=block)
            change(block, strength)
            _put_back(images, some, block)

    def grey_(self, images: torch.Tensor, rows: torch.Tensor) -> None:
        """Take the colours of some of the images away."""
        for some in torch.split(rows, self._rows):
            chosen = images[some]
            images[some] = self._luma(chosen)[:, None].expand_as(chosen)

    def brightness_(self, images: torch.Tensor, factors: torch.Tensor) -> None:
        """Multiply by the factors, one per image."""
        images.mul_(_per_image(factors)).clamp_(0, 1)

    def contrast_(self, images: torch.Tensor, factors: torch.Tensor) -> None:
        """Move away from (factor above 1) or towards (below 1) the mean luma of the image."""
        means = self._luma(images).flatten(1).mean(dim=1)
        images.mul_(_per_image(factors)).add_(_per_image(means * (1 - factors))).clamp_(0, 1)

    def saturation_(self, images: torch.Tensor, factors: torch.Tensor) -> None:
        """Move away from (factor above 1) or towards (below 1) the luma of the pixel."""
        luma = self._luma(images).mul_((1 - factors)[:, None, None])
        images.mul_(_per_image(factors)).add_(luma[:, None]).clamp_(0, 1)

    def hue_(self, images: torch.Tensor, turns: torch.Tensor) -> None:
        """Turn the hue."""
        red, green, blue = images.unbind(1)
        high, low, is_red, is_green, is_blue, sixths, part, chroma = (plane[: len(images)] for plane in self._planes)
        torch.maximum(torch.maximum(red, green, out=high), blue, out=high)
        torch.minimum(torch.minimum(red, green, out=low), blue, out=low)
        torch.sub(high, low, out=chroma)
        torch.eq(red, high, out=is_red)
        torch.eq(green, high, out=is_green).sub_(is_red).clamp_(min=0)
        torch.add(is_red, is_green, out=is_blue).neg_().add_(1)
        torch.sub(green, blue, out=sixths).mul_(is_red)
        sixths.addcmul_(torch.sub(blue, red, out=part), is_green)
        sixths.addcmul_(torch.sub(red, green, out=part), is_blue)
        sixths.div_(torch.clamp(chroma, min=_TINY, out=part)).add_(is_green, alpha=2).add_(is_blue, alpha=4)
        sixths.add_(6 * turns[:, None, None])
        sixths.sub_(torch.div(sixths, 6, out=part).floor_(), alpha=6)
        tops, signs, shifts = self._hues.unbind()
        shares = torch.sub(sixths[:, None], tops, out=images).abs_().mul_(signs).add_(shifts).clamp_(0, 1)
        shares.mul_(chroma[:, None]).add_(low[:, None])

    def _luma(self, images: torch.Tensor) -> torch.Tensor:
        """Return (B, H, W), valid until the next call."""
        red, green, blue = images.unbind(1)
        luma = torch.mul(red, _RED, out=self._planes[0][: len(images)])
        return luma.add_(green, alpha=_GREEN).add_(blue, alpha=_BLUE)


def _put_back(images: torch.Tensor, rows: torch.Tensor, block: torch.Tensor) -> None:
    if images.device.type != "cpu":
        images[rows] = block
        return
    for row, changed in zip(rows.tolist(), block, strict=True):  # a third of the time of ``images[rows] = block``
        images[row].copy_(changed)


@lru_cache(maxsize=4)
def _colours(thread: int, height: int, width: int, count: int, device: torch.device) -> Colours:
    del thread
    return Colours(height, width, count, device)


def colours_for(images: torch.Tensor) -> Colours:
    """Return a ``Colours`` for a batch (B, 3, H, W); each thread has its own, and keeps it for the next batch."""
    count, _, height, width = images.shape
    return _colours(threading.get_ident(), height, width, count, images.device)


def _per_image(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None, None]
