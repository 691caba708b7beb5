from __future__ import annotations

import torch
from torch import nn

from mlgit.models.digits_cnn import DigitsCNN
from mlgit.models.factories import build


def test_it_is_small_has_batch_normalisation_and_a_classifier() -> None:
    model = DigitsCNN()
    assert sum(parameter.numel() for parameter in model.parameters()) == 43_194
    assert sum(isinstance(part, nn.BatchNorm2d) for part in model.modules()) == 4
    assert model(torch.zeros(5, 1, 8, 8)).shape == (5, 10)
    assert isinstance(model.classifier, nn.Linear)


def test_it_learns_what_depends_on_position() -> None:
    model = build("mlgit:digits-cnn", num_classes=2, seed=1)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(64, 1, 8, 8, generator=generator)
    labels = (images[:, 0, :4].mean((1, 2)) > images[:, 0, 4:].mean((1, 2))).long()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    assert (model(images).argmax(1) == labels).float().mean() > 0.95
