"""Numbers that a paper used, as one option."""

from __future__ import annotations

from collections.abc import Mapping

from mlgit.errors import NotFoundError, did_you_mean
from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.presets import PRESETS
from mlgit.training.hyper import HyperParameters

PAPER = "paper"
_KNOWN = (PAPER,)


def preset_hyper(
    name: str, definition: TaskDefinition, given: Mapping[str, float]
) -> tuple[HyperParameters, HyperParameters]:
    """Return the hyper-parameters of fine-tuning and of the linear probe that a preset stands for.

    ``paper``: Adam at 5e-5 without weight decay and dropout, 32 examples per domain, 5,001 steps, evaluated every 100,
    200 head-only steps where the featurizer is recycled; steps and evaluations are those of the published dataset that
    the task is, where it is one. The probe has the same numbers.

    Args:
        name: ``paper``.
        definition: The task; its preset names the dataset.
        given: Field of ``HyperParameters`` -> value that takes the place of the preset's, for fine-tuning. ``steps``
            and ``eval_every`` are the probe's too.

    Raises:
        NotFoundError: No such preset.
        InvalidInputError: A value out of range.

    Reference:
        Ramé et al., "Model Ratatouille", ICML 2023, arXiv:2212.10445, appendices.
    """
    if name not in _KNOWN:
        raise NotFoundError(
            f"no training preset is named '{name}'", kind="unknown-preset", hint=did_you_mean(name, _KNOWN)
        )
    dataset = PRESETS.get(definition.preset or "")
    usual = HyperParameters()
    if dataset is not None:
        usual = usual.with_overrides({"steps": dataset.steps, "eval_every": dataset.eval_every})
    length = {field: value for field, value in given.items() if field in ("steps", "eval_every")}
    return usual.with_overrides(given), usual.with_overrides(length)
