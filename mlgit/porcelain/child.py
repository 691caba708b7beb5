"""One program of the user's, run in a process group of its own, watched, and stopped with all it started."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from mlgit.errors import FileSystemError, NotFoundError

GRACE_S = 10.0
"""How long a program may take to end after Ctrl-C, before it is ended."""

Relay = Callable[[bytes, bool], None]
"""Takes what the program printed, and whether on stderr."""


def run_child(
    command: Sequence[str], *, directory: Path, environment: Mapping[str, str], log: BinaryIO, relay: Relay | None
) -> int:
    """Run a program to its end.

    It reads nothing from the terminal. What it prints goes to ``log`` and, as it comes, to ``relay``. What it leaves
    running in its process group is killed. When this process is interrupted, the group gets the same signal, and is
    killed when it has not ended after ``GRACE_S``.

    Args:
        command: Program and arguments.
        directory: Where it runs.
        environment: All of its environment.
        log: Takes stdout and stderr.
        relay: Takes them too; None: nobody watches.

    Returns:
        Its exit code; -N when signal N ended it.

    Raises:
        NotFoundError: There is no such program.
        FileSystemError: It cannot be run.
    """
    try:
        process = subprocess.Popen(
            list(command),
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no program '{command[0][:200]}'", kind="unknown-program") from error
    except (OSError, ValueError) as error:  # not executable, arguments too long, a zero byte
        raise FileSystemError(f"'{command[0][:200]}' cannot be run: {error}", kind="cannot-run") from error
    readers = _readers(process, log, relay)
    try:
        code = process.wait()
    except BaseException as stop:
        _stop(process, signal.SIGINT if type(stop) is KeyboardInterrupt else signal.SIGTERM)
        raise
    finally:
        _signal_group(process, signal.SIGKILL)
        for reader in readers:
            reader.join(GRACE_S)  # longer only where something that left the group still prints
    return code


def _readers(process: subprocess.Popen[bytes], log: BinaryIO, relay: Relay | None) -> list[threading.Thread]:
    lock = threading.Lock()

    def read(stream: BinaryIO, is_error: bool) -> None:
        with stream:
            while data := os.read(stream.fileno(), 65536):
                with (
                    lock,
                    suppress(OSError, ValueError),
                ):  # a full disk or a closed terminal is no reason to block the program
                    log.write(data)
                    log.flush()
                if relay is not None:
                    with lock, suppress(OSError):
                        relay(data, is_error)

    streams = [(process.stdout, False), (process.stderr, True)]
    threads = [threading.Thread(target=read, args=pair, daemon=True) for pair in streams if pair[0] is not None]
    for thread in threads:
        thread.start()
    return threads


def _stop(process: subprocess.Popen[bytes], number: int) -> None:
    _signal_group(process, number)
    with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):  # a second Ctrl-C: no more patience
        process.wait(GRACE_S)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # all ended already
        os.killpg(process.pid, number)
