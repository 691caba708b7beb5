"""MobileNetV1 for images that mlgit normalises as ImageNet's usually are; the published weights want [-1, 1]."""

import torch
from mobilenet import MobileNetV1

_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


class Network(MobileNetV1):
    """The network, with the change of scale in front."""

    def features(self, x):
        return super().features(x * (2 * _STD).to(x) + (2 * _MEAN - 1).to(x))


def create(num_classes=1000):
    """Return the network with random weights."""
    return Network(num_classes)
