from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgit.errors import InvalidInputError
from mlgit.tasks.arrays import ArrayDomain
from mlgit.tasks.split import (
    DomainData,
    Split,
    TestSplit,
    TrainingSplit,
    ValidationSplit,
    seed_hash,
    split_indices,
)


@pytest.mark.parametrize(
    ("args", "seed"),
    [
        ((0, 0), 894182419),
        ((1, 0), 785910682),
        ((2, 3), 1709828778),
        (("PACS", "ERM", [0], 1, 0), 267397799),
    ],
)
def test_seeds_are_those_of_domainbed(args: tuple[object, ...], seed: int) -> None:
    assert seed_hash(*args) == seed


@pytest.mark.parametrize(
    ("size", "trial", "domain", "held_out", "validation", "training"),
    [
        (2048, 0, 0, 409, [548, 677, 1997, 977, 1553], [895, 510, 1575, 933, 362]),
        (2344, 0, 1, 468, [1488, 562, 461, 570, 2092], [1129, 1175, 567, 1786, 1706]),
        (1670, 0, 2, 334, [1441, 1432, 282, 669, 637], [764, 1046, 1426, 934, 1545]),
        (3929, 0, 3, 785, [2743, 2083, 2744, 3449, 1159], [2874, 719, 2027, 468, 2746]),
        (2048, 1, 0, 409, [1394, 1699, 1095, 19, 1757], [401, 946, 492, 1496, 745]),
        (10, 0, 0, 2, [2, 3], [8, 1, 4, 5, 0]),
    ],
)
def test_splits_are_those_of_domainbed(
    size: int, trial: int, domain: int, held_out: int, *, validation: list[int], training: list[int]
) -> None:
    out, rest = split_indices(size, trial, domain)
    assert len(out) == held_out
    assert out[:5].tolist() == validation
    assert rest[:5].tolist() == training


@settings(deadline=None)
@given(st.integers(5, 300), st.integers(0, 5), st.integers(0, 5))
def test_a_split_uses_every_image_once(size: int, trial: int, domain: int) -> None:
    out, rest = split_indices(size, trial, domain)
    assert sorted([*out.tolist(), *rest.tolist()]) == list(range(size))
    assert len(out) == size // 5
    assert out.dtype == rest.dtype == torch.int64


@pytest.mark.parametrize("size", [0, 1, 4])
def test_too_few_images_to_split_are_refused(size: int) -> None:
    with pytest.raises(InvalidInputError) as caught:
        split_indices(size, 0, 0)
    assert caught.value.kind == "too-few-images"


def test_a_negative_trial_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="trial -1"):
        split_indices(100, -1, 0)


def small_domain(name: str = "a", *, pixels: int = 7, label: int = 0, mean: float = 0.5) -> ArrayDomain:
    images = torch.full((3, 1, 2, 2), pixels, dtype=torch.uint8)
    return ArrayDomain(name, images, torch.full((3,), label), mean=mean, std=0.5)


def test_the_digest_of_a_split_covers_purpose_name_images_labels_order_and_preprocessing() -> None:
    domain = ArrayDomain("a", torch.arange(8, dtype=torch.uint8).view(2, 1, 2, 2), torch.tensor([0, 1]), mean=0, std=1)
    splits: list[Split] = [
        TrainingSplit((small_domain(),)),
        ValidationSplit((small_domain(),)),
        TestSplit((small_domain(),)),
        TestSplit((small_domain("b"),)),
        TestSplit((small_domain(pixels=8),)),
        TestSplit((small_domain(label=1),)),
        TestSplit((small_domain(mean=0.4),)),
        TestSplit((small_domain("a"), small_domain("b"))),
        TestSplit((small_domain().subset(torch.tensor([0, 1])),)),
        TestSplit((domain,)),
        TestSplit((domain.subset(torch.tensor([1, 0])),)),
    ]
    assert len({split.digest for split in splits}) == len(splits)
    assert TestSplit((small_domain(),)).digest == TestSplit((small_domain(),)).digest
    assert TestSplit((domain.subset(torch.tensor([0, 1])),)).digest == TestSplit((domain,)).digest


def test_the_leaves_are_final_and_the_root_is_abstract() -> None:
    for leaf in (TrainingSplit, ValidationSplit, TestSplit):
        with pytest.raises(TypeError):
            type("Sneaky", (leaf,), {})
    with pytest.raises(TypeError):
        Split(())  # type: ignore[abstract]  # that it cannot be made is the point
    assert not issubclass(TestSplit, ValidationSplit)
    assert not issubclass(ValidationSplit, TrainingSplit)


def test_an_array_domain_normalises_and_leaves_its_input_unchanged() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    before = pixels.clone()
    domain: DomainData = ArrayDomain("a", pixels, torch.tensor([0, 1, 2]), mean=0.2, std=0.4)
    images = domain.images(torch.tensor([2, 1, 1, 0]))
    assert images.shape == (4, 1, 1, 1)
    torch.testing.assert_close(images.flatten(), torch.tensor([2.0, 0.0, 0.0, -0.5]))
    assert torch.equal(domain.augmented(torch.tensor([2, 1, 1, 0]), torch.Generator()), images)
    assert torch.equal(pixels, before)
    assert domain.subset(torch.tensor([2, 0])).labels.tolist() == [2, 0]
    assert len(domain) == 3


@pytest.mark.parametrize(
    ("pixels", "labels"),
    [
        (torch.zeros(3, 1, 2, 2), torch.zeros(3, dtype=torch.int64)),
        (torch.zeros(3, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)),
        (torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(3)),
    ],
)
def test_arrays_that_are_no_images_are_refused(pixels: torch.Tensor, labels: torch.Tensor) -> None:
    with pytest.raises(InvalidInputError) as caught:
        ArrayDomain("a", pixels, labels, mean=0.0, std=1.0)
    assert caught.value.kind == "bad-domain"
