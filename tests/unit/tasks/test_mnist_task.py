from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from mlgit.errors import InvalidInputError, MlgitError, NotFoundError
from mlgit.objects.encoding import JsonValue
from mlgit.tasks import TaskDefinition
from mlgit.tasks.arrays import ArrayDomain
from mlgit.tasks.kinds import open_task
from mlgit.tasks.kinds.idx import read_idx
from mlgit.tasks.kinds.mnist_domains import rotate
from mlgit.tasks.task import Task

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx(values: np.ndarray) -> bytes:
    shape = b"".join(length.to_bytes(4, "big") for length in values.shape)
    return b"\0\0\x08" + bytes([values.ndim]) + shape + values.astype(np.uint8).tobytes()


def digits(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Digits whose image says which ones they are: the middle is 20 times the label, the rest is noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    images = rng.integers(1, 256, (count, 28, 28))
    images[:, 11:17, 11:17] = 20 * labels[:, None, None] + 5
    return images, labels


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "MNIST" / "raw"
    place.mkdir(parents=True)
    contents = (*digits(240, 0), *digits(120, 1))
    for name, values in zip(FILES, contents, strict=True):
        (place / name).write_bytes(idx(values))
    return place


def opened(data: Path, test_domain: str | None = None, **options: JsonValue) -> Task:
    definition = TaskDefinition(name="t", kind="mnist-domains", test_domain=test_domain, options=options)
    return open_task(definition, data)


def pixels(task: Task) -> dict[str, torch.Tensor]:
    return {each.name: each.pixels for each in task.data.domains if isinstance(each, ArrayDomain)}


def test_rotated_domains_share_all_digits_out_and_turn_them(root: Path) -> None:
    task = opened(root, "45")
    assert task.domains == ("0", "15", "30", "45", "60", "75")
    assert task.input_shape == (1, 28, 28)
    assert task.classes == tuple("0123456789")
    assert [len(task.domain(name)) for name in task.domains] == [60] * 6
    plain = np.concatenate([digits(240, 0)[0], digits(120, 1)[0]]).astype(np.uint8)
    known = {image.tobytes(): index for index, image in enumerate(plain)}
    unturned = [known[image[0].numpy().tobytes()] for image in pixels(task)["0"]]
    assert len(set(unturned)) == 60
    for name in task.domains:
        centre = pixels(task)[name][:, 0, 13, 13].long()
        assert torch.equal((centre - 5 + 10).div(20, rounding_mode="floor"), task.domain(name).labels)


@settings(max_examples=25, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 3), st.just(28), st.just(28))), st.integers(-180, 180))
def test_turning_agrees_with_pillow(images: np.ndarray, degrees: int) -> None:
    turned = rotate(images, degrees)
    for image, mine in zip(images, turned, strict=True):
        theirs = np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BILINEAR))
        apart = np.abs(mine.astype(int) - theirs.astype(int))
        # a point on the very edge of the image may be judged inside by one and outside by the other
        assert (apart > 1).sum() <= 4
    assert np.array_equal(rotate(images, 0), images)


def test_colored_domains_are_those_of_invariant_risk_minimization(tmp_path: Path) -> None:
    place = tmp_path / "mnist"
    place.mkdir()
    for name, values in zip(FILES, (*digits(9000, 0), *digits(3000, 1)), strict=True):
        (place / f"{name}.gz").write_bytes(gzip.compress(idx(values), 1, mtime=0))
    task = opened(place, "-90%", variant="colored")
    assert task.domains == ("+80%", "+90%", "-90%")
    assert task.input_shape == (2, 28, 28)
    for name, agreement in (("+90%", 0.9), ("+80%", 0.8), ("-90%", 0.1)):
        images, labels = pixels(task)[name], task.domain(name).labels
        assert len(labels) == 4000
        empty = images.flatten(2).sum(dim=2) == 0
        assert bool((empty.sum(dim=1) == 1).all()), "one of the two channels is empty"
        colours = empty[:, 0].long()  # colour 1 is channel 1
        assert (colours == labels).float().mean().item() == pytest.approx(agreement, abs=0.025)
        shown = images.sum(dim=1)[:, 14, 14]
        small = (shown.div(20, rounding_mode="floor") < 5).long()
        assert (small == labels).float().mean().item() == pytest.approx(0.75, abs=0.03)


def test_the_data_depend_on_the_seed_alone_and_never_on_the_run(root: Path) -> None:
    for variant in ("rotated", "colored"):
        first = opened(root, variant=variant)
        torch.manual_seed(5)
        np.random.seed(5)  # noqa: NPY002 - what a run would do
        assert opened(root, variant=variant).digest == first.digest
        assert opened(root, variant=variant, seed=1).digest != first.digest


def test_the_data_never_change(root: Path) -> None:
    assert opened(root).data_digest == "ce437031b0edcabc96a647c3b112b0481c6517e6a9fffa9d76f388e9ba9553ee"
    assert (
        opened(root, variant="colored").data_digest
        == "d1acb23ef0c41a359def733c4d5b89973a5dc23dbed23fdbc5f3bb61c0e711d8"
    )


def test_files_are_found_below_the_directory_packed_or_not_and_under_both_names(root: Path, tmp_path: Path) -> None:
    expected = opened(root).digest
    assert opened(tmp_path / "MNIST").digest == expected
    assert opened(tmp_path).digest == expected
    other = tmp_path / "other"
    other.mkdir()
    for name in FILES:
        (other / (name.replace("-idx", ".idx") + ".gz")).write_bytes(gzip.compress((root / name).read_bytes()))
    assert opened(other).digest == expected


def test_no_digit_stands_in_two_domains(root: Path) -> None:
    labels: Counter[int] = Counter()
    for domain in opened(root).data.domains:
        labels.update(domain.labels.tolist())
    assert labels == Counter(np.concatenate([digits(240, 0)[1], digits(120, 1)[1]]).tolist())


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "harm", [lambda data: data[:0], lambda data: data[:-1], lambda data: data + b"x", lambda data: b"\1" + data[1:]]
)
def test_a_damaged_file_is_named(root: Path, name: str, harm: object) -> None:
    (root / name).write_bytes(harm((root / name).read_bytes()))  # type: ignore[operator]
    with pytest.raises(InvalidInputError, match=name) as caught:
        opened(root)
    assert caught.value.kind == "bad-idx"


@pytest.mark.parametrize("data", [b"\0\0\x08\xff", b"\0\0\x08\3" + b"\xff" * 12 + b"x" * 9, b"\0\0\x0d\1\0\0\0\1abcd"])
def test_a_header_that_claims_too_much_is_refused_at_once(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(InvalidInputError):
        read_idx(tmp_path / "x")


@pytest.mark.parametrize("data", [b"\x1f\x8b", b"no gzip", gzip.compress(idx(np.zeros(9)), mtime=0)[:-9]])
def test_a_damaged_archive_is_named(root: Path, data: bytes) -> None:
    (root / FILES[0]).unlink()
    (root / f"{FILES[0]}.gz").write_bytes(data)
    with pytest.raises(InvalidInputError, match=FILES[0]):
        opened(root)


def test_a_missing_file_and_files_that_do_not_fit_are_named(root: Path) -> None:
    (root / FILES[1]).write_bytes(idx(np.zeros(239)))
    with pytest.raises(InvalidInputError, match="do not fit"):
        opened(root)
    (root / FILES[1]).write_bytes(idx(np.full(240, 10)))
    with pytest.raises(InvalidInputError, match="do not fit"):
        opened(root)
    (root / FILES[1]).unlink()
    with pytest.raises(NotFoundError, match="train-labels"):
        opened(root)


@pytest.mark.parametrize(
    "options", [{"variant": "coloured"}, {"variant": 1}, {"seed": -1}, {"seed": "0"}, {"seed": True}]
)
def test_options_that_cannot_be_used_are_refused(root: Path, options: dict[str, JsonValue]) -> None:
    with pytest.raises(MlgitError):
        opened(root, **options)
