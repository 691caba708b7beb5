"""A small convolutional network for images of 8 by 8 pixels."""

from __future__ import annotations

from typing import final

import torch
from torch import nn


def _block(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


@final
class DigitsCNN(nn.Module):
    """Four convolutions with batch normalisation, 128 features, a linear classifier; about 43,000 parameters.

    Its batch normalisation is there on purpose: frozen statistics then matter for small models as they do for large
    ones.

    Args:
        num_classes: Outputs.
        channels: Of the image.
    """

    features = 128

    def __init__(self, num_classes: int = 10, channels: int = 1) -> None:
        super().__init__()
        self.featurizer = nn.Sequential(
            _block(channels, 16, stride=1),
            _block(16, 32, stride=2),
            _block(32, 64, stride=1),
            _block(64, 32, stride=2),
            nn.Flatten(),
        )
        self.classifier = nn.Linear(self.features, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits, float32 (B, num_classes), for images float32 (B, channels, 8, 8)."""
        logits: torch.Tensor = self.classifier(self.featurizer(images))
        return logits
