"""Images in folders, ``root/<domain>/<class>/<image>``: the layout of PACS, OfficeHome and their like."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

from mlgit.errors import InvalidInputError, NotFoundError
from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.kinds.folders import list_images
from mlgit.tasks.kinds.kind import TaskKind
from mlgit.tasks.pictures import Decoder, PictureDomain, Preprocessing, inspect
from mlgit.tasks.task import Task, TaskData

MAX_SIZE = 4096


@final
@dataclass(frozen=True, kw_only=True)
class ImageFolderKind(TaskKind):
    """A folder per domain, in it a folder per class, in it the images.

    Domains, classes and files are in string order; every domain has a folder for every class.

    Attributes:
        image_size: Height and width that images are brought to, in pixels, 1 to 4,096.
    """

    name: ClassVar[str] = "imagefolder"
    summary: ClassVar[str] = "images in folders: <domain>/<class>/<image>"
    needs_data: ClassVar[bool] = True

    image_size: int = 224

    def __post_init__(self) -> None:
        size: object = self.image_size  # from a file: the annotation is a hope
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MAX_SIZE:
            raise InvalidInputError(
                f"option 'image_size' is {size!r}; 1 to {MAX_SIZE} pixels are allowed", kind="bad-option"
            )

    def open(self, definition: TaskDefinition, data: Path | None) -> Task:
        """List and hash all images; they are decoded when they are used.

        Args:
            definition: The task.
            data: The folder with the domains, or the one that holds it under the task's name.

        Raises:
            NotFoundError: No such directory or test domain.
            InvalidInputError: A layout that cannot be used (see ``list_images``), or a file that is no image.
        """
        root = _root(definition, data)
        listing = list_images(root)
        decoder, preprocessing = Decoder(root), Preprocessing(self.image_size)
        domains = tuple(
            PictureDomain(name, inspect(root, paths, [listing.label(path) for path in paths]), decoder, preprocessing)
            for name, paths in listing.domains.items()
        )
        shape = (3, self.image_size, self.image_size)
        return Task(
            definition,
            TaskData(domains=domains, classes=listing.classes, input_shape=shape, ignored=listing.ignored),
        )


def _root(definition: TaskDefinition, data: Path | None) -> Path:
    if data is None:
        raise InvalidInputError(
            f"where the data of task '{definition.name}' lie on this machine is not known",
            kind="missing-data",
            hint="give it with `--data DIR`",
        )
    if not data.exists():
        raise NotFoundError(f"'{data}', the data of task '{definition.name}', does not exist", kind="missing-data")
    if not data.is_dir():
        raise InvalidInputError(f"'{data}', the data of task '{definition.name}', is no directory", kind="bad-layout")
    inner = data / definition.name
    return inner if inner.is_dir() else data
