"""Random crops, flips and colours: Ramé et al. 2023 (arXiv:2212.10445), as in DomainBed.

All that is random is drawn at once, for a whole batch, from the one generator that is handed in; what is done with the
numbers has no randomness of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from mlgit.tasks.colours import OPERATIONS, colours_for

SCALE = (0.7, 1.0)
"""Share of the area of an image that a crop covers."""
RATIO = (3 / 4, 4 / 3)
"""Width of a crop, divided by its height; its logarithm is uniform."""
FLIP, GREY = 0.5, 0.1
"""Probabilities."""
JITTER = 0.3
"""Brightness, contrast and saturation are multiplied by 1 - JITTER to 1 + JITTER, hue is turned by as much."""
_ATTEMPTS = 10


@dataclass(frozen=True, eq=False)
class Draw:
    """What happens to each image of a batch.

    Attributes:
        boxes: int64 (B, 4): top, left, height and width of the crop, in pixels.
        flips: bool (B,): whether left and right change places.
        order: int64 (B, 4): permutations of the indices of ``OPERATIONS``.
        strengths: float32 (B, 4): factors of brightness, contrast and saturation, turn of hue.
        greys: bool (B,): whether colours are taken away in the end.
    """

    boxes: torch.Tensor
    flips: torch.Tensor
    order: torch.Tensor
    strengths: torch.Tensor
    greys: torch.Tensor


def draw(sizes: torch.Tensor, generator: torch.Generator) -> Draw:
    """Draw for a batch.

    Args:
        sizes: int64 (B, 2): heights and widths of the images, at least 1.
        generator: A CPU generator; how far it advances depends on B alone.
    """
    count = len(sizes)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(count, *shape, generator=generator, dtype=torch.float64)

    boxes = crop_boxes(sizes, uniform(_ATTEMPTS, 2), uniform(2))
    factors = (1 - JITTER) + 2 * JITTER * uniform(3)
    turns = JITTER * (2 * uniform(1) - 1)
    return Draw(
        boxes=boxes,
        flips=uniform() < FLIP,
        order=uniform(4).argsort(dim=1),
        strengths=torch.cat([factors, turns], dim=1).float(),
        greys=uniform() < GREY,
    )


def crop_boxes(sizes: torch.Tensor, shapes: torch.Tensor, corners: torch.Tensor) -> torch.Tensor:
    """Return random crops by torchvision's rule.

    The first of ten random areas and aspect ratios that fits the image is taken; if none does, the largest crop in the
    middle whose ratio is allowed.

    Args:
        sizes: int64 (B, 2): heights and widths.
        shapes: float64 (B, 10, 2), uniform from 0 to 1: for area and aspect ratio.
        corners: float64 (B, 2), uniform from 0 to 1: for top and left.

    Returns:
        int64 (B, 4): top, left, height, width.
    """
    height, width = sizes[:, :1], sizes[:, 1:]
    area = (SCALE[0] + (SCALE[1] - SCALE[0]) * shapes[..., 0]) * (height * width)
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    ratio = torch.exp(low + (high - low) * shapes[..., 1])
    wide, tall = torch.round(torch.sqrt(area * ratio)).long(), torch.round(torch.sqrt(area / ratio)).long()
    fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
    first = fits.int().argmax(dim=1, keepdim=True)
    crops = torch.cat([tall.gather(1, first), wide.gather(1, first)], dim=1)
    places = torch.minimum((corners * (sizes - crops + 1)).long(), sizes - crops)
    boxes = torch.cat([places, crops], dim=1)
    return torch.where(fits.any(dim=1, keepdim=True), boxes, _central(sizes))


def _central(sizes: torch.Tensor) -> torch.Tensor:
    height, width = sizes.double().unbind(1)
    wide = torch.where(width > RATIO[1] * height, torch.round(height * RATIO[1]), width)
    tall = torch.where(width < RATIO[0] * height, torch.round(width / RATIO[0]), height)
    crops = torch.stack([tall, wide], dim=1).long().clamp_(min=1)
    return torch.cat([(sizes - crops) // 2, crops], dim=1)


def recolour(images: torch.Tensor, drawn: Draw) -> torch.Tensor:
    """Change colours as drawn: all images that need the same change at the same place in their order together.

    Args:
        images: float32 (B, 3, H, W) from 0 to 1, on any device; overwritten.
        drawn: On the CPU.

    Returns:
        The same tensor.
    """
    colours = colours_for(images)
    for step in drawn.order.unbind(1):
        for operation in range(len(OPERATIONS)):
            rows = (step == operation).nonzero()[:, 0]
            strengths = drawn.strengths[rows, operation]
            colours.change_(images, operation, rows.to(images.device), strengths.to(images.device))
    colours.grey_(images, drawn.greys.nonzero()[:, 0].to(images.device))
    return images
