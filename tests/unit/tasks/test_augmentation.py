from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms import v2

from mlgit.tasks.augmentation import RATIO, SCALE, crop_boxes, draw
from mlgit.tasks.colours import OPERATIONS, Colours

FUNCTIONS = (
    v2.functional.adjust_brightness,
    v2.functional.adjust_contrast,
    v2.functional.adjust_saturation,
    v2.functional.adjust_hue,
)


def images(seed: int, count: int, height: int, width: int) -> torch.Tensor:
    """Random images; some grey, some with black, white and single-colour parts."""
    generator = torch.Generator().manual_seed(seed)
    made = torch.randint(0, 256, (count, 3, height, width), generator=generator).float() / 255
    made[::5] = made[::5, :1]
    made[1::5, :, : height // 2] = 0
    made[2::5, :, : height // 2] = 1
    made[3::5, 1:, : height // 2] = 0
    return made


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.sampled_from(range(4)))
def test_changes_of_colour_are_those_of_torchvision_for_each_image(
    seed: int, count: int, height: int, width: int, operation: int
) -> None:
    before = images(seed, count, height, width)
    generator = torch.Generator().manual_seed(seed)
    strengths = torch.rand(count, generator=generator) * (1.0 if operation == 3 else 2.0)
    strengths -= 0.5 if operation == 3 else 0.0
    rows = torch.randperm(count, generator=generator)[: max(1, count // 2)]
    after = before.clone()
    Colours(height, width, 7, torch.device("cpu")).change_(after, operation, rows, strengths[rows])
    for row in range(count):
        expected = FUNCTIONS[operation](before[row], float(strengths[row])) if row in rows else before[row]
        torch.testing.assert_close(after[row], expected, atol=5e-6, rtol=0, msg=OPERATIONS[operation])


def test_taking_colours_away_is_that_of_torchvision() -> None:
    before = images(0, 12, 5, 6)
    after = before.clone()
    Colours(5, 6, 4, torch.device("cpu")).grey_(after, torch.tensor([0, 3, 11, 5, 7]))
    for row in range(12):
        expected = v2.functional.rgb_to_grayscale(before[row], 3) if row in (0, 3, 5, 7, 11) else before[row]
        torch.testing.assert_close(after[row], expected, atol=1e-6, rtol=0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.integers(1, 400)), min_size=1, max_size=20), st.integers(0, 2**32))
def test_crops_lie_within_their_images(sizes: list[tuple[int, int]], seed: int) -> None:
    boxes = draw(torch.tensor(sizes), torch.Generator().manual_seed(seed)).boxes
    top, left, height, width = boxes.unbind(1)
    assert bool((torch.stack([top, left]) >= 0).all())
    assert bool((torch.stack([height, width]) >= 1).all())
    assert bool((top + height <= torch.tensor(sizes)[:, 0]).all())
    assert bool((left + width <= torch.tensor(sizes)[:, 1]).all())


def test_an_image_so_long_that_no_crop_fits_is_cropped_in_the_middle_as_by_torchvision() -> None:
    for height, width in ((1000, 10), (10, 1000), (3, 700)):
        torch.manual_seed(0)
        expected = v2.RandomResizedCrop(9, scale=SCALE).make_params([torch.zeros(3, height, width)])
        box = draw(torch.tensor([[height, width]]), torch.Generator().manual_seed(0)).boxes[0].tolist()
        assert box == [expected[name] for name in ("top", "left", "height", "width")]


@pytest.mark.parametrize(("height", "width"), [(144, 144), (60, 90)])
def test_crops_are_distributed_as_those_of_torchvision(height: int, width: int) -> None:
    count = 4000
    mine = draw(torch.tensor([[height, width]] * count), torch.Generator().manual_seed(0)).boxes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transform, image = v2.RandomResizedCrop(96, scale=SCALE, ratio=RATIO), [torch.zeros(3, height, width)]
        found = [transform.make_params(image) for _ in range(count)]
    theirs = torch.tensor([[each[name] for name in ("top", "left", "height", "width")] for each in found])
    for of in (
        lambda boxes: boxes[:, 0],
        lambda boxes: boxes[:, 1],
        lambda boxes: boxes[:, 2] * boxes[:, 3],
        lambda boxes: boxes[:, 3] / boxes[:, 2],
    ):
        assert stats.ks_2samp(of(mine).numpy(), of(theirs).numpy()).pvalue > 1e-3


def test_the_first_shape_that_fits_is_taken() -> None:
    shapes = torch.full((1, 10, 2), 0.999, dtype=torch.float64)  # as large and as wide as can be: never fits
    shapes[0, 4] = torch.tensor([0.0, 0.5])
    shapes[0, 7] = torch.tensor([0.5, 0.5])
    (box,) = crop_boxes(torch.tensor([[100, 100]]), shapes, torch.tensor([[0.0, 0.9999999]], dtype=torch.float64))
    side = round(100 * math.sqrt(0.7))
    assert box.tolist() == [0, 100 - side, side, side]


def test_flips_greys_strengths_and_orders_have_the_stated_distributions() -> None:
    count = 24_000
    drawn = draw(torch.tensor([[8, 8]] * count), torch.Generator().manual_seed(5))
    assert drawn.flips.float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert drawn.greys.float().mean().item() == pytest.approx(0.1, abs=0.01)
    for column, (low, high) in enumerate([(0.7, 1.3)] * 3 + [(-0.3, 0.3)]):
        values = drawn.strengths[:, column].double().numpy()
        assert stats.kstest(values, "uniform", (low, high - low)).pvalue > 1e-3
    orders, counts = drawn.order.unique(dim=0, return_counts=True)
    assert len(orders) == 24
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    several = torch.stack([drawn.flips.float(), drawn.greys.float(), *drawn.strengths.unbind(1)]).numpy()
    correlation = torch.from_numpy(np.corrcoef(several))
    assert (correlation - torch.eye(6)).abs().max() < 0.03


def test_two_batches_of_equal_size_take_equally_much_randomness() -> None:
    states = []
    for sizes in ([[5, 500]] * 3, [[80, 80]] * 3):
        generator = torch.Generator().manual_seed(1)
        draw(torch.tensor(sizes), generator)
        states.append(generator.get_state())
    assert torch.equal(*states)
