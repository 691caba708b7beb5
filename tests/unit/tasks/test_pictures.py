from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as first_generation
from torchvision.transforms import v2

from mlgit.errors import InvalidInputError
from mlgit.tasks.augmentation import draw
from mlgit.tasks.decoding import Decoder, MemoryCache, Picture
from mlgit.tasks.file_index import FileIndex
from mlgit.tasks.pictures import PictureDomain
from mlgit.tasks.preprocessing import Preprocessing

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png", "c.png", "d.png"):
        smooth = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        Image.fromarray(smooth).resize((50, 40)).save(tmp_path / name)
    Image.fromarray(rng.integers(0, 256, (30, 30), dtype=np.uint8)).save(tmp_path / "grey.png")
    palette = Image.fromarray(rng.integers(0, 256, (30, 30, 3), dtype=np.uint8)).quantize(7)
    palette.save(tmp_path / "palette.png", transparency=bytes(range(7)))
    Image.fromarray(rng.integers(0, 256, (30, 30, 4), dtype=np.uint8)).save(tmp_path / "alpha.png")
    return tmp_path


def domain(
    root: Path,
    *names: str,
    size: int = 24,
    room_bytes: int = 2**20,
    decode_size: int = 0,
    resize_first: bool = False,
) -> PictureDomain:
    files = FileIndex(root).read(names)
    pictures = [Picture(name, label, file.digest) for label, (name, file) in enumerate(zip(names, files, strict=True))]
    source = MemoryCache(Decoder(root, decode_size), room_bytes)
    return PictureDomain("d", pictures, source, Preprocessing(size, resize_first), decode_size=decode_size)


def test_plain_images_equal_the_published_preprocessing(root: Path) -> None:
    published = first_generation.Compose(
        [first_generation.Resize((24, 24)), first_generation.ToTensor(), first_generation.Normalize(MEAN, STD)]
    )
    names = ("a.png", "b.png", "grey.png", "alpha.png")
    expected = torch.stack([published(Image.open(root / name).convert("RGB")) for name in names])
    images = domain(root, *names).images(torch.arange(4))
    assert images.dtype == torch.float32
    torch.testing.assert_close(images, expected, atol=1e-6, rtol=0)


def oracle(image: Image.Image, drawn, row: int, size: int, first: bool) -> torch.Tensor:
    """Transform one image by torchvision's functions for single images, with the numbers that were drawn."""
    f = v2.functional
    pixels = f.pil_to_tensor(image.convert("RGB"))
    if first:
        pixels = f.resize(pixels, [size, size])
    pixels = f.resized_crop(pixels, *drawn.boxes[row].tolist(), [size, size])
    pixels = f.horizontal_flip(pixels) if drawn.flips[row] else pixels
    result = f.to_dtype(pixels, torch.float32, scale=True)
    changes = (f.adjust_brightness, f.adjust_contrast, f.adjust_saturation, f.adjust_hue)
    for operation in drawn.order[row].tolist():
        result = changes[operation](result, float(drawn.strengths[row, operation]))
    result = f.rgb_to_grayscale(result, num_output_channels=3) if drawn.greys[row] else result
    return f.normalize(result, list(MEAN), list(STD))


@pytest.mark.parametrize("first", [False, True])
def test_augmented_images_equal_those_of_torchvision_image_by_image(root: Path, first: bool) -> None:
    names = ("a.png", "b.png", "grey.png", "palette.png", "c.png") * 14  # more than are changed at once
    data = domain(root, *names, size=20, resize_first=first)
    images = data.augmented(torch.arange(len(names)), torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    opened = [data.source.pixels(picture) for picture in data.pictures]
    for start in range(0, len(names), 32):
        part = opened[start : start + 32]
        sizes = torch.tensor([(20, 20) if first else pixels.shape[:2] for pixels in part])
        drawn = draw(sizes, generator)
        for row, pixels in enumerate(part):
            expected = oracle(Image.fromarray(pixels), drawn, row, 20, first)
            torch.testing.assert_close(images[start + row], expected, atol=2e-5, rtol=0)


def test_augmentation_is_a_function_of_the_generator_and_leaves_the_global_one_alone(root: Path) -> None:
    data = domain(root, "a.png", "b.png", "c.png", "d.png")
    before = torch.get_rng_state()
    one = data.augmented(torch.arange(4), torch.Generator().manual_seed(1))
    two = data.augmented(torch.arange(4), torch.Generator().manual_seed(1))
    other = data.augmented(torch.arange(4), torch.Generator().manual_seed(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert not torch.equal(one, data.images(torch.arange(4)))
    assert one.shape == (4, 3, 24, 24)
    assert torch.equal(torch.get_rng_state(), before)


def test_augmentation_draws_anew_for_every_image_and_every_batch(root: Path) -> None:
    data = domain(root, "a.png")
    generator = torch.Generator().manual_seed(1)
    twice = data.augmented(torch.tensor([0, 0]), generator)
    again = data.augmented(torch.tensor([0]), generator)
    assert not torch.equal(twice[0], twice[1])
    assert not torch.equal(twice[0], again[0])


def test_palettes_with_transparency_are_read_without_a_warning(root: Path) -> None:
    images = domain(root, "palette.png").images(torch.tensor([0]))
    assert images.shape == (1, 3, 24, 24)


@pytest.mark.parametrize("room_bytes", [0, 2 * 3 * 50 * 40, 2**20])
def test_what_is_kept_changes_nothing_and_keeps_to_its_room(root: Path, room_bytes: int) -> None:
    data = domain(root, "a.png", "b.png", "c.png", "d.png", room_bytes=room_bytes)
    unlimited = domain(root, "a.png", "b.png", "c.png", "d.png")
    for _ in range(2):
        assert torch.equal(data.images(torch.arange(4)), unlimited.images(torch.arange(4)))
    assert isinstance(data.source, MemoryCache)
    assert len(data.source._kept) == min(4, room_bytes // (3 * 50 * 40))


def test_a_decoded_image_is_read_once(root: Path) -> None:
    data = domain(root, "a.png")
    first = data.images(torch.tensor([0]))
    (root / "a.png").unlink()
    assert torch.equal(data.subset(torch.tensor([0])).images(torch.tensor([0])), first)


def test_a_subset_keeps_order_and_labels(root: Path) -> None:
    data = domain(root, "a.png", "b.png", "c.png")
    part = data.subset(torch.tensor([2, 0]))
    assert part.labels.tolist() == [2, 0]
    assert torch.equal(part.images(torch.arange(2)), data.images(torch.tensor([2, 0])))
    assert part.digest != data.subset(torch.tensor([0, 2])).digest


def test_large_originals_are_reduced_to_the_decode_size_with_their_aspect_ratio_kept(root: Path) -> None:
    data = domain(root, "a.png", "grey.png", decode_size=30)
    assert [data.source.pixels(picture).shape for picture in data.pictures] == [(30, 38, 3), (30, 30, 3)]
    expected = Image.open(root / "a.png").resize((38, 30), Image.Resampling.BILINEAR)
    assert np.array_equal(data.source.pixels(data.pictures[0]), np.asarray(expected))
    assert domain(root, "a.png", decode_size=64).source.pixels(data.pictures[0]).shape == (40, 50, 3)


def test_everything_that_changes_numbers_is_in_the_digest(root: Path) -> None:
    made = [
        domain(root, "a.png"),
        domain(root, "a.png", size=25),
        domain(root, "a.png", decode_size=30),
        domain(root, "a.png", resize_first=True),
        domain(root, "b.png"),
    ]
    assert len({each.digest for each in made}) == len(made)


def test_an_image_that_cannot_be_decoded_is_named(root: Path) -> None:
    (root / "a.png").write_bytes((root / "a.png").read_bytes()[:-60])
    with pytest.raises(InvalidInputError, match=r"a\.png") as caught:
        domain(root, "a.png").images(torch.tensor([0]))
    assert caught.value.kind == "unreadable-image"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_device_gives_the_same_images_but_for_rounding(root: Path) -> None:
    data = domain(root, *("a.png", "b.png", "c.png", "d.png") * 9)
    here, there = (
        data.augmented(torch.arange(36), torch.Generator().manual_seed(1), torch.device(name)).cpu()
        for name in ("cpu", "cuda")
    )
    torch.testing.assert_close(here, there, atol=1e-4, rtol=0)
