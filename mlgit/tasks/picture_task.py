"""What all kinds of tasks whose images lie in files have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlgit.errors import InvalidInputError, NotFoundError
from mlgit.tasks.decoding import Decoder, MemoryCache, Picture, PixelSource
from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.examples import Example, Survey
from mlgit.tasks.file_index import File, FileIndex
from mlgit.tasks.pictures import PictureDomain
from mlgit.tasks.pixel_cache import PixelCache
from mlgit.tasks.place import Place
from mlgit.tasks.preprocessing import Preprocessing
from mlgit.tasks.task import Task, TaskData

MAX_SIZE = 4096
_SHOWN = 10


@dataclass(frozen=True)
class Listing:
    """Which images a task has; none was opened yet.

    Attributes:
        root: The directory of the data.
        classes: Names of the labels 0, 1, ….
        domains: Domain, in string order -> pairs of a path relative to the root and a label, in the task's order.
        ignored: Files and directories that are passed over, relative to the root.
        notes: What else is remarkable, for people.
    """

    root: Path
    classes: tuple[str, ...]
    domains: Mapping[str, tuple[tuple[str, int], ...]]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the images of a task are read.

    Attributes:
        image_size: Height and width that images are brought to, in pixels, 1 to 4,096.
        decode_size: See ``Decoder``; 0 to 4,096.
        resize_first: See ``Preprocessing``.

    Raises:
        InvalidInputError: A size out of range.
    """

    image_size: int
    decode_size: int = 0
    resize_first: bool = False

    def __post_init__(self) -> None:
        check_size("image_size", self.image_size, least=1)
        check_size("decode_size", self.decode_size, least=0)


def check_size(option: str, value: object, *, least: int) -> None:
    """Refuse a size that is no number of pixels; values come from a file, annotations are hopes.

    Raises:
        InvalidInputError: It is none, or out of range.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MAX_SIZE:
        raise InvalidInputError(
            f"option '{option}' is {value!r}; {least} to {MAX_SIZE} pixels are allowed", kind="bad-option"
        )


def check_names(option: str, value: object) -> None:
    """Refuse an option that is not a list of texts.

    Raises:
        InvalidInputError: It is none, or one of them is empty or stands twice.
    """
    if (
        not isinstance(value, tuple)
        or not all(isinstance(name, str) and name for name in value)
        or len(set(value)) < len(value)
    ):
        raise InvalidInputError(f"option '{option}' is not a list of different names", kind="bad-option")


def open_pictures(definition: TaskDefinition, listing: Listing, reading: Reading, place: Place) -> Task:
    """Make a task of a listing; all files are hashed, unless they were before.

    Raises:
        InvalidInputError: Files that are no images; the first ones are named.
        FileSystemError: A file cannot be read.
    """
    files = _files(listing, place)
    _refuse_unreadable(listing.root, files)
    decoder = Decoder(listing.root, reading.decode_size)
    preprocessing = Preprocessing(reading.image_size, reading.resize_first)
    domains = []
    for name, rows in listing.domains.items():
        pictures = [Picture(path, label, files[path].digest) for path, label in rows]
        source: PixelSource = MemoryCache(decoder)
        if place.cache is not None:
            source = PixelCache(
                place.cache / "pixels", pictures, decoder, progress=place.progress, title=f"decoding {name}"
            )
        domains.append(PictureDomain(name, pictures, source, preprocessing, decode_size=reading.decode_size))
    return Task(
        definition,
        TaskData(
            domains=tuple(domains),
            classes=listing.classes,
            input_shape=(3, reading.image_size, reading.image_size),
            ignored=listing.ignored,
            notes=listing.notes,
        ),
    )


def survey_pictures(listing: Listing, reading: Reading, place: Place) -> Survey:
    """Read and decode every single file, whatever is remembered of it."""
    files = _files(listing, place, afresh=True)
    decoder = Decoder(listing.root, reading.decode_size)
    examples, unreadable = [], {}
    with place.progress.task("decoding images", len(files)) as bar:
        for domain, rows in listing.domains.items():
            for path, label in rows:
                problem = files[path].problem or _problem(decoder, path)
                if problem is None:
                    examples.append(Example(domain, path, label, files[path].digest))
                else:
                    unreadable[path] = problem
                bar.advance()
    return Survey(examples=tuple(examples), unreadable=unreadable, ignored=listing.ignored, notes=listing.notes)


def find_root(definition: TaskDefinition, data: Path | None, names: tuple[str, ...] = ()) -> Path:
    """Return the directory of a task's data: the one that was given, or one in it.

    Args:
        definition: The task; its name, and that of its preset, are what the directory may be called.
        data: What was given.
        names: What else it may be called.

    Raises:
        NotFoundError: There is no such path.
        InvalidInputError: None was given, or it is no directory.
    """
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
    for name in (*names, definition.base_name):
        if (data / name).is_dir():
            return data / name
    return data


def _files(listing: Listing, place: Place, *, afresh: bool = False) -> dict[str, File]:
    paths = [path for rows in listing.domains.values() for path, _ in rows]
    memory = None if place.cache is None else place.cache / "files"
    found = FileIndex(listing.root, memory, place.progress).read(paths, afresh=afresh)
    return dict(zip(paths, found, strict=True))


def _refuse_unreadable(root: Path, files: Mapping[str, File]) -> None:
    bad = [(path, file.problem) for path, file in files.items() if file.problem is not None]
    if len(bad) == 1:
        raise InvalidInputError(str(bad[0][1]), kind="unreadable-image", hint=_leave_out(bad[0][0]))
    if bad:
        shown = ", ".join(f"'{path}'" for path, _ in bad[:_SHOWN])
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise InvalidInputError(
            f"{len(bad)} files in '{root}' are not images that can be read: {shown}{more}",
            kind="unreadable-image",
            hint=_leave_out(bad[0][0]),
        )


def _leave_out(path: str) -> str:
    return f'replace them, or leave them out by the task\'s option `exclude = ["{path}", …]`'


def _problem(decoder: Decoder, path: str) -> str | None:
    try:
        decoder.decode(path)
    except InvalidInputError as error:
        return error.message
    return None
