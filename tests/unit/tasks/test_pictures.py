from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as first_generation

from mlgit.tasks.pictures import Decoder, PictureDomain, Preprocessing, inspect

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


def domain(root: Path, *names: str, size: int = 24, room_bytes: int = 2**20) -> PictureDomain:
    pictures = inspect(root, names, range(len(names)))
    return PictureDomain("d", pictures, Decoder(root, room_bytes), Preprocessing(size))


def test_plain_images_equal_the_published_preprocessing(root: Path) -> None:
    published = first_generation.Compose(
        [first_generation.Resize((24, 24)), first_generation.ToTensor(), first_generation.Normalize(MEAN, STD)]
    )
    names = ("a.png", "b.png", "grey.png", "alpha.png")
    expected = torch.stack([published(Image.open(root / name).convert("RGB")) for name in names])
    images = domain(root, *names).images(torch.arange(4))
    assert images.dtype == torch.float32
    torch.testing.assert_close(images, expected, atol=1e-6, rtol=0)


def test_augmented_images_equal_the_published_ones_for_the_same_seed(root: Path) -> None:
    published = first_generation.Compose(
        [
            first_generation.RandomResizedCrop(24, scale=(0.7, 1.0)),
            first_generation.RandomHorizontalFlip(),
            first_generation.ColorJitter(0.3, 0.3, 0.3, 0.3),
            first_generation.RandomGrayscale(),
            first_generation.ToTensor(),
            first_generation.Normalize(MEAN, STD),
        ]
    )
    images = domain(root, "a.png", "b.png").augmented(torch.tensor([0, 1]), torch.Generator().manual_seed(3))
    seeds = torch.randint(2**63 - 1, (2,), generator=torch.Generator().manual_seed(3)).tolist()
    for name, seed, image in zip(("a.png", "b.png"), seeds, images, strict=True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            torch.testing.assert_close(image, published(Image.open(root / name)), atol=1e-6, rtol=0)


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
def test_the_cache_changes_nothing_and_keeps_to_its_room(root: Path, room_bytes: int) -> None:
    data = domain(root, "a.png", "b.png", "c.png", "d.png", room_bytes=room_bytes)
    unlimited = domain(root, "a.png", "b.png", "c.png", "d.png")
    for _ in range(2):
        assert torch.equal(data.images(torch.arange(4)), unlimited.images(torch.arange(4)))
    kept = data._decoder._kept
    assert len(kept) == min(4, room_bytes // (3 * 50 * 40))


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
