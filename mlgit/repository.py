"""A repository: object database, refs, settings and locks behind one name. It knows no torch and no terminal."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mlgit.errors import AlreadyExistsError, ConflictError, FileSystemError, InvalidInputError, NotFoundError
from mlgit.fileio import file_system_error, read_file, sync_directory, write_file
from mlgit.history import revision
from mlgit.interrupts import held_back
from mlgit.objects import Commit, CommitId, Identity, JsonValue, ManifestId, ObjectId, Timestamp
from mlgit.storage import journal
from mlgit.storage.journal import Journal
from mlgit.storage.lock import FileLock
from mlgit.storage.objects import ObjectDatabase
from mlgit.storage.owner import remove_abandoned, temporary_name
from mlgit.storage.refnames import check_ref_name
from mlgit.storage.refs import RefStore

if TYPE_CHECKING:  # the history is read without manifests
    from mlgit.objects import Manifest
    from mlgit.storage.effort import Effort
    from mlgit.storage.transaction import Transaction

FOLDER = ".mlgit"
FORMAT = b"mlgit repository 1\n"
_KEPT_MANIFESTS = 2
DEFAULT_BRANCH = "main"
_WORKTREE = "worktree"
HEADS = "refs/heads/"
TAGS = "refs/tags/"
PROBES = "refs/probes/"
CERTIFICATES = "refs/certificates/"
REMOTES = "refs/remotes/"


def check_branch_name(name: str) -> None:
    """Refuse a name that no branch or tag may have.

    Raises:
        InvalidInputError: git would refuse it, or it reads like an option or like HEAD.
    """
    if name.startswith("-") or name in ("HEAD", "@"):
        raise InvalidInputError(
            f"'{name}' cannot name a branch or tag", kind="bad-ref-name", hint="choose another name"
        )
    check_ref_name(HEADS + name)


def check_outside(place: Path) -> None:
    """Refuse a place for a new repository that is one or lies inside one.

    Args:
        place: Absolute, without links.

    Raises:
        AlreadyExistsError: The repository is named.
    """
    for directory in (place, *place.parents):
        if (directory / FOLDER / "format").exists():
            where = "is already" if directory == place else f"lies inside '{directory}', which is already"
            raise AlreadyExistsError(
                f"'{place}' {where} a repository", kind="repository-exists", hint="use it, or choose another directory"
            )


class Settings:
    """Values of ``.mlgit/config.toml`` over those of the user's own file; read only.

    Args:
        paths: Files from the weakest to the strongest; missing ones count as empty.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)

    @cached_property
    def values(self) -> Mapping[str, JsonValue]:
        """All values by dotted key.

        Raises:
            InvalidInputError: A file is not TOML.
        """
        flat: dict[str, JsonValue] = {}
        for path in self.paths:
            with suppress(FileNotFoundError):
                flat |= _flatten(read_toml(path))
        return flat

    def get(self, key: str) -> JsonValue:
        """Return the value of a dotted key, ``user.name``, or None."""
        return self.values.get(key)

    def text(self, key: str) -> str | None:
        """Return a value that must be text, or None.

        Raises:
            InvalidInputError: It is something else.
        """
        value = self.get(key)
        if value is not None and not isinstance(value, str):
            raise InvalidInputError(f"setting '{key}' is {value!r}, not text", hint=f'run `mlgit config {key} "…"`')
        return value


def read_toml(path: Path) -> dict[str, JsonValue]:
    """Read a TOML file.

    Raises:
        InvalidInputError: Not TOML, or not UTF-8; the place is named.
        FileNotFoundError: No such file.
    """
    data = read_file(path)
    import tomllib  # noqa: PLC0415 - most runs find no settings to read

    try:
        return cast("dict[str, JsonValue]", tomllib.loads(data.decode("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"'{path}' is not valid TOML: {error}", kind="bad-toml") from error


def _flatten(table: Mapping[str, JsonValue], prefix: str = "") -> dict[str, JsonValue]:
    flat: dict[str, JsonValue] = {}
    for key, value in table.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


class Repository:
    """A model directory with its history in ``.mlgit``.

    Args:
        root: The model directory.
        user_settings: The user's own settings file, which the repository's override; None for none.

    Raises:
        NotFoundError: ``root`` is not a repository.
        InvalidInputError: It was written by a newer mlgit.
    """

    def __init__(self, root: Path, *, user_settings: Path | None = None) -> None:
        self.root = Path(os.path.realpath(root))
        self.folder = self.root / FOLDER
        self.user_settings = user_settings
        self._manifests: dict[ManifestId, Manifest] = {}
        try:
            found = read_file(self.folder / "format")
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(
                f"'{self.root}' is not an mlgit repository", kind="no-repository", hint="create one with `mlgit init`"
            ) from None
        if found != FORMAT:
            raise InvalidInputError(
                f"the repository '{self.root}' has the format {found[:40]!r}, this mlgit knows {FORMAT!r}",
                kind="newer-version",
                hint="update mlgit",
            )

    @classmethod
    def create(cls, root: Path, *, branch: str = DEFAULT_BRANCH, user_settings: Path | None = None) -> Repository:
        """Make ``root`` a repository without commits; it appears complete or not at all.

        Args:
            root: The model directory; created with its parents when missing.
            branch: Name of the branch that the first commit will create.
            user_settings: As for the constructor.

        Raises:
            AlreadyExistsError: ``root`` is a repository or lies inside one.
            FileSystemError: The operating system refused; nothing is left behind.
        """
        root = Path(os.path.realpath(root))  # `..` and links followed: what lies above it counts
        check_outside(root)
        check_branch_name(branch)
        remove_abandoned(root, f"{FOLDER}.")
        temporary = root / temporary_name(f"{FOLDER}.")
        try:
            with new_directories(root), held_back():
                try:
                    _fill(temporary, branch)
                    temporary.rename(root / FOLDER)
                    try:
                        sync_directory(root)
                    except BaseException:
                        (root / FOLDER).rename(temporary)
                        raise
                except BaseException:
                    shutil.rmtree(temporary, ignore_errors=True)
                    raise
        except OSError as error:
            raise file_system_error(error, "create a repository in", root) from error
        return cls(root, user_settings=user_settings)

    @classmethod
    def discover(cls, start: Path, *, user_settings: Path | None = None) -> Repository:
        """Open the repository that ``start`` or a directory above it belongs to.

        Raises:
            NotFoundError: There is none.
        """
        start = Path(os.path.realpath(start))
        for directory in (start, *start.parents):
            if (directory / FOLDER / "format").exists():
                return cls(directory, user_settings=user_settings)
        raise NotFoundError(
            f"neither '{start}' nor a directory above it is an mlgit repository",
            kind="no-repository",
            hint="create one with `mlgit init`, or go into one",
        )

    @cached_property
    def objects(self) -> ObjectDatabase:
        """Everything that was ever committed."""
        return ObjectDatabase(self.folder / "objects")

    @cached_property
    def refs(self) -> RefStore:
        """Branches, tags, HEAD and the other names."""
        return RefStore(self.folder)

    @cached_property
    def journal(self) -> Journal:
        """What a command that moves files and refs is about to do."""
        return Journal(self.folder, self.refs)

    @property
    def settings(self) -> Settings:
        """The settings as they are on disk now."""
        user = [self.user_settings] if self.user_settings else []
        return Settings([*user, self.folder / "config.toml"])

    @contextmanager
    def lock(self, name: str = _WORKTREE) -> Iterator[None]:
        """Hold a lock that one process at a time may hold: working files and HEAD change under ``worktree``.

        Nothing is collected meanwhile, as with ``keeping``. What a killed command left half done there is finished or
        taken back first.

        Raises:
            ConflictError: Another process holds it; it is named.
        """
        with self.keeping(), FileLock(self.folder / f"{name}.lock") as lock:
            if name == _WORKTREE:
                self.journal.settle()
            if lock.recovered:
                self._sweep()
            yield

    def settle(self) -> None:
        """Finish or take back what a killed command left half done; leave it to others when that cannot be done now."""
        if (self.folder / journal.FILE).exists():
            with suppress(ConflictError, FileSystemError), self.lock():
                pass

    def _sweep(self) -> None:
        """Remove what the process that was killed while it held the lock left half written."""
        for folder, start in ((self.folder, ".run.json."), (self.folder, ".index."), (self.folder, ".journal.")):
            for leftover in folder.glob(f"{start}*.tmp"):
                leftover.unlink(missing_ok=True)
        for leftover in self.folder.glob(f"{journal.STAGING}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for leftover in self.root.glob(".mlgit.toml.*.tmp"):
            leftover.unlink(missing_ok=True)

    def keeping(self) -> AbstractContextManager[None]:
        """Return a context manager: while its block runs, no object is collected.

        It belongs around everything from finding or storing an object to a ref that leads to it.
        """
        return self.objects.keeping()

    @property
    def identity(self) -> Identity:
        """Who commits: ``user.name`` and ``user.email``, or the account on this machine."""
        settings = self.settings
        account = _account()
        return Identity(
            settings.text("user.name") or account, settings.text("user.email") or f"{account}@{os.uname().nodename}"
        )

    def commit_of(self, commit_id: CommitId) -> Commit:
        """Return a commit by its id."""
        return self.objects.read_record(commit_id)

    def manifest_of(self, commit_id: CommitId) -> Manifest:
        """Return the manifest of a commit."""
        return self.manifest(self.commit_of(commit_id).manifest)

    def manifest(self, manifest_id: ManifestId) -> Manifest:
        """Return a manifest by its id; the last ones are kept, since one command asks for the same one often."""
        known = self._manifests.get(manifest_id)
        if known is None:
            known = self.objects.read_record(manifest_id)
            kept = list(self._manifests.items())[1 - _KEPT_MANIFESTS :]
            self._manifests = dict(kept) | {manifest_id: known}
        return known

    def transaction(self, effort: Effort | None = None) -> Transaction:
        """Return a context manager that adds objects, all or none.

        Args:
            effort: Favour speed or size; None: as the setting ``storage.effort`` says.

        Raises:
            InvalidInputError: The setting is none of ``fast``, ``normal`` and ``small``.
        """
        from mlgit.storage.effort import Effort  # noqa: PLC0415 - most runs only read

        text = self.settings.text("storage.effort") or Effort.NORMAL
        if effort is None and text not in tuple(Effort):
            raise InvalidInputError(
                f"setting 'storage.effort' is '{text}'",
                kind="bad-setting",
                hint=f"run `mlgit config storage.effort` with one of {', '.join(Effort)}",
            )
        return self.objects.transaction(depth=(effort or Effort(text)).depth)

    @property
    def head(self) -> CommitId | None:
        """The commit that HEAD names, or None before the first one."""
        return self.refs.head().commit

    def resolve(self, text: str) -> CommitId:
        """Return the commit that a revision names: ``HEAD``, ``main~2``, a tag, a unique prefix of an id.

        Raises:
            NotFoundError: No such revision.
            InvalidInputError: Ambiguous, or no revision at all.
        """
        return revision.resolve(text, self.refs, self.objects)

    def resolve_many(self, texts: Sequence[str]) -> list[CommitId]:
        """Return the commits that revisions and globs of branches or tags name, each once, in order."""
        return revision.resolve_many(texts, self.refs, self.objects)

    def advance(self, new: CommitId, *, expected: CommitId | None, who: Identity, when: Timestamp, reason: str) -> None:
        """Move the current branch, or a detached HEAD, to ``new``.

        Args:
            new: The commit to move to.
            expected: Where it must stand now; None when it must not exist yet.
            who: For the reflog.
            when: For the reflog.
            reason: For the reflog: ``commit: subject``.

        Raises:
            ConflictError: It stands elsewhere; nothing was changed.
        """
        head = self.refs.head()
        if head.branch is not None:
            self.refs.update(head.branch, new, expected=expected, who=who, when=when, reason=reason)
        else:
            self.refs.set_head(new, who=who, when=when, reason=reason)

    def branches(self) -> dict[str, CommitId]:
        """Return the local branches by short name."""
        return {name: CommitId(found) for name, found in self.named(HEADS).items()}

    def named(self, prefix: str) -> dict[str, ObjectId]:
        """Return what the refs below ``prefix`` name, by the rest of their names, sorted."""
        found = ((name.removeprefix(prefix), self.refs.read(name)) for name in sorted(self.refs.names(prefix)))
        return {name: value for name, value in found if value is not None}


def _account() -> str:
    """Return the name of the account; a container may run as a number that has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user-{os.getuid()}"


def _fill(folder: Path, branch: str) -> None:
    """Create ``folder`` with what an empty repository holds."""
    folder.mkdir()
    for name in ("objects", "refs/heads", "refs/tags", "logs"):
        (folder / name).mkdir(parents=True)
    write_file(folder / "HEAD", f"ref: {HEADS}{branch}\n".encode())
    write_file(folder / "format", FORMAT)


@contextmanager
def new_directories(path: Path) -> Iterator[None]:
    """Create ``path`` and its parents; when the block fails, remove those again that were missing and are empty."""
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for directory in missing:
            with suppress(OSError):
                directory.rmdir()
        raise
