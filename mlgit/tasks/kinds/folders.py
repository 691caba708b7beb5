"""The layout ``root/<domain>/<class>/<image>``, read strictly: every surprise is named."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlgit.errors import InvalidInputError
from mlgit.fileio import file_system_error
from mlgit.objects.manifest import check_name
from mlgit.tasks.picture_task import Listing

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""What an image's name may end with, in any case of letters."""
_LEFTOVERS = frozenset({"__MACOSX", "lost+found"})
_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class FolderRules:
    """What may be otherwise than in a plain folder of folders.

    Attributes:
        domains: The folders that are domains, others are passed over; empty: all of them are.
        exclude: Paths relative to the root that are passed over: domains, class folders, files.
        allow_missing_classes: Take a domain that has no folder for a class as one without such images.
    """

    domains: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_missing_classes: bool = False


_PLAIN = FolderRules()


def list_images(root: Path, rules: FolderRules = _PLAIN) -> Listing:
    """Read the names of all images below ``root``; opens none of them.

    Classes are the union of the class folders of all domains, numbered in string order, so that a number means the
    same in every domain. Domains, classes and files are in string order.

    Args:
        root: An existing directory.
        rules: What to look at.

    Raises:
        InvalidInputError: No domain, a domain or class without images, a class folder missing in one domain, an image
            or directory at the wrong level, a link that leaves ``root``, or a name that could do harm.
        FileSystemError: A directory cannot be read.
    """
    scan = _Scan(root, rules)
    found = {
        domain: {
            name: tuple(scan.children(f"{domain}/{name}", folders=False))
            for name in scan.children(domain, folders=True)
        }
        for domain in scan.domains()
    }
    classes = tuple(sorted({name for domain in found.values() for name in domain}))
    notes = _check(root, found, classes, rules)
    notes += [f"excluded '{path}' is not there" for path in rules.exclude if path not in scan.excluded]
    domains = {
        domain: tuple(
            (f"{domain}/{name}/{file}", label)
            for label, name in enumerate(classes)
            for file in found[domain].get(name, ())
        )
        for domain in found
    }
    return Listing(root=root, classes=classes, domains=domains, ignored=tuple(sorted(scan.ignored)), notes=tuple(notes))


class _Scan:
    """Lists folders and notes what is passed over."""

    def __init__(self, root: Path, rules: FolderRules) -> None:
        self.root = root
        self.rules = rules
        self.ignored: list[str] = []
        self.excluded: set[str] = set()

    def domains(self) -> list[str]:
        """Return the folders that are domains, and note the others."""
        present = list(self.children("", folders=True))
        wanted = sorted(self.rules.domains) or present
        missing = [name for name in wanted if name not in present and name not in self.excluded]
        if missing:
            names = ", ".join(f"'{name}'" for name in missing)
            raise InvalidInputError(
                f"'{self.root}' has no folder for {names}",
                kind="missing-domain",
                hint="its folders: " + (", ".join(present[:_SHOWN]) or "none"),
            )
        self.ignored += [f"{name}/" for name in present if name not in wanted]
        return [name for name in wanted if name in present]

    def children(self, inside: str, *, folders: bool) -> Iterator[str]:
        """Yield the names of the folders, or of the images, in one folder, in string order."""
        for entry in _entries(self.root / inside):
            path = f"{inside}/{entry.name}" if inside else entry.name
            if entry.name.startswith(".") or entry.name in _LEFTOVERS:
                continue
            if path in self.rules.exclude:
                self.excluded.add(path)
                continue
            check_name(entry.name, "file")
            check_link(self.root, path)
            is_image = entry.is_file() and entry.name.lower().endswith(SUFFIXES)
            if entry.is_dir() if folders else is_image:
                yield entry.name
            elif entry.is_dir() or is_image:
                self._misplaced("directory" if entry.is_dir() else "image", path, at_root=not inside)
            else:
                self.ignored.append(path)

    def _misplaced(self, what: str, path: str, *, at_root: bool) -> None:
        if at_root and self.rules.domains:  # what the domains are is known: this is none of them
            self.ignored.append(path)
            return
        raise InvalidInputError(
            f"{what} '{path}' in '{self.root}' lies at the wrong level",
            kind="bad-layout",
            hint=f'images lie at <domain>/<class>/<image>; leave others out by `exclude = ["{path}"]`',
        )


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise file_system_error(error, "read", folder) from error


def check_link(root: Path, path: str) -> None:
    """Refuse a path below ``root`` that is a link to somewhere else, or to nothing.

    Raises:
        InvalidInputError: It is such a link.
    """
    if not (root / path).is_symlink():
        return
    try:
        target = (root / path).resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself
        raise InvalidInputError(f"'{path}' in '{root}' is a link to nothing", kind="broken-link") from error
    if not target.is_relative_to(root.resolve()):
        raise InvalidInputError(
            f"'{path}' in '{root}' is a link that leaves the directory",
            kind="link-outside",
            hint="copy what it points at",
        )


def _check(
    root: Path, found: Mapping[str, Mapping[str, tuple[str, ...]]], classes: tuple[str, ...], rules: FolderRules
) -> list[str]:
    """Refuse what cannot be used, and return what is remarkable."""
    hint = "images lie at <domain>/<class>/<image>"
    if not found:
        raise InvalidInputError(f"'{root}' holds no domains", kind="empty-dataset", hint=hint)
    for domain, by_class in found.items():
        if not any(by_class.values()):
            raise InvalidInputError(
                f"domain '{domain}' in '{root}' has no images",
                kind="empty-domain",
                hint=f'{hint}; if it is no domain, leave it out by `exclude = ["{domain}"]`',
            )
    missing = [f"{domain}/{name}" for domain in found for name in classes if name not in found[domain]]
    if missing and not rules.allow_missing_classes:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise InvalidInputError(
            f"class folders are missing in '{root}': {', '.join(repr(path) for path in missing[:_SHOWN])}{more}",
            kind="missing-class",
            hint="every domain needs a folder for every class; where a domain has no such images, leave it empty, or "
            "set `allow_missing_classes = true`",
        )
    for name in classes:
        if not any(by_class.get(name) for by_class in found.values()):
            raise InvalidInputError(f"class '{name}' in '{root}' has no images in any domain", kind="empty-class")
    empty = [f"{domain}/{name}" for domain in found for name in classes if not found[domain].get(name)]
    return [f"no images of this class in this domain: {path}" for path in empty]
