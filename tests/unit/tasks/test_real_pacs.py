"""PACS itself, where it lies beside the project."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as first_generation

from mlgit.tasks import TaskDefinition
from mlgit.tasks.examples import examples_of
from mlgit.tasks.kinds import Place, open_task
from mlgit.tasks.pictures import PictureDomain
from mlgit.tasks.presets import PRESETS, deviations
from mlgit.tasks.task import Task

SHARED = Path(__file__).parents[3] / ".." / "shared"
ARCHIVE, GOLDEN = SHARED / "data" / "pacs.tar", SHARED / "golden.json"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ARCHIVE.exists() and GOLDEN.exists()), reason="the real data are not here"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    for path in (folder / "pacs").rglob("*.jpg"):
        os.utime(path, (10**9, 10**9))
    return folder


def opened(root: Path, cache: Path | None = None) -> Task:
    preset = PRESETS["PACS"]
    options = preset.task_options | {"image_size": 96}
    definition = TaskDefinition(
        name="PACS", kind=preset.kind, test_domain="sketch", options=options, preset=preset.name
    )
    return open_task(definition, place=Place(data=root, cache=cache))


def test_it_is_the_published_dataset_and_its_digest_is_the_same_everywhere(root: Path) -> None:
    task = opened(root)
    counts = {name: len(task.domain(name)) for name in task.domains}
    assert deviations(PRESETS["PACS"], task.classes, counts) == ()
    assert task.data.ignored == task.data.notes == ()
    assert task.data_digest == "625084f3d50608acf9526a4df3eb79afe51be95f92bdc95e81a29bfcb0e724ce"
    assert opened(root / "pacs").digest == task.digest


def test_its_splits_are_the_published_ones(root: Path) -> None:
    task = opened(root)
    compared = 0
    for name, vector in json.loads(GOLDEN.read_text())["split_first5"].items():
        size, trial, number = (int(part.partition("=")[2]) for part in name.split(","))
        domain = task.data.domains[number]
        if len(domain) != size or domain.name == task.test_domain:
            continue
        listed = [example.name for example in examples_of(domain)]
        for split, key in ((task.validation(trial), "val5"), (task.training(trial), "train5")):
            found = [example.name for example in examples_of(split.domains[number])]
            assert found[:5] == [listed[row] for row in vector[key]]
        assert len(task.validation(trial).domains[number]) == vector["n_val"]
        compared += 1
    assert compared >= 3


def test_decoded_images_are_those_of_pillow_and_evaluation_is_the_published_one(root: Path, tmp_path: Path) -> None:
    published = first_generation.Compose(
        [
            first_generation.Resize((96, 96)),
            first_generation.ToTensor(),
            first_generation.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    domain = opened(root, tmp_path / "cache").domain("photo")
    assert isinstance(domain, PictureDomain)
    rows = torch.arange(0, len(domain), 97)
    images = domain.images(rows)
    for row, image in zip(rows.tolist(), images, strict=True):
        original = Image.open(root / "pacs" / domain.pictures[row].path).convert("RGB")
        assert np.array_equal(domain.source.pixels(domain.pictures[row]), np.asarray(original))
        torch.testing.assert_close(image, published(original), atol=1e-6, rtol=0)


def test_training_images_are_about_as_bright_as_published_ones(root: Path, tmp_path: Path) -> None:
    published = first_generation.Compose(
        [
            first_generation.RandomResizedCrop(96, scale=(0.7, 1.0)),
            first_generation.RandomHorizontalFlip(),
            first_generation.ColorJitter(0.3, 0.3, 0.3, 0.3),
            first_generation.RandomGrayscale(),
            first_generation.ToTensor(),
            first_generation.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    domain = opened(root, tmp_path / "cache").domain("photo")
    assert isinstance(domain, PictureDomain)
    rows = torch.arange(0, len(domain), 4)
    mine = domain.augmented(rows, torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = torch.stack(
            [published(Image.fromarray(domain.source.pixels(domain.pictures[row]))) for row in rows.tolist()]
        )
    for statistic, atol in (
        (lambda images: images.mean(dim=(0, 2, 3)), 0.12),  # three standard errors of 418 random brightnesses
        (lambda images: images.std(dim=(0, 2, 3)), 0.05),
        (lambda images: (images[:, 0] - images[:, 2]).abs().mean(), 0.03),
        (lambda images: (images[..., 1:] - images[..., :-1]).abs().mean(), 0.01),
    ):
        torch.testing.assert_close(statistic(mine), statistic(theirs), atol=atol, rtol=0)
