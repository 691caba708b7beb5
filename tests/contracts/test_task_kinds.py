"""Every row of ``TASK_KINDS`` passes the contract of kinds of tasks."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlgit.tasks.kinds import TASK_KINDS
from mlgit.testing.task_kind import TaskKindContract, TaskOnDisk


def picture(path: Path, seed: int, size: tuple[int, int] = (14, 11)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


class TestDigits(TaskKindContract):
    kind = "digits"

    def make(self, folder: Path) -> TaskOnDisk:
        pytest.importorskip("sklearn")
        return TaskOnDisk(data=None, options={"domains": ["plain", "rotate"]}, test_domain="rotate")


class TestImageFolder(TaskKindContract):
    kind = "imagefolder"

    def make(self, folder: Path) -> TaskOnDisk:
        root = folder / "pets"
        for d, domain in enumerate(("photo", "art")):
            for c, name in enumerate(("cat", "dog")):
                for number in range(6):
                    picture(root / domain / name / f"{number}.png", 100 * d + 10 * c + number, (10 + number, 12))
        return TaskOnDisk(
            data=root,
            options={"image_size": 8},
            test_domain="art",
            spoil=lambda: (root / "art" / "cat" / "2.png").write_bytes(b"\x89PNG"),
            change=lambda: picture(root / "photo" / "dog" / "3.png", 999),
        )


class TestWilds(TaskKindContract):
    kind = "wilds"

    def make(self, folder: Path) -> TaskOnDisk:
        root = folder / "camelyon17_v1.0"
        root.mkdir(parents=True)
        rows = []
        for number in range(24):
            patient, node, center = f"{number % 3:03}", number % 2, number % 2
            slide = f"patient_{patient}_node_{node}"
            picture(root / "patches" / slide / f"patch_{slide}_x_{number}_y_7.png", number)
            rows.append([number, patient, node, number, 7, number % 2 ^ (number % 3 == 0), 0, center, 0])
        with (root / "metadata.csv").open("w", newline="") as stream:
            columns = ["", "patient", "node", "x_coord", "y_coord", "tumor", "slide", "center", "split"]
            csv.writer(stream).writerows([columns, *rows])
        return TaskOnDisk(
            data=folder,
            options={"dataset": "camelyon17", "image_size": 8},
            test_domain="hospital_1",
            spoil=lambda: (root / "metadata.csv").write_text("patient,node\n"),
            change=lambda: picture(root / "patches/patient_000_node_0/patch_patient_000_node_0_x_0_y_7.png", 999),
        )


def write_idx(path: Path, values: np.ndarray) -> None:
    shape = b"".join(length.to_bytes(4, "big") for length in values.shape)
    data = b"\0\0\x08" + bytes([values.ndim]) + shape + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


class TestMnistDomains(TaskKindContract):
    kind = "mnist-domains"

    def make(self, folder: Path) -> TaskOnDisk:
        root = folder / "MNIST" / "raw"
        root.mkdir(parents=True)
        rng = np.random.default_rng(0)
        for part, count, ending in (("train", 50, ""), ("t10k", 40, ".gz")):
            write_idx(root / f"{part}-images-idx3-ubyte{ending}", rng.integers(0, 256, (count, 28, 28)))
            write_idx(root / f"{part}-labels-idx1-ubyte{ending}", rng.integers(0, 10, count))
        return TaskOnDisk(
            data=folder / "MNIST",
            test_domain="60",
            spoil=lambda: (root / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x32"),
            change=lambda: write_idx(root / "train-labels-idx1-ubyte", np.arange(50) % 10),
        )


CODE = """
import numpy as np

def make(data, classes=2):
    rng = np.random.RandomState(3)
    domains = {
        name: (rng.rand(12, 5).astype("float32"), np.arange(12) % classes) for name in ("west", "east")
    }
    if data is not None:
        domains["east"][0][0] = np.loadtxt(data)
    return {"domains": domains, "mean": 0.5, "std": 0.25}
"""


class TestPython(TaskKindContract):
    kind = "python:my_tabular_data:make"

    def make(self, folder: Path) -> TaskOnDisk:
        folder.mkdir(exist_ok=True)
        (folder / "my_tabular_data.py").write_text(CODE)
        values = folder / "values.txt"
        values.write_text("1 2 3 4 5\n")
        return TaskOnDisk(
            data=values,
            options={"classes": 3},
            test_domain="west",
            search=folder,
            spoil=lambda: values.write_text("1 2 x\n"),
            change=lambda: values.write_text("1 2 3 4 6\n"),
        )


def test_every_kind_in_the_table_is_under_contract() -> None:
    tested = {contract.kind.partition(":")[0] for contract in TaskKindContract.__subclasses__()}
    assert tested == set(TASK_KINDS.names())
