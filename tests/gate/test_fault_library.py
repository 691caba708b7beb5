"""The library that makes trouble sees every call that strace sees: otherwise calls would go untested."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from faulty import Program
from faulty.client import python_path
from faulty.verbs import VERBS, prepare

CALLS = (
    "write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,syncfs,sync_file_range,rename,renameat,renameat2,link,linkat,"
    "symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,ftruncate,truncate,fallocate,copy_file_range,sendfile,openat,"
    "open,creat,chmod,fchmod,fchmodat,utimensat,splice,io_uring_enter"
)
SAME = {"renameat": "rename", "renameat2": "rename", "linkat": "link", "symlinkat": "symlink", "mkdirat": "mkdir"}
SAME |= {"unlinkat": "unlink", "fchmodat": "chmod", "pwritev2": "pwritev"}
WATCHED = """
import ctypes, json, os, sys
shim = ctypes.CDLL(os.environ.pop("LD_PRELOAD"))
shim.faults_name.restype = ctypes.c_char_p
place, answer, *arguments = sys.argv[1:]
from mlgit.cli import main
shim.faults_arm(place.encode(), 1, 0, 511, 0)
assert main.main(arguments) == 0
shim.faults_disarm()
names = [shim.faults_name(number).decode() for number in range(shim.faults_seen())]
open(answer, "w").write(json.dumps(names))
"""


@pytest.mark.parametrize("name", ["commit of much", "switch", "clone", "gc", "export", "export of a state dict"])
def test_the_library_sees_what_strace_sees(
    program: Program,
    starts: dict[bool, Path],
    place: Path,
    shim: Path,
    gate_environment: dict[str, str],
    name: str,
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("there is no strace to compare with")
    verb = VERBS[name]
    prepare(program, verb, starts[verb.learned], place)
    trace, answer = place.with_name("trace"), place.with_name("answer.json")
    environment = gate_environment | python_path() | {"PYTHONDONTWRITEBYTECODE": "1"}
    traced = [
        "strace",
        "-f",
        "-y",
        "--seccomp-bpf",
        "-qq",
        "-o",
        trace,
        "-e",
        f"trace={CALLS}",
        "-E",
        f"LD_PRELOAD={shim}",
    ]
    command = [*traced, sys.executable, "-c", WATCHED, place, answer, "-C", place / "model", *verb.arguments]
    ran = subprocess.run(command, env=environment, capture_output=True, check=False)
    if b"ptrace" in ran.stderr.lower():
        pytest.skip("processes may not be traced here")
    assert ran.returncode == 0, ran.stderr
    seen = Counter(re.findall(r'"([a-z0-9_]+)"', answer.read_text()))
    assert sum(seen.values()) > 5
    assert seen == expected(trace.read_text().splitlines(), str(place))


def expected(lines: list[str], place: str) -> Counter[str]:
    """Return how often each call changed something below a place."""
    found = Counter[str]()
    for line in lines:
        match = re.match(r"\d+ +([a-z0-9_]+)\((.*)", line)
        if match is None or place + "/" not in line:
            continue
        name, arguments = match.groups()
        if name in ("open", "openat") and not re.search("O_CREAT|O_TRUNC", arguments):
            continue
        if name == "unlinkat" and "AT_REMOVEDIR" in arguments:
            name = "rmdir"
        if name == "copy_file_range":
            name = "copy_file_r"
        found[SAME.get(name, name)] += 1
    return found
