"""Images in folders, ``root/<domain>/<class>/<image>``: the layout of PACS, OfficeHome and their like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from mlgit.errors import InvalidInputError
from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.examples import Survey
from mlgit.tasks.kinds.folders import FolderRules, list_images
from mlgit.tasks.kinds.kind import TaskKind
from mlgit.tasks.picture_task import Listing, Reading, check_names, find_root, open_pictures, survey_pictures
from mlgit.tasks.place import Place
from mlgit.tasks.presets import folder_names
from mlgit.tasks.task import Task


@final
@dataclass(frozen=True, kw_only=True)
class ImageFolderKind(TaskKind):
    """A folder per domain, in it a folder per class, in it the images.

    Domains, classes and files are in string order. The classes are the folders of all domains together; every domain
    has a folder for every class unless told otherwise.

    Attributes:
        image_size: Height and width that images are brought to, in pixels, 1 to 4,096.
        decode_size: Images whose shorter side has more pixels are reduced to it when they are decoded, before they are
            cropped or resized: for originals too large to be kept. 0 to 4,096; 0 keeps the originals.
        domains: The folders that are domains; others are passed over. All folders are, unless given.
        exclude: Paths relative to the folder of domains that are passed over: files, class folders, domains.
        allow_missing_classes: Take a domain without a folder for a class as one without such images.
    """

    name: ClassVar[str] = "imagefolder"
    summary: ClassVar[str] = "images in folders: <domain>/<class>/<image>"
    needs_data: ClassVar[bool] = True

    image_size: int = 224
    decode_size: int = 0
    domains: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_missing_classes: bool = False

    def __post_init__(self) -> None:
        self._reading()
        check_names("domains", self.domains)
        check_names("exclude", self.exclude)
        allowed: object = self.allow_missing_classes  # from a file: the annotation is a hope
        if not isinstance(allowed, bool):
            raise InvalidInputError("option 'allow_missing_classes' is not true or false", kind="bad-option")

    def open(self, definition: TaskDefinition, place: Place) -> Task:
        """List and hash all images; they are decoded when they are used.

        Args:
            definition: The task.
            place: Its data are the folder with the domains, or the one that holds it under the name of the task or of
                its preset.

        Raises:
            NotFoundError: No such directory or test domain.
            InvalidInputError: A layout that cannot be used (see ``list_images``), or a file that is no image.
        """
        return open_pictures(definition, self._listing(definition, place), self._reading(), place)

    def survey(self, definition: TaskDefinition, place: Place) -> Survey:
        """Read and decode every image."""
        return survey_pictures(self._listing(definition, place), self._reading(), place)

    def _listing(self, definition: TaskDefinition, place: Place) -> Listing:
        rules = FolderRules(
            domains=self.domains, exclude=self.exclude, allow_missing_classes=self.allow_missing_classes
        )
        return list_images(find_root(definition, place.data, folder_names(definition.preset)), rules)

    def _reading(self) -> Reading:
        return Reading(image_size=self.image_size, decode_size=self.decode_size)
