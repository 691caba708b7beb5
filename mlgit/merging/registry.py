"""The table of merge strategies. Names are written into commits: add names, never reuse one for another algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlgit.registry import Registry

if TYPE_CHECKING:  # naming the strategies must not import torch
    from mlgit.merging.strategy import MergeStrategy

MERGE_STRATEGIES: Registry[type[MergeStrategy]] = Registry(
    noun="merge strategy",
    group="mlgit.merge_strategies",
    builtin={
        "fusing": "mlgit.merging.fusing:Fusing",
        "greedy": "mlgit.merging.greedy:GreedySoup",
        "uniform": "mlgit.merging.uniform:UniformAverage",
        "wise": "mlgit.merging.wise:WiseInterpolation",
    },
)
