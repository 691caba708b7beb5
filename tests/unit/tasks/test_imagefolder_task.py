from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mlgit.errors import InvalidInputError, NotFoundError
from mlgit.objects.encoding import JsonValue
from mlgit.tasks import TaskDefinition
from mlgit.tasks.examples import duplicates
from mlgit.tasks.kinds import Place, open_task, survey_task
from mlgit.tasks.pictures import PictureDomain
from mlgit.tasks.task import Task


def write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two domains, three classes; the string order of 'b10' and 'b9' is not that of the numbers."""
    place = tmp_path / "pets"
    for d, domain in enumerate(("photo", "art")):
        for c, name in enumerate(("b9", "b10", "cat")):
            for i in range(3):
                write_image(place / domain / name / f"{i}.png", 100 * d + 10 * c + i)
    return place


def opened(data: Path | None, test_domain: str | None = None, **options: JsonValue) -> Task:
    options = {"image_size": 16} | options
    return open_task(TaskDefinition(name="pets", kind="imagefolder", test_domain=test_domain, options=options), data)


def refused(data: Path | None, **options: JsonValue) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        opened(data, **options)
    return caught.value


def test_domains_classes_and_files_are_in_string_order(root: Path) -> None:
    task = opened(root, "photo")
    assert task.domains == ("art", "photo")
    assert task.classes == ("b10", "b9", "cat")
    assert task.input_shape == (3, 16, 16)
    domain = task.domain("art")
    assert isinstance(domain, PictureDomain)
    assert [picture.path for picture in domain.pictures] == [
        f"art/{name}/{i}.png" for name in ("b10", "b9", "cat") for i in range(3)
    ]
    assert domain.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_the_folder_may_be_given_itself_or_the_one_around_it(root: Path) -> None:
    assert opened(root).digest == opened(root.parent).digest


def test_splits_hold_the_test_domain_out(root: Path) -> None:
    task = opened(root, "photo")
    assert (task.training().names, len(task.training())) == (("art",), 8)
    assert (task.validation().names, len(task.validation())) == (("art",), 1)
    assert (task.test().names, len(task.test())) == (("photo",), 9)


def test_the_digest_is_that_of_the_content_wherever_it_lies(root: Path, tmp_path: Path) -> None:
    before = opened(root)
    copy = tmp_path / "elsewhere" / "pets"
    shutil.copytree(root, copy)
    os.utime(copy / "art" / "cat" / "0.png", (0, 0))
    assert opened(copy).digest == before.digest
    assert opened(copy, image_size=17).digest != before.digest
    write_image(copy / "art" / "cat" / "0.png", 999)
    changed = opened(copy)
    assert changed.digest != before.digest
    assert changed.domain("photo").digest == before.domain("photo").digest


def test_moving_an_image_to_another_class_changes_the_digest(root: Path) -> None:
    before = opened(root).digest
    (root / "art" / "cat" / "0.png").rename(root / "art" / "b9" / "zero.png")
    assert opened(root).digest != before


def test_hidden_files_are_passed_over_and_other_files_are_listed(root: Path) -> None:
    before = opened(root).digest
    for path in (".DS_Store", ".git/config", "__MACOSX/x.png", "art/.hidden/x.png", "art/cat/.x.png"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    for path in ("README.txt", "art/notes.md", "art/cat/Thumbs.db"):
        (root / path).write_bytes(b"x")
    task = opened(root)
    assert task.digest == before
    assert task.data.ignored == ("README.txt", "art/cat/Thumbs.db", "art/notes.md")


def test_suffixes_count_in_any_case(root: Path) -> None:
    (root / "art" / "cat" / "0.png").rename(root / "art" / "cat" / "0.PNG")
    assert len(opened(root).domain("art")) == 9


@pytest.mark.parametrize("path", ["stray.jpg", "art/stray.png", "art/cat/inner/x.png"])
def test_an_image_or_directory_at_the_wrong_level_is_named(root: Path, path: str) -> None:
    write_image(root / path, 1)
    error = refused(root)
    assert error.kind == "bad-layout"
    assert path.removesuffix("/x.png") in error.message


def test_a_class_folder_missing_in_one_domain_is_named(root: Path) -> None:
    shutil.rmtree(root / "photo" / "b9")
    error = refused(root)
    assert error.kind == "missing-class"
    assert "'photo/b9'" in error.message
    assert "'art/b9'" not in error.message


def test_an_empty_class_folder_says_that_a_domain_has_no_such_images(root: Path) -> None:
    shutil.rmtree(root / "photo" / "b9")
    (root / "photo" / "b9").mkdir()
    task = opened(root)
    assert task.classes == ("b10", "b9", "cat")
    assert task.domain("photo").labels.tolist() == [0, 0, 0, 2, 2, 2]


def test_a_stray_directory_does_not_become_a_domain_unnoticed(root: Path) -> None:
    (root / "scripts").mkdir()
    error = refused(root)
    assert error.kind == "empty-domain"
    assert "'scripts'" in error.message


def test_a_domain_whose_class_folders_are_all_empty_is_named(root: Path) -> None:
    for file in (root / "art").rglob("*.png"):
        file.unlink()
    assert refused(root).kind == "empty-domain"


def test_a_class_without_any_image_is_named(root: Path) -> None:
    for domain in ("art", "photo"):
        (root / domain / "dog").mkdir()
    error = refused(root)
    assert error.kind == "empty-class"
    assert "'dog'" in error.message


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path).kind == "empty-dataset"


def test_a_path_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        opened(tmp_path / "nowhere")
    assert caught.value.kind == "missing-data"


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refused(tmp_path / "file").kind == "bad-layout"


def test_no_path_at_all_asks_for_one() -> None:
    error = refused(None)
    assert error.kind == "missing-data"
    assert "--data" in (error.hint or "")


@pytest.mark.parametrize("level", ["linked", "art/linked", "art/cat/linked.png"])
def test_a_link_that_leaves_the_directory_is_refused(root: Path, tmp_path: Path, level: str) -> None:
    write_image(tmp_path / "outside.png", 1)
    (root / level).symlink_to(tmp_path / "outside.png" if level.endswith(".png") else tmp_path)
    error = refused(root)
    assert error.kind == "link-outside"
    assert level in error.message


def test_a_link_within_the_directory_is_followed(root: Path) -> None:
    (root / "art" / "cat" / "again.png").symlink_to(root / "art" / "cat" / "0.png")
    assert len(opened(root).domain("art")) == 10


def test_a_link_with_the_same_beginning_as_the_root_still_leaves_it(root: Path) -> None:
    outside = root.with_name("pets-too")
    write_image(outside / "x.png", 1)
    (root / "art" / "cat" / "x.png").symlink_to(outside / "x.png")
    assert refused(root).kind == "link-outside"


@pytest.mark.parametrize("target", ["nothing", "loop"])
def test_a_link_to_nothing_is_refused(root: Path, target: str) -> None:
    (root / "loop").symlink_to(target)
    assert refused(root).kind == "broken-link"


@pytest.mark.parametrize("name", ["ca\u202et", "ca\nt", "c\x1b[31mat", "a..b"])
def test_a_folder_whose_name_could_do_harm_is_refused(root: Path, name: str) -> None:
    write_image(root / "art" / name / "x.png", 1)
    error = refused(root)
    assert error.kind == "bad-name"
    assert name not in error.message or name == "a..b"


def test_a_name_that_is_no_text_is_refused(root: Path) -> None:
    try:
        (root / os.fsdecode(b"\xff\xfe")).mkdir()
    except OSError:
        pytest.skip("this file system takes text only")
    assert refused(root).kind == "bad-name"


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_image_is_named_when_the_task_is_opened(root: Path, content: bytes) -> None:
    (root / "art" / "cat" / "1.png").write_bytes(content)
    error = refused(root)
    assert error.kind == "unreadable-image"
    assert "1.png" in error.message


def test_a_truncated_image_is_named_when_it_is_used(root: Path) -> None:
    path = root / "art" / "cat" / "1.png"
    path.write_bytes(path.read_bytes()[:-60])
    task = opened(root)
    with pytest.raises(InvalidInputError) as caught:
        task.domain("art").images(torch.arange(9))
    assert caught.value.kind == "unreadable-image"
    assert "1.png" in caught.value.message


def test_an_image_of_gigapixels_is_refused_before_it_is_decoded(root: Path) -> None:
    header = b"P6 100000 100000 255\n"  # thirty gigabytes of pixels, says this PPM
    (root / "art" / "cat" / "bomb.ppm").write_bytes(header)
    assert refused(root).kind == "unreadable-image"


@pytest.mark.parametrize("size", [0, -1, 4097, "224", 1.5, True, [224]])
def test_an_impossible_image_size_is_refused(root: Path, size: JsonValue) -> None:
    assert refused(root, image_size=size).kind == "bad-option"


def test_unknown_options_are_all_named(root: Path) -> None:
    error = refused(root, image_sizes=3, crop=1)
    assert error.kind == "unknown-option"
    assert "'crop', 'image_sizes'" in error.message


def test_too_small_a_domain_is_named_when_it_is_split(root: Path) -> None:
    for name in ("b9", "cat"):
        for file in (root / "art" / name).iterdir():
            file.unlink()
    task = opened(root, "photo")
    with pytest.raises(InvalidInputError) as caught:
        task.training()
    assert caught.value.kind == "too-few-images"
    assert "'art'" in caught.value.message


def test_an_unknown_kind_is_not_found_with_a_hint() -> None:
    with pytest.raises(NotFoundError) as caught:
        open_task(TaskDefinition(name="t", kind="imagefolders"))
    assert caught.value.hint == "did you mean 'imagefolder'?"


def test_only_the_named_domains_are_used_and_other_folders_are_listed(root: Path) -> None:
    (root / "scripts").mkdir()
    write_image(root / "preview.png", 1)
    task = opened(root, domains=["photo", "art"])
    assert task.domains == ("art", "photo")
    assert task.data.ignored == ("preview.png", "scripts/")
    assert opened(root, domains=["art"]).domains == ("art",)
    error = refused(root, domains=["art", "sketch"])
    assert error.kind == "missing-domain"
    assert "'sketch'" in error.message


@pytest.mark.parametrize("path", ["art/cat/1.png", "art/stray.png", "scripts", "art/cat/inner"])
def test_what_is_excluded_is_left_out_on_every_machine(root: Path, path: str) -> None:
    before = opened(root)
    if path.endswith(".png"):
        (root / path).write_bytes(b"broken")
    else:
        (root / path).mkdir()
    refused(root)
    task = opened(root, exclude=[path])
    assert (task.digest == before.digest) == (path != "art/cat/1.png")
    assert task.data.notes == ()
    assert opened(root, exclude=[path, "art/none.png"]).data.notes == ("excluded 'art/none.png' is not there",)


def test_a_missing_class_folder_can_be_allowed_and_is_noted(root: Path) -> None:
    shutil.rmtree(root / "photo" / "b9")
    task = opened(root, allow_missing_classes=True)
    assert task.classes == ("b10", "b9", "cat")
    assert task.domain("photo").labels.tolist() == [0, 0, 0, 2, 2, 2]
    assert task.data.notes == ("no images of this class in this domain: photo/b9",)
    (root / "photo" / "b9").mkdir()
    assert opened(root).digest == task.digest


@pytest.mark.parametrize(
    "options",
    [
        {"domains": "art"},
        {"domains": ["art", "art"]},
        {"exclude": [1]},
        {"exclude": [""]},
        {"allow_missing_classes": 1},
        {"decode_size": -1},
        {"decode_size": "64"},
    ],
)
def test_options_of_the_wrong_form_are_refused(root: Path, options: dict[str, JsonValue]) -> None:
    assert refused(root, **options).kind in ("bad-option", "bad-name")


def test_many_unreadable_images_are_counted_and_the_first_named(root: Path) -> None:
    for number in range(3):
        (root / "art" / "cat" / f"{number}.png").write_bytes(b"broken")
    error = refused(root)
    assert error.kind == "unreadable-image"
    assert "3 files" in error.message
    assert "'art/cat/0.png'" in error.message
    assert "exclude" in (error.hint or "")


def test_a_survey_lists_what_cannot_be_read_and_all_the_rest(root: Path) -> None:
    (root / "art" / "cat" / "0.png").write_bytes(b"broken")
    path = root / "art" / "cat" / "1.png"
    path.write_bytes(path.read_bytes()[:-60])
    (root / "art" / "cat" / "twin.png").write_bytes((root / "photo" / "b9" / "0.png").read_bytes())
    survey = survey_task(TaskDefinition(name="pets", kind="imagefolder"), Place(data=root))
    assert sorted(survey.unreadable) == ["art/cat/0.png", "art/cat/1.png"]
    assert len(survey.examples) == 17
    ((first, second),) = duplicates(survey.examples)
    assert (first.name, second.name) == ("art/cat/twin.png", "photo/b9/0.png")


def test_the_decode_size_is_part_of_the_digest_unless_it_is_zero(root: Path) -> None:
    assert opened(root, decode_size=0).digest == opened(root).digest
    assert opened(root, decode_size=8).digest != opened(root).digest
