from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlgit.errors import NotFoundError
from mlgit.tasks import TASK_KINDS, TaskDefinition
from mlgit.tasks.kinds import kind_of
from mlgit.tasks.presets import PRESETS, deviations, find_preset, folder_names

SHARED = Path(__file__).parents[3] / ".." / "shared"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_definition_of_a_kind_that_takes_its_options(name: str) -> None:
    preset = PRESETS[name]
    assert preset.kind in TASK_KINDS
    definition = TaskDefinition(name=name, kind=preset.kind, options=preset.task_options, preset=name)
    assert kind_of(definition).name == preset.kind
    assert TaskDefinition.from_table(name, definition.to_table()) == definition
    assert list(preset.domains) == sorted(preset.domains)
    assert preset.num_classes is None or len(preset.classes) in (0, preset.num_classes)
    assert set(preset.images) <= set(preset.domains)


def test_steps_and_evaluations_are_those_of_the_paper() -> None:
    unusual = {name: (each.steps, each.eval_every) for name, each in PRESETS.items()}
    assert unusual.pop("DomainNet") == (15001, 500)
    assert unusual.pop("VLCS") == (5001, 50)
    assert unusual.pop("SVIRO") == (5001, 300)
    assert set(unusual.values()) == {(5001, 100)}


def test_the_eleven_datasets_of_the_paper_are_there() -> None:
    assert list(PRESETS) == [
        "PACS", "VLCS", "OfficeHome", "TerraIncognita", "DomainNet", "SVIRO", "Camelyon17", "RxRx1", "iWildCam",
        "RotatedMNIST", "ColoredMNIST",
    ]  # fmt: skip
    assert sum(PRESETS["PACS"].images.values()) == 9991
    assert sum(PRESETS["VLCS"].images.values()) == 10729


@pytest.mark.skipif(not (SHARED / "golden.json").exists(), reason="the published vectors are not here")
def test_the_domains_are_as_many_and_in_the_same_order_as_in_the_published_vectors() -> None:
    golden = json.dumps(json.loads((SHARED / "golden.json").read_text()))
    for name in ("PACS", "VLCS", "OfficeHome", "TerraIncognita", "DomainNet"):
        assert name in golden


def test_an_unknown_preset_is_not_found_with_a_hint() -> None:
    with pytest.raises(NotFoundError) as caught:
        find_preset("PASC")
    assert caught.value.hint == "did you mean 'PACS'?"
    assert folder_names("PASC") == folder_names(None) == ()


def test_what_differs_from_the_published_data_is_said() -> None:
    pacs = PRESETS["PACS"]
    counts = dict(pacs.images)
    assert deviations(pacs, pacs.classes, counts) == ()
    (said,) = deviations(pacs, pacs.classes, counts | {"sketch": 3928})
    assert "sketch" in said
    assert "3,929" in said
    (said,) = deviations(pacs, (*pacs.classes, "scripts"), counts)
    assert "scripts" in said
    (said,) = deviations(PRESETS["OfficeHome"], ["a"] * 64, dict.fromkeys(PRESETS["OfficeHome"].domains, 5))
    assert "65 classes" in said
    assert len(deviations(pacs, pacs.classes, {"other": 3})) == 1
