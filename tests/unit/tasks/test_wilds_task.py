from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mlgit.errors import InvalidInputError, MlgitError, NotFoundError
from mlgit.objects.encoding import JsonValue
from mlgit.tasks import TaskDefinition
from mlgit.tasks.kinds import Place, open_task, survey_task
from mlgit.tasks.pictures import PictureDomain
from mlgit.tasks.task import Task


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def table(root: Path, columns: list[str], rows: list[list[object]]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    with (root / "metadata.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])


def camelyon(folder: Path) -> Path:
    root = folder / "camelyon17_v1.0"
    rows: list[list[object]] = []
    for number in range(30):
        patient, node = f"{number // 10:03}", number % 2
        name = f"patient_{patient}_node_{node}"
        picture(root / "patches" / name / f"patch_{name}_x_{100 + number}_y_{number}.png", number)
        rows.append([number, patient, node, 100 + number, number, number % 3 == 0, number // 10, number % 5, 0])
    rows = [[int(cell) if isinstance(cell, bool) else cell for cell in row] for row in rows]
    table(root, ["", "patient", "node", "x_coord", "y_coord", "tumor", "slide", "center", "split"], rows)
    return root


def rxrx(folder: Path) -> Path:
    root = folder / "rxrx1_v1.0"
    rows: list[list[object]] = []
    for number in range(24):
        experiment = ("HEPG2-01", "HUVEC-10", "HUVEC-02")[number % 3]
        picture(root / "images" / experiment / f"Plate{number % 4}" / f"B{number:02}_s{number % 2 + 1}.png", number)
        cell = experiment.partition("-")[0]
        rows.append(["x", cell, "train", experiment, number % 4, f"B{number:02}", number % 2 + 1, number % 5])
    table(root, ["site_id", "cell_type", "dataset", "experiment", "plate", "well", "site", "sirna_id"], rows)
    return root


def iwildcam(folder: Path) -> Path:
    root = folder / "iwildcam_v2.0"
    rows: list[list[object]] = []
    for number in range(24):
        picture(root / "train" / f"{number}-id.jpg", number)
        rows.append(["train", number % 2 + 9, f"{number}-id.jpg", number % 4 + 3])
    table(root, ["split", "location_remapped", "filename", "y"], rows)
    return root


def opened(data: Path, test_domain: str | None = None, **options: JsonValue) -> Task:
    options = {"image_size": 10} | options
    definition = TaskDefinition(name="t", kind="wilds", test_domain=test_domain, options=options)
    return open_task(definition, data)


def paths(task: Task, domain: str) -> list[str]:
    found = task.domain(domain)
    assert isinstance(found, PictureDomain)
    return [each.path for each in found.pictures]


def test_camelyon_has_hospitals_and_keeps_the_order_of_its_table(tmp_path: Path) -> None:
    root = camelyon(tmp_path)
    task = opened(tmp_path, "hospital_2")
    assert task.domains == tuple(f"hospital_{number}" for number in range(5))
    assert task.classes == ("normal", "tumor")
    assert paths(task, "hospital_3")[:2] == [
        "patches/patient_000_node_1/patch_patient_000_node_1_x_103_y_3.png",
        "patches/patient_000_node_0/patch_patient_000_node_0_x_108_y_8.png",
    ]
    assert task.domain("hospital_3").labels.tolist() == [1, 0, 0, 1, 0, 0]
    assert opened(root, "hospital_2").digest == task.digest


def test_rxrx_has_experiments_or_cell_types(tmp_path: Path) -> None:
    rxrx(tmp_path)
    task = opened(tmp_path, dataset="rxrx1")
    assert task.domains == ("HEPG2-01", "HUVEC-02", "HUVEC-10")
    assert task.num_classes == 5
    assert paths(task, "HUVEC-10")[0] == "images/HUVEC-10/Plate1/B01_s2.png"
    cells = opened(tmp_path, dataset="rxrx1", domain="cell_type")
    assert {name: len(cells.domain(name)) for name in cells.domains} == {"HEPG2": 8, "HUVEC": 16}


def test_iwildcam_has_camera_traps_in_string_order_or_one_domain(tmp_path: Path) -> None:
    iwildcam(tmp_path)
    task = opened(tmp_path, dataset="iwildcam")
    assert task.domains == ("location_10", "location_9")
    assert task.num_classes == 7, "the largest label and one"
    assert opened(tmp_path, dataset="iwildcam", domain="all").domains == ("all",)


def test_images_are_resized_before_they_are_cropped(tmp_path: Path) -> None:
    camelyon(tmp_path)
    domain = opened(tmp_path).domain("hospital_0")
    assert isinstance(domain, PictureDomain)
    assert domain._preprocessing.resize_first
    assert domain.augmented(torch.arange(2), torch.Generator().manual_seed(0)).shape == (2, 3, 10, 10)


def test_an_excluded_image_is_left_out_and_an_unknown_one_is_noted(tmp_path: Path) -> None:
    root = camelyon(tmp_path)
    path = "patches/patient_000_node_1/patch_patient_000_node_1_x_103_y_3.png"
    (root / path).write_bytes(b"broken")
    with pytest.raises(InvalidInputError, match="x_103_y_3") as caught:
        opened(tmp_path)
    assert "exclude" in str(caught.value.hint)
    task = opened(tmp_path, exclude=[path, "patches/none.png"])
    assert path not in paths(task, "hospital_3")
    assert task.data.notes == ("excluded 'patches/none.png' is not there",)


def test_a_survey_names_missing_and_broken_images(tmp_path: Path) -> None:
    root = camelyon(tmp_path)
    (root / "patches/patient_000_node_1/patch_patient_000_node_1_x_103_y_3.png").unlink()
    broken = root / "patches/patient_000_node_0/patch_patient_000_node_0_x_108_y_8.png"
    broken.write_bytes(broken.read_bytes()[:-50])
    definition = TaskDefinition(name="t", kind="wilds", options={"image_size": 10})
    survey = survey_task(definition, Place(data=tmp_path))
    assert len(survey.examples) == 28
    assert sorted(survey.unreadable) == [
        "patches/patient_000_node_0/patch_patient_000_node_0_x_108_y_8.png",
        "patches/patient_000_node_1/patch_patient_000_node_1_x_103_y_3.png",
    ]


COLUMNS = ["patient", "node", "x_coord", "y_coord", "tumor", "center"]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (["000", "0", "1", "1", "2", "0"], "bad-metadata"),
        (["000", "0", "1", "1", "-1", "0"], "bad-metadata"),
        (["000", "0", "1", "1", "one", "0"], "bad-metadata"),
        (["000", "0", "1", "1", "1e9", "0"], "bad-metadata"),
        (["000", "0", "1", "1", "9" * 400, "0"], "bad-metadata"),
        (["000", "0", "1", "1", "", "0"], "bad-metadata"),
        (["000", "0", "1", "1"], "bad-metadata"),
        (["000", "0", "5", "5", "1", "0"], "bad-metadata"),  # a second time
        (["../../x", "0", "1", "1", "1", "0"], "bad-name"),
        (["000", "0", "/etc/", "1", "1", "0"], "unreadable-image"),  # below the root, and not there
        (["000", "0", "1//", "1", "1", "0"], "bad-path"),
        (["000", "0", "1", "1", "1", "0\u202e"], None),
        (["0\x1b[31m", "0", "1", "1", "1", "0"], "bad-name"),
    ],
)
def test_a_row_that_cannot_be_is_refused(tmp_path: Path, row: list[object], kind: str | None) -> None:
    root = tmp_path / "camelyon17_v1.0"
    slide = "patient_000_node_0"
    for number in (1, 5):
        picture(root / "patches" / slide / f"patch_{slide}_x_{number}_y_{number}.png", number)
    table(root, COLUMNS, [["000", "0", "5", "5", "1", "0"], row])
    with pytest.raises(InvalidInputError) as caught:
        opened(tmp_path)
    assert kind in (None, caught.value.kind)


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe\x00", b"patient,node\n"])
def test_another_table_is_refused(tmp_path: Path, content: bytes) -> None:
    root = camelyon(tmp_path)
    (root / "metadata.csv").write_bytes(content)
    with pytest.raises(InvalidInputError) as caught:
        opened(tmp_path)
    assert caught.value.kind == "bad-metadata"


def test_a_directory_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        opened(tmp_path)
    assert caught.value.kind == "bad-layout"


@pytest.mark.parametrize("level", ["patches", "patches/patient_000_node_0", "patches/patient_000_node_0/x.png"])
def test_a_link_that_leaves_the_directory_is_refused(tmp_path: Path, level: str) -> None:
    root = camelyon(tmp_path)
    path = root / level
    if path.suffix:
        path = root / paths(opened(tmp_path), "hospital_0")[0]
    outside = tmp_path / "outside"
    path.rename(outside)
    path.symlink_to(outside)
    with pytest.raises(InvalidInputError) as caught:
        opened(tmp_path)
    assert caught.value.kind == "link-outside"


@pytest.mark.parametrize(
    "options",
    [{"dataset": "camelyon"}, {"dataset": 3}, {"domain": "location"}, {"image_size": 0}, {"exclude": "x"}],
)
def test_options_that_cannot_be_used_are_refused(tmp_path: Path, options: dict[str, JsonValue]) -> None:
    camelyon(tmp_path)
    with pytest.raises(MlgitError):
        opened(tmp_path, **options)


def test_an_unknown_test_domain_is_not_found(tmp_path: Path) -> None:
    camelyon(tmp_path)
    with pytest.raises(NotFoundError):
        opened(tmp_path, "hospital_5")
