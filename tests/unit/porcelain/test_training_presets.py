"""The numbers of the paper, for each of its datasets."""

from __future__ import annotations

import pytest

from mlgit.errors import InvalidInputError, NotFoundError
from mlgit.porcelain.training_presets import preset_hyper
from mlgit.tasks.definition import TaskDefinition
from mlgit.training.hyper import HyperParameters


def definition(preset: str | None) -> TaskDefinition:
    return TaskDefinition(name="t", kind="imagefolder", test_domain=None, options={}, preset=preset)


@pytest.mark.parametrize(
    ("preset", "steps", "eval_every"),
    [("PACS", 5001, 100), ("VLCS", 5001, 50), ("DomainNet", 15001, 500), ("SVIRO", 5001, 300), (None, 5001, 100)],
)
def test_the_paper_trains_as_long_as_its_dataset_says(preset: str | None, steps: int, eval_every: int) -> None:
    found, probe = preset_hyper("paper", definition(preset), {})
    wanted = HyperParameters(
        lr=5e-5,
        dropout=0.0,
        weight_decay=0.0,
        batch_per_domain=32,
        steps=steps,
        eval_every=eval_every,
        freeze_steps=200,
    )
    assert found == probe == wanted


def test_what_is_given_goes_before_the_preset_and_only_lengths_reach_the_probe() -> None:
    found, probe = preset_hyper("paper", definition("VLCS"), {"lr": 1e-5, "dropout": 0.5, "steps": 300})
    assert (found.lr, found.dropout, found.steps, found.eval_every) == (1e-5, 0.5, 300, 50)
    assert (probe.lr, probe.dropout, probe.steps, probe.eval_every) == (5e-5, 0.0, 300, 50)


def test_other_presets_and_values_out_of_range_are_refused() -> None:
    with pytest.raises(NotFoundError) as error:
        preset_hyper("papers", definition(None), {})
    assert error.value.kind == "unknown-preset"
    with pytest.raises(InvalidInputError):
        preset_hyper("paper", definition(None), {"lr": -1})
