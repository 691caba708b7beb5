"""The layout ``root/<domain>/<class>/<image>``, read strictly: every surprise is named."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlgit.errors import InvalidInputError
from mlgit.fileio import file_system_error
from mlgit.objects.manifest import check_name

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""What an image's name may end with, in any case of letters."""
_LEFTOVERS = frozenset({"__MACOSX", "lost+found"})
_SHOWN = 10


@dataclass(frozen=True)
class Listing:
    """What a directory holds.

    Attributes:
        root: The directory.
        classes: Names in string order, the same in every domain.
        domains: Domain -> paths ``<domain>/<class>/<image>``; domains, classes and files in string order.
        ignored: Files that are no images, relative to ``root``.
    """

    root: Path
    classes: tuple[str, ...]
    domains: Mapping[str, tuple[str, ...]]
    ignored: tuple[str, ...]

    def label(self, path: str) -> int:
        """Return the index of the class of an image."""
        return self.classes.index(path.split("/")[1])


def list_images(root: Path) -> Listing:
    """Read the names of all images below ``root``; opens none of them.

    Args:
        root: An existing directory.

    Raises:
        InvalidInputError: No domain, a domain or class without images, a class folder missing in one domain, an image
            or directory at the wrong level, a link that leaves ``root``, or a name that could do harm.
        FileSystemError: A directory cannot be read.
    """
    ignored: list[str] = []
    found = {
        domain: {
            name: tuple(_children(root, f"{domain}/{name}", ignored, folders=False))
            for name in _children(root, domain, ignored, folders=True)
        }
        for domain in _children(root, "", ignored, folders=True)
    }
    classes = tuple(sorted({name for domain in found.values() for name in domain}))
    _check(root, found, classes)
    domains = {
        domain: tuple(f"{domain}/{name}/{file}" for name in classes for file in found[domain][name]) for domain in found
    }
    return Listing(root=root, classes=classes, domains=domains, ignored=tuple(sorted(ignored)))


def _children(root: Path, inside: str, ignored: list[str], *, folders: bool) -> Iterator[str]:
    """Yield the names of the folders, or of the images, in one folder, in string order."""
    for entry in _entries(root / inside):
        path = f"{inside}/{entry.name}" if inside else entry.name
        if entry.name.startswith(".") or entry.name in _LEFTOVERS:
            continue
        check_name(entry.name, "file")
        _check_link(root, entry, path)
        is_image = entry.is_file() and entry.name.lower().endswith(SUFFIXES)
        if entry.is_dir() if folders else is_image:
            yield entry.name
        elif entry.is_dir() or is_image:
            what = "directory" if entry.is_dir() else "image"
            raise InvalidInputError(
                f"{what} '{path}' in '{root}' lies at the wrong level",
                kind="bad-layout",
                hint="images lie at <domain>/<class>/<image>, and nowhere else",
            )
        else:
            ignored.append(path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise file_system_error(error, "read", folder) from error


def _check_link(root: Path, entry: os.DirEntry[str], path: str) -> None:
    if not entry.is_symlink():
        return
    try:
        target = Path(entry.path).resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself
        raise InvalidInputError(f"'{path}' in '{root}' is a link to nothing", kind="broken-link") from error
    if not target.is_relative_to(root.resolve()):
        raise InvalidInputError(
            f"'{path}' in '{root}' is a link that leaves the directory",
            kind="link-outside",
            hint="copy what it points at",
        )


def _check(root: Path, found: Mapping[str, Mapping[str, tuple[str, ...]]], classes: tuple[str, ...]) -> None:
    hint = "images lie at <domain>/<class>/<image>"
    if not found:
        raise InvalidInputError(f"'{root}' holds no domains", kind="empty-dataset", hint=hint)
    for domain, by_class in found.items():
        if not any(by_class.values()):
            raise InvalidInputError(f"domain '{domain}' in '{root}' has no images", kind="empty-domain", hint=hint)
    missing = [f"'{domain}/{name}'" for domain in found for name in classes if name not in found[domain]]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise InvalidInputError(
            f"class folders are missing in '{root}': {', '.join(missing[:_SHOWN])}{more}",
            kind="missing-class",
            hint="every domain needs a folder for every class; leave it empty where a domain has no such images",
        )
    for name in classes:
        if not any(by_class[name] for by_class in found.values()):
            raise InvalidInputError(f"class '{name}' in '{root}' has no images in any domain", kind="empty-class")
