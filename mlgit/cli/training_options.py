"""The options of every verb that trains, and how they become typed values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mlgit.errors import InvalidInputError, did_you_mean

if TYPE_CHECKING:
    from mlgit.objects import Stage
    from mlgit.porcelain.open_model import Runtime
    from mlgit.porcelain.train import TrainOptions

Task = Annotated[str, typer.Option("--task", "-t", help="Name of the task; see `mlgit task list`.")]
OptionalTask = Annotated[str | None, typer.Option("--task", "-t", help="Name of the task; see `mlgit task list`.")]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Learning rate of Adam, above 0. Default: 5e-5.")]
Steps = Annotated[int | None, typer.Option("--steps", help="Number of updates. Default: 5001.")]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", help="Examples per training domain and step. Default: 32.")
]
Dropout = Annotated[float | None, typer.Option("--dropout", help="Share of features dropped, 0 to 1. Default: 0.")]
WeightDecay = Annotated[float | None, typer.Option("--weight-decay", help="L2 penalty of Adam. Default: 0.")]
EvalEvery = Annotated[int | None, typer.Option("--eval-every", help="Steps between evaluations. Default: 100.")]
FreezeSteps = Annotated[
    int | None,
    typer.Option("--freeze-steps", help="Head-only steps at the start, from an auxiliary featurizer. Default: 200."),
]
Seed = Annotated[int, typer.Option("--seed", help="Of data order, dropout and new classifiers.")]
Trial = Annotated[int, typer.Option("--trial", help="Number of the data split into training and ID validation.")]
StageOption = Annotated[
    str | None,
    typer.Option("--stage", help="pretrain, auxiliary or target. Default: target for a task with a test domain."),
]
Preset = Annotated[
    str | None,
    typer.Option("--preset", help="paper: the numbers of the paper, with the steps of its dataset.", metavar="NAME"),
]
ClassBalanced = Annotated[
    bool, typer.Option("--class-balanced", help="Draw classes with equal probability, not examples.")
]
LossOption = Annotated[str, typer.Option("--loss", help="cross-entropy, or coral.")]
CoralWeight = Annotated[float, typer.Option("--coral-weight", help="Weight of CORAL's penalty.")]
Average = Annotated[str, typer.Option("--average", help="Average along the run: none, moving or swad.")]
AverageFrom = Annotated[int, typer.Option("--average-from", help="First step that the moving average takes.")]
SwadConverge = Annotated[int, typer.Option("--swad-converge", help="Evaluations that open SWAD's window.")]
SwadPatience = Annotated[int, typer.Option("--swad-patience", help="Evaluations that close SWAD's window.")]
SwadTolerance = Annotated[float, typer.Option("--swad-tolerance", help="Rise of the loss that closes it, as a share.")]
Collect = Annotated[
    list[str] | None,
    typer.Option("--collect", help="Commit this average of the run too, moving or swad; repeatable.", metavar="NAME"),
]
KeepOption = Annotated[
    str | None,
    typer.Option("--keep", help="Weights to keep: best or last. Default: last for auxiliary runs, best for others."),
]
Again = Annotated[
    bool, typer.Option("--again", help="Allow a target run to start from weights trained on its own task.")
]
Precision = Annotated[str, typer.Option("--precision", help="float32, or bfloat16 or float16 in forward passes.")]
ChannelsLast = Annotated[bool, typer.Option("--channels-last", help="Keep images with channels last.")]
Compile = Annotated[
    str | None, typer.Option("--compile", help="Compile with this backend of torch: inductor.", metavar="BACKEND")
]
Accumulate = Annotated[int, typer.Option("--accumulate", help="Compute each batch in so many parts.")]
SaveEveryOption = Annotated[
    str, typer.Option("--save-every", help="Save the run's state: each 500 steps, each 300s, or off.", metavar="WHEN")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
TrustCode = Annotated[bool, typer.Option("--trust-code", help="Allow `python:` factories and tasks to run code.")]


def runtime(device: str, trust_code: bool) -> Runtime:
    """Return how models are run."""
    from mlgit.porcelain.open_model import Runtime

    return Runtime(device=device, trust_code=trust_code)


@dataclass(frozen=True, kw_only=True)
class TrainingFlags:
    """The options of the verbs that train; what was not given keeps its default, fitted to fewer steps."""

    lr: LearningRate = None
    steps: Steps = None
    batch_size: BatchSize = None
    dropout: Dropout = None
    weight_decay: WeightDecay = None
    eval_every: EvalEvery = None
    freeze_steps: FreezeSteps = None
    seed: Seed = 0
    trial: Trial = 0
    stage: StageOption = None
    preset: Preset = None
    class_balanced: ClassBalanced = False
    loss: LossOption = "cross-entropy"
    coral_weight: CoralWeight = 1.0
    average: Average = "none"
    average_from: AverageFrom = 100
    swad_converge: SwadConverge = 3
    swad_patience: SwadPatience = 6
    swad_tolerance: SwadTolerance = 0.3
    collect: Collect = None
    keep: KeepOption = None
    again: Again = False
    precision: Precision = "float32"
    channels_last: ChannelsLast = False
    compile: Compile = None
    accumulate: Accumulate = 1
    save_every: SaveEveryOption = "300s"
    device: Device = "auto"
    trust_code: TrustCode = False

    def refuse_without_training(self, *, start: str = "HEAD", stage_allowed: bool = False) -> None:
        """Refuse options of a training that was not asked for, rather than ignore them.

        Args:
            start: What ``--from`` says.
            stage_allowed: Whether ``--stage`` means something without training.

        Raises:
            InvalidInputError: One of them was given; all are named.
        """
        harmless = {"trust_code", "stage"} if stage_allowed else {"trust_code"}  # a permission may stand anywhere
        changed = [field.name for field in fields(self) if getattr(self, field.name) != field.default]
        given = [f"--{name.replace('_', '-')}" for name in changed if name not in harmless]
        given += ["--from"] if start != "HEAD" else []
        if given:
            raise InvalidInputError(
                f"without `--train` there is nothing to use {', '.join(given)} for",
                kind="usage",
                hint="add `--train`, or leave them out",
            )

    def runtime(self) -> Runtime:
        """Return how the model is run."""
        return runtime(self.device, self.trust_code)

    def options(self) -> TrainOptions:
        """Return how it is trained.

        Raises:
            InvalidInputError: A value out of range, or an unknown stage.
        """
        from mlgit.porcelain.train import Execution, Method, SaveEvery, TrainOptions, fitted_hyper

        wanted = {
            "lr": self.lr,
            "steps": self.steps,
            "batch_per_domain": self.batch_size,
            "dropout": self.dropout,
            "weight_decay": self.weight_decay,
            "eval_every": self.eval_every,
            "freeze_steps": self.freeze_steps,
        }
        given = {name: value for name, value in wanted.items() if value is not None}
        return TrainOptions(
            hyper=fitted_hyper(given),
            seed=self.seed,
            trial=self.trial,
            stage=parse_stage(self.stage),
            method=Method(**{name: getattr(self, name) for name in _METHOD}),
            collect=tuple(self.collect or ()),
            execution=Execution(**{name: getattr(self, name) for name in _EXECUTION}),
            keep=_parse_keep(self.keep),
            again=self.again,
            save_every=SaveEvery.parse(self.save_every),
            preset=self.preset,
            given=given,
        )


_METHOD = (
    "class_balanced",
    "loss",
    "coral_weight",
    "average",
    "average_from",
    "swad_converge",
    "swad_patience",
    "swad_tolerance",
)
_EXECUTION = ("precision", "channels_last", "compile", "accumulate")


_KEEP: Mapping[str, Literal["best", "last"]] = {"best": "best", "last": "last"}


def _parse_keep(text: str | None) -> Literal["best", "last"] | None:
    if text is None or text in _KEEP:
        return None if text is None else _KEEP[text]
    raise InvalidInputError(f"`--keep` is '{text}'", kind="unknown-checkpoint", hint="use `best` or `last`")


def parse_stage(text: str | None) -> Stage | None:
    """Return a stage by name.

    Raises:
        InvalidInputError: No such stage.
    """
    from mlgit.objects import Stage

    known = [stage.value for stage in Stage]
    if text is not None and text not in known:
        raise InvalidInputError(f"no stage is named '{text}'", kind="unknown-stage", hint=did_you_mean(text, known))
    return None if text is None else Stage(text)
