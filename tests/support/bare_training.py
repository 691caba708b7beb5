"""Training in a few lines, for comparison to the bit."""

from __future__ import annotations

import torch
from torch import nn

from mlgit.models.factories import build
from mlgit.models.network import Network
from mlgit.tasks.split import seed_hash


def bare_trajectory(network, training, hyper, seed, *, freeze_steps=0, loss=None):
    """Return the weights after each step: all gradients are computed, frozen batch-norm statistics, no dropout."""
    network = Network(build("mlgit:digits-cnn", num_classes=3, seed=1)).load(network.weights()).eval()
    module, head = network.module, network.head_module
    generator = torch.Generator().manual_seed(seed_hash(seed, "sampling"))
    trajectory = []
    for step in range(hyper.steps):
        if step in {0, freeze_steps}:
            parameters = head.parameters() if step < freeze_steps else module.parameters()
            optimizer = torch.optim.Adam(parameters, lr=hyper.lr, weight_decay=hyper.weight_decay, fused=True)
        images, labels = [], []
        for domain in training.domains:
            rows = torch.randint(len(domain), (hyper.batch_per_domain,), generator=generator)
            images.append(domain.images(rows))
            labels.append(domain.labels[rows])
        features = module.featurizer(torch.cat(images))
        logits, wanted = head(features), torch.cat(labels)
        found = nn.functional.cross_entropy(logits, wanted) if loss is None else loss(features, logits, wanted)
        module.zero_grad()
        found.backward()
        optimizer.step()
        trajectory.append(network.weights())
    return trajectory
