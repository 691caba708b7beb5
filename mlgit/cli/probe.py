"""``mlgit probe``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.output import Styled
from mlgit.cli.training_options import Device, Seed, Task, Trial, TrustCode, runtime


def probe(
    context: Context,
    *,
    task: Task,
    start: Annotated[
        str, typer.Option("--from", help="Revision with the pretrained features.", metavar="REV")
    ] = "HEAD",
    lr: Annotated[float | None, typer.Option("--lr", help="Learning rate of Adam. Default: 1e-3.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Number of updates. Default: 300.")] = None,
    seed: Seed = 0,
    trial: Trial = 0,
    device: Device = "auto",
    trust_code: TrustCode = False,
) -> None:
    """Train the linear probe of a task: the classifier that all its runs share.

    There is one per task, data split and pretrained commit; when it exists, it is only named. `mlgit train` makes it
    when it is missing.
    """
    from mlgit.cli.views import percent
    from mlgit.porcelain.probe import PROBE_HYPER
    from mlgit.porcelain.probe import probe as find

    repository = context.repository()
    given = {name: value for name, value in (("lr", lr), ("steps", steps)) if value is not None}
    found = find(
        repository,
        task,
        start=start,
        hyper=PROBE_HYPER.with_overrides(given),
        seed=seed,
        trial=trial,
        runtime=runtime(device, trust_code),
        actor=context.actor(repository),
        progress=context.progress,
    )
    word = "trained" if found.created else "exists"
    accuracy = percent(found.commit.metrics["id_accuracy"])
    context.output.line(Styled(found.id.short, "id"), f" linear probe on '{task}' {word}: ID validation {accuracy}")
