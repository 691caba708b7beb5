"""The tables of losses and of averages along a run. Names are written into commits: never reuse one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlgit.registry import Registry

if TYPE_CHECKING:  # naming them must not import torch
    from mlgit.training.losses import Loss
    from mlgit.training.trajectory import Trajectory

LOSSES: Registry[type[Loss]] = Registry(
    noun="loss",
    group="mlgit.losses",
    builtin={
        "coral": "mlgit.training.losses:Coral",
        "cross-entropy": "mlgit.training.losses:CrossEntropy",
    },
)

TRAJECTORIES: Registry[type[Trajectory]] = Registry(
    noun="average",
    group="mlgit.trajectories",
    builtin={
        "moving": "mlgit.training.trajectory:MovingAverage",
        "none": "mlgit.training.trajectory:NoAverage",
        "swad": "mlgit.training.swad:Swad",
    },
)
