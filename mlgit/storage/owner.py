"""Who holds a lock or writes a temporary file, and whether that process is still alive.

A process is named by its host, its number and the moment it started, so that a number used again by another process
is not mistaken for the first one. The host is named by its node name, its boot and its process namespace: after a
reboot nobody of before is alive, and two containers with one node name do not judge each other's processes.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

from blake3 import blake3

from mlgit.errors import InvalidInputError
from mlgit.fileio import random_hex

_FIELDS = 5
TEMPORARY = ".tmp"
INCOMING = "incoming-"
"""What the names of files in the folder of packs, and in that of its catalogues, begin with until they are complete."""


@dataclass(frozen=True, slots=True)
class Owner:
    """One process on one host.

    Attributes:
        node: The host's name.
        boot: Names the boot of the host; empty where the system does not tell.
        namespace: Names the process namespace; empty where the system does not tell.
        pid: The process number.
        started: Start time in the system's own unit; 0 where the system does not tell.
    """

    node: str
    boot: str
    namespace: str
    pid: int
    started: int

    @classmethod
    def current(cls) -> Owner:
        """Return this process."""
        boot, namespace = _place()
        return cls(_node(), boot, namespace, os.getpid(), _start_time(os.getpid()) or 0)

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read what ``encode`` wrote.

        Raises:
            InvalidInputError: Something else.
        """
        fields = text.strip().split(" ")
        if len(fields) != _FIELDS or not (fields[3].isdecimal() and fields[4].isdecimal()):
            raise InvalidInputError(f"{text[:80]!a} does not name a process", kind="bad-owner")
        node, boot, namespace, pid, started = fields
        return cls(node, boot.strip("-"), namespace.strip("-"), int(pid), int(started))

    def encode(self) -> str:
        """Return one line of five fields: node, boot, namespace, process, start; ``-`` stands for an empty one."""
        return f"{self.node} {self.boot or '-'} {self.namespace or '-'} {self.pid} {self.started}\n"

    @property
    def tag(self) -> str:
        """Text for a file name: digest of the host, process number, start time."""
        return f"{self._host_tag}-{self.pid}-{self.started}"

    @property
    def _host_tag(self) -> str:
        return blake3(f"{self.node} {self.boot} {self.namespace}".encode()).hexdigest()[:12]

    def owns(self, tag: str) -> bool | None:
        """Say whether the process with this ``tag`` is alive: None when it ran on another host."""
        host, _, rest = tag.partition("-")
        pid, _, started = rest.partition("-")
        if host != self._host_tag or not (pid.isdecimal() and started.isdecimal()):
            return None
        return _runs(int(pid), int(started))

    @property
    def is_dead(self) -> bool:
        """Whether this process is known to have ended; False when that cannot be known from here."""
        here = Owner.current()
        if self.node != here.node:
            return False
        if self.boot and here.boot and self.boot != here.boot:
            return True
        return self.namespace == here.namespace and not _runs(self.pid, self.started)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.node}"


def temporary_name(start: str) -> str:
    """Return a name that nobody else has, by which ``remove_abandoned`` knows whether this process still works on it.

    Args:
        start: What it begins with.
    """
    return f"{start}{Owner.current().tag}-{random_hex()}{TEMPORARY}"


def remove_abandoned(folder: Path, start: str) -> None:
    """Remove files and directories that killed processes of this host left half written; what cannot be stays.

    Args:
        folder: Where they are.
        start: What was given to ``temporary_name``.
    """
    here = Owner.current()
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not (entry.name.startswith(start) and entry.name.endswith(TEMPORARY)):
                continue
            if here.owns(entry.name[len(start) :].rpartition("-")[0]) is not False:
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink(missing_ok=True)


def _runs(pid: int, started: int) -> bool:
    if pid <= 0 or pid >= 2**31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it runs, as another user
    now = _start_time(pid)
    return now is None or not started or now == started


def _node() -> str:
    return "".join(letter if letter.isalnum() or letter in ".-_" else "_" for letter in os.uname().nodename) or "_"


@lru_cache(maxsize=1)
def _place() -> tuple[str, str]:
    """Return boot and process namespace; empty text where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        space = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return "", ""
    return boot, space.removeprefix("pid:").strip("[]")


def _start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since the boot; None where the system does not tell."""
    try:
        line = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = line.rpartition(b")")[2].split()  # the name before it may hold spaces and brackets
    return int(fields[19]) if len(fields) > 19 else None
