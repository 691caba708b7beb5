"""Datasets in the layout of WILDS: images and one ``metadata.csv`` that says what each of them is.

Reference:
    Koh et al., "WILDS: A Benchmark of in-the-Wild Distribution Shifts", ICML 2021, arXiv:2012.07421.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

from mlgit.errors import InvalidInputError, did_you_mean
from mlgit.fileio import file_system_error
from mlgit.objects.manifest import check_path
from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.examples import Survey
from mlgit.tasks.kinds.folders import check_link
from mlgit.tasks.kinds.kind import TaskKind
from mlgit.tasks.picture_task import Listing, Reading, check_names, find_root, open_pictures, survey_pictures
from mlgit.tasks.place import Place
from mlgit.tasks.task import Task

Row = Mapping[str, str]
METADATA = "metadata.csv"


@dataclass(frozen=True)
class Layout:
    """One dataset's columns.

    Attributes:
        folder: What WILDS calls its directory.
        columns: All that are needed.
        path: From a row to the image.
        label: Column with the class, a whole number.
        domains: Name of a choice of domains -> function from a row to the domain; the first one is the default.
        classes: Names of the classes; empty: their numbers, as many as the largest label and one.
    """

    folder: str
    columns: tuple[str, ...]
    path: Callable[[Row], str]
    label: str
    domains: Mapping[str, Callable[[Row], str]]
    classes: tuple[str, ...] = ()


def _patch(row: Row) -> str:
    slide = f"patient_{row['patient']}_node_{row['node']}"
    return f"patches/{slide}/patch_{slide}_x_{row['x_coord']}_y_{row['y_coord']}.png"


def _all(row: Row) -> str:
    del row
    return "all"


LAYOUTS: Mapping[str, Layout] = {
    "camelyon17": Layout(
        folder="camelyon17_v1.0",
        columns=("patient", "node", "x_coord", "y_coord", "tumor", "center"),
        path=_patch,
        label="tumor",
        domains={"hospital": lambda row: f"hospital_{row['center']}", "all": _all},
        classes=("normal", "tumor"),
    ),
    "iwildcam": Layout(
        folder="iwildcam_v2.0",
        columns=("filename", "y", "location_remapped"),
        path=lambda row: f"train/{row['filename']}",
        label="y",
        domains={"location": lambda row: f"location_{row['location_remapped']}", "all": _all},
    ),
    "rxrx1": Layout(
        folder="rxrx1_v1.0",
        columns=("experiment", "plate", "well", "site", "sirna_id", "cell_type"),
        path=lambda row: f"images/{row['experiment']}/Plate{row['plate']}/{row['well']}_s{row['site']}.png",
        label="sirna_id",
        domains={"experiment": lambda row: row["experiment"], "cell_type": lambda row: row["cell_type"], "all": _all},
    ),
}
"""Name of the option ``dataset`` -> its layout."""


@final
@dataclass(frozen=True, kw_only=True)
class WildsKind(TaskKind):
    """Camelyon17, iWildCam or RxRx1 as WILDS lays them out; its own package is not needed.

    All images of ``metadata.csv`` are used, in its order, whatever official split they belong to: which domain is held
    out is the task's own choice, and every domain is split as in DomainBed.

    Attributes:
        dataset: ``camelyon17``, ``iwildcam`` or ``rxrx1``.
        domain: What a domain is: ``hospital`` for camelyon17; ``location`` for iwildcam; ``experiment`` or
            ``cell_type`` for rxrx1; ``all`` puts all images into one domain. The first one of these unless given.
        image_size: Height and width that images are brought to, in pixels, 1 to 4,096.
        decode_size: As for ``imagefolder``.
        exclude: Images that are passed over, as paths relative to the directory of ``metadata.csv``.
    """

    name: ClassVar[str] = "wilds"
    summary: ClassVar[str] = "Camelyon17, iWildCam and RxRx1 as WILDS lays them out"
    needs_data: ClassVar[bool] = True

    dataset: str = "camelyon17"
    domain: str = ""
    image_size: int = 224
    decode_size: int = 0
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_choice("dataset", self.dataset, LAYOUTS)
        if self.domain != "":
            _check_choice("domain", self.domain, LAYOUTS[self.dataset].domains)
        check_names("exclude", self.exclude)
        self._reading()

    def open(self, definition: TaskDefinition, place: Place) -> Task:
        """Read ``metadata.csv`` and hash all images; they are decoded when they are used.

        Args:
            definition: The task.
            place: Its data are the directory of ``metadata.csv``, or the one that holds it under WILDS' name.

        Raises:
            NotFoundError: No such directory or test domain.
            InvalidInputError: ``metadata.csv`` is missing, lacks a column or has a row that cannot be, or an image
                cannot be read.
        """
        return open_pictures(definition, self._listing(definition, place), self._reading(), place)

    def survey(self, definition: TaskDefinition, place: Place) -> Survey:
        """Read and decode every image."""
        return survey_pictures(self._listing(definition, place), self._reading(), place)

    def _reading(self) -> Reading:
        return Reading(image_size=self.image_size, decode_size=self.decode_size, resize_first=True)

    def _listing(self, definition: TaskDefinition, place: Place) -> Listing:
        layout = LAYOUTS[self.dataset]
        root = find_root(definition, place.data, (layout.folder,))
        domain_of = layout.domains[self.domain or next(iter(layout.domains))]
        domains: dict[str, list[tuple[str, int]]] = {}
        excluded, seen = set(self.exclude), set()
        for number, row in _rows(root, layout):
            path, label, domain = _entry(root, number, row, layout, domain_of)
            if path in seen:
                raise _bad_row(root, number, f"names '{path}' a second time")
            seen.add(path)
            if path not in excluded:
                domains.setdefault(domain, []).append((path, label))
        _check_links(root, seen)
        if not domains:
            raise InvalidInputError(f"'{root / METADATA}' names no images", kind="empty-dataset")
        highest = max(label for rows in domains.values() for _, label in rows)
        classes = layout.classes or tuple(str(label) for label in range(highest + 1))
        if highest >= len(classes):
            raise InvalidInputError(f"'{root / METADATA}' has a label {highest}", kind="bad-metadata")
        return Listing(
            root=root,
            classes=classes,
            domains={name: tuple(domains[name]) for name in sorted(domains)},
            notes=tuple(f"excluded '{path}' is not there" for path in self.exclude if path not in seen),
        )


def _rows(root: Path, layout: Layout) -> Iterator[tuple[int, Row]]:
    path = root / METADATA
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in layout.columns if name not in (reader.fieldnames or ())]
            if missing:
                raise InvalidInputError(
                    f"'{path}' has no column {', '.join(repr(name) for name in missing)}",
                    kind="bad-metadata",
                    hint=f"is this {layout.folder}?",
                )
            yield from enumerate(reader, start=2)
    except FileNotFoundError as error:
        raise InvalidInputError(
            f"there is no {METADATA} in '{root}'", kind="bad-layout", hint=f"give the directory {layout.folder}"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"'{path}' cannot be read: {error}", kind="bad-metadata") from error
    except OSError as error:
        raise file_system_error(error, "read", path) from error


def _entry(root: Path, number: int, row: Row, layout: Layout, domain_of: Callable[[Row], str]) -> tuple[str, int, str]:
    if any(not row[name] for name in layout.columns):
        raise _bad_row(root, number, "lacks a value")
    label = row[layout.label]
    if not label.isascii() or not label.isdigit() or len(label) > 6:
        raise _bad_row(root, number, f"has {layout.label} {label[:40]!a}, which is no class")
    path = layout.path(row)
    check_path(path)
    return path, int(label), domain_of(row)


def _bad_row(root: Path, number: int, what: str) -> InvalidInputError:
    return InvalidInputError(f"line {number} of '{root / METADATA}' {what}", kind="bad-metadata")


def _check_links(root: Path, paths: set[str]) -> None:
    folders = {str(parent) for path in paths for parent in Path(path).parents if parent != Path()}
    for path in sorted(folders | paths):
        if (root / path).is_symlink():
            check_link(root, path)


def _check_choice(option: str, value: object, known: Mapping[str, object]) -> None:
    if not isinstance(value, str) or value not in known:
        raise InvalidInputError(
            f"option '{option}' cannot be '{value}'", kind="bad-option", hint=did_you_mean(str(value), known)
        )
