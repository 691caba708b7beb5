"""Steps of one command that belong together, so that a process killed between them leaves none of them, or all.

A command that moves working files and refs first writes down what it is about to do; the file is removed when it is
done. Who finds it later, holding the lock of the working directory, knows that the process died on the way. One ref
decides: where it has moved, everything before it was done, and only tidying up is left; where it has not, the other
steps are taken back, the last one first.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from mlgit.errors import CorruptObjectError, FileSystemError, InvalidInputError, MlgitError
from mlgit.fileio import file_system_error, read_file, sync_directory, write_file
from mlgit.interrupts import held_back
from mlgit.objects import CommitId, JsonValue, ObjectId
from mlgit.objects.encoding import Fields, parse_json
from mlgit.storage.ref_values import HEAD
from mlgit.storage.reflog import read_value, write_value
from mlgit.storage.refs import RefStore
from mlgit.storage.sealed import seal, unseal

_REASON = "taken back: the command was killed"
FILE = "journal"
STAGING = "staging-"
"""What directories with new files are called, in the repository's folder."""


@dataclass(frozen=True, slots=True)
class Move:
    """A rename between the staging directory and the model directory.

    Attributes:
        staged: Name in the staging directory.
        path: Path in the model directory, relative to it.
        identity: Of a file that goes into the model directory; None for one that goes out of its way.
    """

    staged: str
    path: str
    identity: str | None = None

    @classmethod
    def from_json(cls, fields: Fields) -> Move:
        """Read what ``to_json`` of the steps wrote."""
        return cls(fields.text("staged"), fields.text("path"), fields.optional_text("identity"))


@dataclass(frozen=True, slots=True)
class Steps:
    """What a command is about to do.

    Attributes:
        deciding: The ref that moves last: ``HEAD`` stands for itself and the branch it is on; None for no ref, when
            all is done only once the journal is gone.
        staging: Name of the directory with new files, in the repository's folder; None when no file moves.
        moves: What is renamed, in this order.
        directories: What is created first, relative to the model directory, the outer ones first.
        created: Refs that are created before the deciding one moves, and where.
        head: Where HEAD will point before the deciding ref, another one, moves; None when it stays.
    """

    deciding: str | None
    staging: str | None = None
    moves: Sequence[Move] = ()
    directories: Sequence[str] = ()
    created: Mapping[str, ObjectId] = field(default_factory=dict)
    head: str | None = None

    def to_json(self, before: str, head: str) -> dict[str, JsonValue]:
        """Return what the journal holds.

        Args:
            before: Where the deciding ref is.
            head: Where HEAD points.
        """
        return {
            "deciding": self.deciding,
            "before": before,
            "staging": self.staging,
            "moves": [{"staged": move.staged, "path": move.path, "identity": move.identity} for move in self.moves],
            "directories": list(self.directories),
            "created": {name: write_value(value) for name, value in self.created.items()},
            "head_before": head,
            "head_after": self.head,
        }


class Journal:
    """The journal of one repository; the caller of every method holds the lock of the working directory.

    Args:
        folder: The repository's own folder.
        refs: Its refs.
    """

    def __init__(self, folder: Path, refs: RefStore) -> None:
        self.folder = folder
        self.root = folder.parent
        self.path = folder / FILE
        self.refs = refs

    @contextmanager
    def during(self, steps: Steps) -> Iterator[None]:
        """Write down what the block is about to do; forget it when the block has ended; take it back when it fails.

        Raises:
            FileSystemError: The operating system refused: nothing was begun, or all was taken back.
        """
        document = steps.to_json(self._deciding(steps.deciding), self._head_target())
        with held_back():
            write_file(self.path, seal(json.dumps(document).encode("ascii")))
            try:
                yield
            except BaseException:
                with suppress(MlgitError):  # where it cannot be taken back now, the next one does
                    self._end(parse_json(json.dumps(document).encode("ascii"), "the journal"))
                raise
            try:
                self._forget()
            except FileSystemError:
                if steps.deciding is None:  # this was to be the moment at which it counts
                    self._take_back(parse_json(json.dumps(document).encode("ascii"), "the journal"))
                    raise

    def settle(self) -> None:
        """Finish or take back what a killed process has begun; does nothing when nobody was.

        Raises:
            CorruptObjectError: The journal is damaged.
            FileSystemError: The operating system refused; the next one tries again.
        """
        try:
            data = read_file(self.path)
        except FileNotFoundError:
            return
        fields = self._decode(data)
        staging = fields.optional_text("staging")
        with held_back():
            self._end(fields)
            if staging is not None:
                shutil.rmtree(self.folder / staging, ignore_errors=True)

    def _end(self, fields: Fields) -> None:
        """Take everything back unless the deciding ref has moved, and forget it."""
        deciding = fields.optional_text("deciding")
        if deciding is None or self._deciding(deciding) == fields.text("before"):
            self._take_back(fields)
        self._forget()

    def _decode(self, data: bytes) -> Fields:
        try:
            return parse_json(unseal(data), "the journal")
        except (CorruptObjectError, InvalidInputError) as error:
            raise CorruptObjectError(
                f"'{self.path}' cannot be read: {error.message}",
                hint="a command was killed here: remove the file and see what `mlgit status` says",
            ) from error

    def _forget(self) -> None:
        """Remove the journal, before the staging directory goes, without which nothing can be taken back."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise file_system_error(error, "remove", self.path) from error
        with suppress(OSError):  # one that comes back finds no staging directory
            sync_directory(self.folder)

    def _deciding(self, name: str | None) -> str:
        """Return where the deciding ref is now."""
        if name is None:
            return ""
        if name != HEAD:
            return write_value(self.refs.read(name))
        head = self.refs.head()
        return f"{head.branch or '-'} {write_value(head.commit)}"

    def _head_target(self) -> str:
        head = self.refs.head()
        return head.branch or write_value(head.commit)

    def _take_back(self, fields: Fields) -> None:
        self._take_back_refs(fields)
        staging = fields.optional_text("staging")
        if staging is None or not (self.folder / staging).is_dir():
            return
        try:
            self._take_back_files(fields, self.folder / staging)
        except OSError as error:
            raise file_system_error(error, "put files back into", self.root) from error

    def _take_back_files(self, fields: Fields, staging: Path) -> None:
        moves = [Move.from_json(item) for item in fields.items("moves")]
        for move in reversed(moves):
            here, there = staging / move.staged, self.root / move.path
            if move.identity is not None:
                if not os.path.lexists(here) and identity(there) == move.identity:
                    there.rename(here)
            elif os.path.lexists(here) and not os.path.lexists(there):
                there.parent.mkdir(parents=True, exist_ok=True)
                here.rename(there)
        for path in reversed(fields.list("directories")):
            with suppress(OSError):  # somebody uses it
                (self.root / str(path)).rmdir()
        for folder in {(self.root / move.path).parent for move in moves}:
            if folder.is_dir():
                sync_directory(folder)

    def _take_back_refs(self, fields: Fields) -> None:
        before, after = fields.text("head_before"), fields.optional_text("head_after")
        if after is not None and self._head_target() == after:
            value = None if before.startswith("refs/") else read_value(before)
            target = CommitId(value) if value is not None else before
            said = self.refs.reflog(HEAD)[0]
            self.refs.set_head(target, who=said.who, when=said.when, reason=_REASON)
        for name, created in fields.mapping("created").items():
            found = self.refs.read(name)
            if found is not None and write_value(found) == created:
                said = self.refs.reflog(name)[0]
                self.refs.update(name, None, expected=found, who=said.who, when=said.when, reason=_REASON)


def identity(path: Path) -> str | None:
    """Return what tells a file from another one that took its place; None when there is none."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return f"{status.st_ino} {status.st_mtime_ns} {status.st_size}"
