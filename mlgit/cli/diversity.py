"""``mlgit diversity``."""

from __future__ import annotations

from mlgit.cli.context import Context
from mlgit.cli.evaluate import Revisions, Split
from mlgit.cli.options import Json
from mlgit.cli.output import Styled
from mlgit.cli.style import Column
from mlgit.cli.training_options import Device, Task, Trial, TrustCode, runtime


def diversity(
    context: Context,
    revisions: Revisions,
    *,
    task: Task,
    split: Split = "validation",
    trial: Trial = 0,
    device: Device = "auto",
    trust_code: TrustCode = False,
    json: Json = False,
) -> None:
    """Measure how differently models err.

    q-diversity is 1 - Q (Yule): 0 for models that err alike, 1 for independent errors, up to 2. r-diversity is the
    number of examples on which exactly one errs over those on which both do. A dash stands where it is not defined.
    """
    from mlgit.porcelain.diversity import diversity as measure

    found = measure(
        context.repository(),
        revisions,
        task=task,
        split=split,
        trial=trial,
        runtime=runtime(device, trust_code),
        progress=context.progress,
    )
    output = context.output
    if json:
        output.json({"task": task, "split": split, "diversity": found.to_json()})
        return
    columns: list[str | Column] = [
        "first",
        "second",
        *(Column(title, right=True) for title in ("q-diversity", "r-diversity", "q, smoothed")),
    ]
    rows = [
        [Styled(a[:10], "id"), Styled(b[:10], "id"), _number(pair.q), _number(pair.r), _number(pair.q_smoothed)]
        for pair in found.pairs
        for a, b in [pair.labels]
    ]
    output.table(columns, rows)
    output.line(f"mean over {len(found.pairs)} pairs: q {_number(found.q) or '-'}, r {_number(found.r) or '-'}")


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"
