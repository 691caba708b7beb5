"""Refs: names that point at objects, moved by compare-and-swap, with a log of every move.

Layout below ``.mlgit``: ``HEAD`` holds ``ref: refs/heads/main`` or ``commit <id>``; ``refs/heads/main`` holds
``<kind> <id>``; ``logs/refs/heads/main..log`` is its log (no ref's name can hold ``..``, so logs never stand in each
other's way, not even the log of a deleted ``a`` and that of ``a/b``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mlgit.errors import AlreadyExistsError, ConflictError, FileSystemError, NotFoundError
from mlgit.fileio import file_system_error, sync_directory, write_file
from mlgit.objects import CommitId, Identity, ObjectId, Timestamp
from mlgit.storage import reflog
from mlgit.storage.directories import files_below, make_directories, remove_empty
from mlgit.storage.lock import FileLock, break_if_stale
from mlgit.storage.ref_values import (
    HEAD,
    LOG_SUFFIX,
    as_commit,
    check_branch,
    clash,
    moved,
    parse_symbolic,
    parse_value,
    say_value,
)
from mlgit.storage.reflog import ReflogEntry, write_value
from mlgit.storage.refnames import check_ref_name

_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Head:
    """What is checked out.

    Attributes:
        branch: Full name of the branch, ``refs/heads/main``; None when detached.
        commit: The commit; None when the branch does not exist yet.
    """

    branch: str | None
    commit: CommitId | None


class RefStore:
    """The refs of one repository.

    Readers take no lock. A change holds the lock file of its ref, and is atomic and durable when it returns.

    Args:
        root: The repository's own folder, ``.mlgit``.
        timeout_s: How long a change waits for the lock of a ref, in seconds.
    """

    def __init__(self, root: Path, *, timeout_s: float = 10.0) -> None:
        self.root = root
        self.timeout_s = timeout_s

    @classmethod
    def create(cls, root: Path, branch: str = "refs/heads/main") -> RefStore:
        """Make an empty ref store whose HEAD is a branch that does not exist yet.

        Args:
            root: An existing folder.
            branch: Full name of the branch.

        Raises:
            InvalidInputError: The name is not that of a branch.
            FileSystemError: The operating system refused.
        """
        check_branch(branch)
        for name in ("refs/heads", "refs/tags", "logs"):
            make_directories(root / name, root)
        write_file(root / HEAD, f"ref: {branch}\n".encode())
        return cls(root)

    def read(self, name: str) -> ObjectId | None:
        """Return what a ref points at, or None when it does not exist.

        Args:
            name: Full name, ``refs/heads/main``.

        Raises:
            InvalidInputError: Not a ref's name.
            CorruptObjectError: The file holds something else.
        """
        check_ref_name(name)
        return self._read(name)

    def _read(self, name: str) -> ObjectId | None:
        text = self._content(name)
        return None if text is None else parse_value(name, text)

    def _content(self, name: str) -> str | None:
        path = self.root / name
        try:
            return path.read_bytes().decode("utf-8", "surrogateescape")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise file_system_error(error, "read", path) from error

    def update(
        self,
        name: str,
        new: ObjectId | None,
        *,
        expected: ObjectId | None,
        who: Identity,
        when: Timestamp,
        reason: str,
    ) -> None:
        """Move, create or delete a ref, if it still is where the caller saw it.

        The log of the ref, and that of HEAD when HEAD is on this branch, gets a line. A deleted ref keeps its log.

        Args:
            name: Full name.
            new: Where to; None deletes it.
            expected: Where it must be now; None: it must not exist.
            who: Who moves it, for the log.
            when: When, for the log.
            reason: Why, for the log: ``commit: subject``.

        Raises:
            ConflictError: The ref is elsewhere (``ref-moved``), or its lock is held (``locked``).
            AlreadyExistsError: A ref ``a`` stands in the way of ``a/b``, or the other way round.
            InvalidInputError: Not a ref's name.
            FileSystemError: The operating system refused; the ref is as it was.
        """
        check_ref_name(name)
        self._check_room(name)
        with self._holding(name):
            current = self._read(name)
            if write_value(current) != write_value(expected):  # equal digits of another kind are another value
                raise moved(name, expected, current)
            if new is not None:
                self._make_room(name)
            entry = ReflogEntry(current, new, who, when, reason)
            self._log(name, entry)
            if self._symbolic_head() == name:
                self._log(HEAD, entry)
            if new is None:
                self._remove(name)
            else:
                self._write(name, new)

    def names(self, prefix: str = "refs/") -> Iterator[str]:
        """Yield the full names of all refs that start with ``prefix``, sorted."""
        folder = self.root / prefix.rpartition("/")[0]
        if not prefix.startswith("refs/") or ".." in prefix:
            return
        found = (name for name in files_below(folder, self.root) if not name.endswith(".lock"))
        yield from sorted(name for name in found if name.startswith(prefix))

    def head(self) -> Head:
        """Return what is checked out.

        Raises:
            NotFoundError: There is no HEAD.
            CorruptObjectError: HEAD holds something else than a branch or a commit.
        """
        text = self._head_content()
        branch = parse_symbolic(text)
        if branch is None:
            return Head(None, as_commit(HEAD, parse_value(HEAD, text)))
        value = self._read(branch)
        return Head(branch, None if value is None else as_commit(branch, value))

    def set_head(self, target: str | CommitId, *, who: Identity, when: Timestamp, reason: str) -> None:
        """Check out a branch or, detached, a commit.

        Args:
            target: Full name of a branch, existing or not, or a commit.
            who: Who, for the log.
            when: When, for the log.
            reason: Why, for the log.

        Raises:
            ConflictError: HEAD's lock is held.
            InvalidInputError: The name is not that of a branch.
            FileSystemError: The operating system refused; HEAD is as it was.
        """
        if not isinstance(target, CommitId):
            check_branch(target)
        with FileLock(self.root / "HEAD.lock", timeout_s=self.timeout_s) as lock:
            if lock.recovered:
                _sweep(self.root, f".{HEAD}.")
            new = target if isinstance(target, CommitId) else self._read(target)
            self._log(HEAD, ReflogEntry(self.head().commit, new, who, when, reason))
            text = f"commit {target}\n" if isinstance(target, CommitId) else f"ref: {target}\n"
            write_file(self.root / HEAD, text.encode())

    def reflog(self, name: str) -> list[ReflogEntry]:
        """Return the changes of a ref, newest first; of a deleted one too.

        Args:
            name: Full name, or ``HEAD``.

        Raises:
            InvalidInputError: Not a ref's name.
        """
        if name != HEAD:
            check_ref_name(name)
        current = self.head().commit if name == HEAD else self._read(name)
        return reflog.read(self._log_path(name), current)[::-1]

    def reflog_names(self) -> Iterator[str]:
        """Yield the names that have a log, sorted: ``HEAD`` and full names, those of deleted refs among them."""
        folder = self.root / "logs"
        names = (name.removeprefix("logs/") for name in files_below(folder, self.root) if name.endswith(LOG_SUFFIX))
        yield from sorted(name.removesuffix(LOG_SUFFIX) for name in names)

    def problems(self, name: str) -> Iterator[str]:
        """Yield what is wrong with a ref and its log, where the log can tell.

        Args:
            name: Full name, or ``HEAD``.

        Raises:
            NotFoundError, CorruptObjectError, InvalidInputError: The ref itself cannot be read.
            FileSystemError: The operating system refused.
        """
        yield from self.log_problems(name)
        current = self.head().commit if name == HEAD else self.read(name)
        newest = next(iter(self.reflog(name)), None)
        if newest is not None and write_value(newest.new) != write_value(current):
            yield f"'{name}' is {say_value(current)}, but its log says that it was put {say_value(newest.new)}"

    def log_problems(self, name: str) -> Iterator[str]:
        """Yield what is wrong with the log of a ref alone; raises FileSystemError as ``problems``."""
        path = self._log_path(name)
        for number in reflog.damaged_lines(path):
            yield f"line {number} of the log '{path}' is damaged"

    def expire_reflog(self, name: str, before_s: int) -> int:
        """Drop old changes from the log of a ref; where the ref is stays as it is.

        Args:
            name: Full name, or ``HEAD``.
            before_s: Changes made before this moment go, in seconds since 1970-01-01T00:00:00Z.

        Returns:
            How many lines were dropped.

        Raises:
            ConflictError: The lock of the ref is held (kind ``locked``).
            FileSystemError: The operating system refused; the log is as it was.
        """
        with ExitStack() as stack:
            if name == HEAD:
                stack.enter_context(FileLock(self.root / "HEAD.lock", timeout_s=self.timeout_s))
            holder = self._symbolic_head() if name == HEAD else name
            if holder is not None:  # the changes of HEAD's branch are written into the log of HEAD too
                try:
                    stack.enter_context(self._holding(holder))
                except AlreadyExistsError:  # 'a/b' was deleted and 'a' exists: nobody can write the log of 'a/b'
                    return 0
            path = self._log_path(name)
            _sweep(path.parent, f".{path.name[:100]}.")
            return reflog.expire(path, before_s)

    def _head_content(self) -> str:
        text = self._content(HEAD)
        if text is None:
            raise NotFoundError(f"there is no HEAD in '{self.root}'", kind="not-a-repository")
        return text

    def _symbolic_head(self) -> str | None:
        return parse_symbolic(self._head_content())

    def _check_room(self, name: str) -> None:
        parts = name.split("/")
        for end in range(3, len(parts)):
            shorter = "/".join(parts[:end])
            if (self.root / shorter).is_file():
                raise clash(name, shorter)
        longer = next(self.names(name + "/"), None)
        if longer is not None:
            raise clash(name, longer)

    @contextmanager
    def _holding(self, name: str) -> Iterator[None]:
        lock = self._acquire(name)
        try:
            if lock.recovered:
                _sweep(lock.path.parent, f".{(self.root / name).name[:100]}.")
            yield
        finally:
            lock.release()

    def _acquire(self, name: str) -> FileLock:
        path = self.root / f"{name}.lock"
        for _ in range(_ATTEMPTS):
            try:
                make_directories(path.parent, self.root)
                return FileLock(path, timeout_s=self.timeout_s).acquire()
            except FileNotFoundError:  # somebody found the folder empty and removed it
                continue
            except (FileExistsError, NotADirectoryError):
                self._check_room(name)
            except FileSystemError as error:
                if not isinstance(error.__cause__, NotADirectoryError):
                    raise
                self._check_room(name)  # somebody put a file in the place of the folder just before the lock
        raise ConflictError(f"'{name}' cannot be locked: its folder comes and goes", kind="locked", hint="try again")

    def _make_room(self, name: str) -> None:
        """Remove the empty folders that deleted refs ``a/b`` leave where ``a`` is to stand."""
        path = self.root / name
        if path.is_dir():
            for lock in path.rglob("*.lock"):
                break_if_stale(lock)
            if not any(path.rglob("*.lock")):
                for folder in (path, *(entry for entry in path.rglob("*") if entry.is_dir())):
                    _sweep(folder, ".")
            if not remove_empty(path):
                self._check_room(name)
                raise _in_use(path)

    def _write(self, name: str, value: ObjectId) -> None:
        try:
            write_file(self.root / name, f"{value.kind} {value}\n".encode())
        except FileSystemError as error:
            self._check_room(name)  # somebody created 'a/b' while this created 'a'
            if isinstance(error.__cause__, (IsADirectoryError, NotADirectoryError, FileNotFoundError)):
                raise _in_use(self.root / name) from error  # they are just about to, or have removed it again
            raise

    def _remove(self, name: str) -> None:
        path = self.root / name
        before = self._content(name)
        try:
            path.unlink(missing_ok=True)
            sync_directory(path.parent)
        except OSError as error:
            if before is not None and not path.exists():  # it went, but a power cut might bring it back
                with suppress(FileSystemError):
                    write_file(path, before.encode("ascii", "replace"), durable=False)
            raise file_system_error(error, "remove", path) from error

    def _log_path(self, name: str) -> Path:
        return self.root / "logs" / (name + LOG_SUFFIX)

    def _log(self, name: str, entry: ReflogEntry) -> None:
        path = self._log_path(name)
        is_new = not path.exists()
        make_directories(path.parent, self.root)
        reflog.append(path, entry)
        if is_new:
            try:
                sync_directory(path.parent)
            except OSError as error:
                raise file_system_error(error, "write", path) from error


def _in_use(path: Path) -> ConflictError:
    return ConflictError(f"'{path}' is in use", kind="locked", hint="try again")


def _sweep(folder: Path, start: str) -> None:
    """Remove what a killed process left half written; the caller knows that nobody writes there now."""
    for leftover in folder.glob(start + "*.tmp"):
        leftover.unlink(missing_ok=True)
