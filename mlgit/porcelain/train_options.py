"""How a run is made: numbers, method, what is kept and what is collected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from mlgit.objects import Stage
from mlgit.porcelain.probe import PROBE_HYPER
from mlgit.porcelain.training_presets import preset_hyper
from mlgit.tasks.task import Task
from mlgit.training.execution import Execution
from mlgit.training.hyper import HyperParameters
from mlgit.training.method import Method, check_collect
from mlgit.training.run import DEFAULT_EXECUTION, DEFAULT_METHOD
from mlgit.training.snapshot import DEFAULT_SAVES, SaveEvery

Keep = Literal["best", "last"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """How a run is made.

    Attributes:
        hyper: Hyper-parameters of the fine-tuning.
        probe_hyper: Those of the linear probe, when it has to be trained first.
        seed: Of the order of data, dropout and new classifiers.
        trial: Number of the data split.
        stage: ``pretrain``, ``auxiliary`` or ``target``; by default ``target`` for a task with a test domain and
            ``auxiliary`` for one without.
        method: Loss, and average along the run.
        collect: Averages of the same run to leave beside what it leaves itself: rows of ``TRAJECTORIES`` other than
            ``none`` and the method's own, each once. They change nothing of the run. Only for ``train_onto``.
        execution: Precision, layout in memory, compilation, batches in parts.
        keep: Which weights are left; None: the last ones of an auxiliary run, as the paper recycles them, the best ones
            of others.
        again: Allow a target run to start from weights that were trained on its own task.
        save_every: When the state of the run is saved, from which a killed run goes on.
        preset: ``paper``, whose numbers take the place of ``hyper`` and ``probe_hyper``; see ``preset_hyper``.
        given: Field of ``HyperParameters`` -> value that goes before a preset's, and before what a sweep draws.

    Raises:
        InvalidInputError, NotFoundError: What cannot be collected.
    """

    hyper: HyperParameters = field(default_factory=HyperParameters)
    probe_hyper: HyperParameters = PROBE_HYPER
    seed: int = 0
    trial: int = 0
    stage: Stage | None = None
    method: Method = DEFAULT_METHOD
    collect: tuple[str, ...] = ()
    execution: Execution = DEFAULT_EXECUTION
    keep: Keep | None = None
    again: bool = False
    save_every: SaveEvery = DEFAULT_SAVES
    preset: str | None = None
    given: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_collect(self.collect, self.method)

    def on(self, task: Task) -> TrainOptions:
        """Return the options with the numbers of the preset for a task."""
        if self.preset is None:
            return self
        hyper, probe = preset_hyper(self.preset, task.definition, self.given)
        return replace(self, hyper=hyper, probe_hyper=probe)

    def stage_on(self, task: Task) -> Stage:
        """Return where the commit of a run on a task stands."""
        return self.stage or (Stage.TARGET if task.test_domain else Stage.AUXILIARY)

    def keep_at(self, stage: Stage) -> Keep:
        """Return which weights a run of a stage leaves."""
        return self.keep or ("last" if stage is Stage.AUXILIARY else "best")


def fitted_hyper(given: Mapping[str, float]) -> HyperParameters:
    """Return hyper-parameters with the paper's defaults for what was not given.

    In a run shorter than the paper's, at most a fifth of the steps are head-only and there are ten evaluations.

    Args:
        given: Field of ``HyperParameters`` -> value.

    Raises:
        InvalidInputError: A value out of range.
    """
    usual = HyperParameters()
    steps = max(int(given.get("steps", usual.steps)), 1)
    fitted = {
        "freeze_steps": min(usual.freeze_steps, steps // 5),
        "eval_every": min(usual.eval_every, max(1, steps // 10)),
    }
    return usual.with_overrides({**fitted, **given})
