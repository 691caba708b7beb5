from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from mlgit.tasks.kinds.shifts import SHIFTS, Pixels, angle, turn

IMAGES = arrays(np.int64, st.tuples(st.integers(1, 4), st.just(8), st.just(8)), elements=st.integers(0, 255))


@settings(deadline=None)
@given(IMAGES, st.sampled_from(sorted(SHIFTS)), st.integers(0, 1700))
def test_every_shift_gives_bytes_and_leaves_its_input_unchanged(images: Pixels, name: str, first: int) -> None:
    before = images.copy()
    members = range(first, first + len(images))
    shifted = SHIFTS[name](images, members)
    assert shifted.shape == images.shape
    assert shifted.dtype == np.int64
    assert shifted.min() >= 0
    assert shifted.max() <= 255
    assert np.array_equal(images, before)
    assert np.array_equal(shifted, SHIFTS[name](images, members))


@settings(deadline=None)
@given(IMAGES, st.sampled_from(sorted(SHIFTS)), st.integers(0, 1700))
def test_what_happens_to_an_image_does_not_depend_on_its_neighbours(images: Pixels, name: str, first: int) -> None:
    members = range(first, first + len(images))
    alone = [SHIFTS[name](images[i : i + 1], [member])[0] for i, member in enumerate(members)]
    assert np.array_equal(SHIFTS[name](images, members), np.stack(alone))


@settings(deadline=None)
@given(IMAGES)
def test_blur_is_the_binomial_filter_of_scipy(images: Pixels) -> None:
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    expected = [ndimage.convolve(image.astype(float), kernel, mode="constant") for image in images]
    assert np.abs(SHIFTS["blur"](images, range(len(images))) - np.stack(expected)).max() <= 0.5


@settings(deadline=None)
@given(IMAGES)
def test_bold_only_brightens_and_reaches_one_pixel_far(images: Pixels) -> None:
    bold = SHIFTS["bold"](images, range(len(images)))
    assert (bold >= images).all()
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
    reach = [ndimage.grey_dilation(image, footprint=cross, mode="constant") for image in images]
    assert (bold <= np.stack(reach)).all()


def test_noise_has_the_stated_mean_and_spread() -> None:
    grey = np.full((400, 8, 8), 128)
    noise = SHIFTS["noise"](grey, range(400)) - 128
    assert abs(noise.mean()) < 1.5
    assert noise.std() == pytest.approx(255 / 5, rel=0.05)
    assert abs(np.corrcoef(noise[:, 0, 0], noise[:, 0, 1])[0, 1]) < 0.15


def test_shift_moves_by_one_pixel_in_all_eight_directions() -> None:
    dot = np.zeros((200, 8, 8), np.int64)
    dot[:, 4, 4] = 255
    places = {tuple(int(c) for c in np.argwhere(image)[0]) for image in SHIFTS["shift"](dot, range(200))}
    assert places == {(r, c) for r in (3, 4, 5) for c in (3, 4, 5)} - {(4, 4)}


def test_angles_are_ten_to_twenty_five_degrees_either_way() -> None:
    angles = [angle(index) for index in range(1797)]
    assert {abs(value) for value in angles} == set(range(10, 26))
    assert 0.45 < sum(value > 0 for value in angles) / 1797 < 0.55


@settings(deadline=None)
@given(IMAGES, st.integers(-25, 25))
def test_turning_agrees_with_bilinear_interpolation_in_floating_point(images: Pixels, degrees: int) -> None:
    radians = math.radians(degrees)
    matrix = np.array([[math.cos(radians), -math.sin(radians)], [math.sin(radians), math.cos(radians)]])
    centre = np.array([3.5, 3.5])
    padded = np.pad(images[0], 4).astype(float)  # beyond the edge the image is black
    offset = centre + 4 - matrix @ (centre + 4)
    expected = ndimage.affine_transform(padded, matrix, offset=offset, order=1)[4:-4, 4:-4]
    assert np.abs(turn(images[0], degrees) - expected).max() < 0.51


def test_turning_by_nothing_changes_nothing() -> None:
    image = np.arange(64).reshape(8, 8)
    assert np.array_equal(turn(image, 0), image)


@pytest.mark.parametrize("degrees", range(-25, 26))
def test_no_sine_is_so_close_to_a_tie_that_another_machine_could_round_it_otherwise(degrees: int) -> None:
    for part in (math.sin, math.cos):
        scaled = part(math.radians(degrees)) * 2**16
        assert degrees == 0 or abs(scaled - math.floor(scaled) - 0.5) > 1e-6
