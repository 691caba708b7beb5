"""The tools that ``benchmarks/peers.py`` compares: how each is installed, and the commands of each step.

As a program it does the steps of coral-ml, in that tool's environment: ``python peer_tools.py init|commit|checkout N``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve()
STATES = ("base", "fine-tuning 1", "fine-tuning 2", "5 % changed", "average")
MODEL = "model.safetensors"
SHOWN = 400
"""How many characters of a tool's message are kept."""

Command = Sequence[str]


class PeerError(Exception):
    """A tool's command failed; the message is the command and what it said."""


# The tools


@dataclass(frozen=True)
class Peer:
    """A tool: how it is installed, and the commands of each step.

    Attributes:
        name: What the table calls it.
        start: Commands that make the working directory a repository; not measured.
        commit: Given the number of a state, the commands that keep the working file.
        checkout: Given the number of a state, the commands that bring it back.
        packages: What pip installs into its environment; the first one is the tool. Empty: nothing.
        needs: Programs that must be there.
        tidy: Commands that make the repository small, measured with ``--tidy`` after the last commit.
        probes: Commands of its documentation that fail on such models; tried once, with the base as the working file.
        note: What a reader has to know about these commands.
    """

    name: str
    start: Sequence[Command]
    commit: Callable[[int], Sequence[Command]]
    checkout: Callable[[int], Sequence[Command]]
    packages: Sequence[str] = ()
    needs: Sequence[str] = ()
    tidy: Sequence[Command] = ()
    probes: Sequence[Command] = ()
    note: str = ""


def git_commit(*paths: str) -> list[Command]:
    return [["git", "add", *paths], ["git", "commit", "-q", "-m", "A state"]]


def ago(number: int) -> str:
    return f"HEAD~{len(STATES) - 1 - number}"


GIT_START: Sequence[Command] = [["git", "init", "-q"]]
CORAL = ["python", str(HERE)]

PEERS = (
    Peer(
        "mlgit",
        start=[["mlgit", "init", "-q"]],
        commit=lambda _: [["mlgit", "commit", "-q", "-m", "A state"]],
        checkout=lambda number: [["mlgit", "restore", "-q", "--source", ago(number), MODEL]],
    ),
    Peer(
        "cp",
        start=[["mkdir", "copies"]],
        commit=lambda number: [["cp", MODEL, f"copies/{number}"], ["sync", f"copies/{number}", "copies"]],
        checkout=lambda number: [["cp", f"copies/{number}", MODEL], ["sync", MODEL, "."]],
    ),
    Peer(
        "git",
        start=GIT_START,
        commit=lambda _: git_commit(MODEL),
        checkout=lambda number: [["git", "checkout", "-q", ago(number), "--", MODEL]],
        needs=["git"],
        tidy=[["git", "gc", "-q"]],
    ),
    Peer(
        "git-lfs",
        start=[["git", "lfs", "install", "--skip-repo"], *GIT_START, ["git", "lfs", "track", MODEL]],
        commit=lambda _: git_commit(".gitattributes", MODEL),
        checkout=lambda number: [["git", "checkout", "-q", ago(number), "--", MODEL]],
        needs=["git", "git-lfs"],
    ),
    Peer(
        "dvc",
        start=[*GIT_START, ["dvc", "init", "-q"], ["git", "commit", "-q", "-m", "Start"]],
        commit=lambda _: [["dvc", "add", "-q", MODEL], *git_commit(f"{MODEL}.dvc", ".gitignore")],
        checkout=lambda number: [
            ["git", "checkout", "-q", ago(number), "--", f"{MODEL}.dvc"],
            ["dvc", "checkout", "-q", f"{MODEL}.dvc"],
        ],
        packages=["dvc"],
        needs=["git"],
    ),
    Peer(
        "git-theta",
        start=[*GIT_START, ["git", "theta", "install"], ["git", "theta", "track", MODEL]],
        commit=lambda _: git_commit(MODEL),
        checkout=lambda number: [["git", "checkout", "-q", ago(number), "--", MODEL]],
        packages=["git-theta", "safetensors"],
        needs=["git", "git-lfs"],
        note="GIT_THETA_CHECKPOINT_TYPE=safetensors",
    ),
    Peer(
        "coral-ml",
        start=[[*CORAL, "init"]],
        commit=lambda number: [[*CORAL, "commit", str(number)]],
        checkout=lambda number: [[*CORAL, "checkout", str(number)]],
        packages=["coral-ml", "safetensors"],
        probes=[["coral-ml", "add", MODEL], [*CORAL, "scalars", "0"]],
        note="stage_weights, commit and get_all_weights of its Python interface; it holds numpy arrays, "
        "so that safetensors cannot read BF16 for it",
    ),
)


def run_coral(step: str, number: str) -> None:
    """Do a step in the working directory, in an environment that has coral-ml."""
    from coral import Repository, WeightTensor  # noqa: PLC0415 - only this environment has it
    from coral.core.weight_tensor import WeightMetadata  # noqa: PLC0415
    from safetensors.numpy import load_file, save_file  # noqa: PLC0415

    repository = Repository(Path(), init=step == "init")
    scalars = Path(".coral", "scalars.json")
    if step in {"commit", "scalars"}:
        arrays = load_file(MODEL)
        if step == "commit":  # it cannot store an array without dimensions, which every batch normalisation has
            scalars.write_text(json.dumps([name for name, data in arrays.items() if not data.ndim]))
            arrays = {name: data if data.ndim else data.reshape(1) for name, data in arrays.items()}
        weights = {
            name: WeightTensor(data=data, metadata=WeightMetadata(name=name, shape=data.shape, dtype=data.dtype))
            for name, data in arrays.items()
        }
        repository.stage_weights(weights)
        repository.commit(message=number)
    elif step == "checkout":
        commit = next(commit for commit in repository.log(max_commits=100) if commit.metadata.message == number)
        found = repository.get_all_weights(commit.commit_hash)
        arrays = {name: weight.data for name, weight in found.items()}
        save_file(arrays | {name: arrays[name].reshape(()) for name in json.loads(scalars.read_text())}, MODEL)


# Their environments


def install(peer: Peer, environments: Path) -> Path | None:
    """Return the directory of a tool's programs, installed when it is not there yet; None when it has no own."""
    if "git-lfs" in peer.needs and not shutil.which("git-lfs"):
        install_lfs()
    missing = [program for program in peer.needs if not shutil.which(program)]
    if missing:
        raise PeerError(f"needs {', '.join(missing)}")
    if not peer.packages:
        return None
    programs = environments / peer.name / "bin"
    if not (programs / "installed").exists():
        shutil.rmtree(programs.parent, ignore_errors=True)
        quietly([sys.executable, "-m", "venv", str(programs.parent)])
        quietly([str(programs / "python"), "-m", "pip", "install", "--quiet", *peer.packages])
        (programs / "installed").touch()
    return programs


def install_lfs() -> None:
    if os.geteuid() == 0 and shutil.which("apt-get"):
        settings = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        for command in (["update"], ["install", "-y", "--no-install-recommends", "git-lfs"]):
            subprocess.run(["apt-get", "-qq", *command], env=settings, capture_output=True, check=False)


def quietly(command: Command) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeerError(f"`{' '.join(command)}` ended with {done.returncode}: {last(done.stderr)}")
    return done.stdout


def last(text: str) -> str:
    """Return the end of a message, in one line."""
    return " | ".join(line.strip() for line in text.splitlines() if line.strip())[-SHOWN:]


def versions(peer: Peer, programs: Path | None) -> dict[str, str]:
    """Return what a run of the tool depends on, by name."""
    found = {program: version_of(program) for program in peer.needs}
    if peer.name == "mlgit":
        found["mlgit"] = quietly([program_of("mlgit"), "--version"]).split()[-1]
    elif peer.name == "cp":
        found["cp"] = quietly(["cp", "--version"]).splitlines()[0]
    if programs:
        listed = json.loads(quietly([str(programs / "python"), "-m", "pip", "list", "--format", "json"]))
        found |= {package["name"]: package["version"] for package in listed}
    return found


def version_of(program: str) -> str:
    """Return the version of a program, which says `git version 2.1` or `git-lfs/3.3 (more)`."""
    words = quietly([program, "version"]).replace("/", " ").split()
    return next(word for word in words if word[0].isdigit())


def program_of(name: str) -> str:
    """Return the path of a program that came with this Python."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else name


def surroundings(home: Path, programs: Path | None) -> dict[str, str]:
    """Return the environment variables of a tool: nobody's settings, no network, nothing left outside ``home``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DVC_"))}
    path = [str(programs)] if programs else []
    return kept | {
        "PATH": os.pathsep.join([*path, str(Path(sys.executable).parent), kept["PATH"]]),
        "HOME": str(home),
        "TMPDIR": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.org",
        "GIT_THETA_CHECKPOINT_TYPE": "safetensors",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(home / "dvc"),
    }


def plain(command: Command) -> str:
    return " ".join(command).replace(str(HERE), f"benchmarks/{HERE.name}")


if __name__ == "__main__":
    run_coral(sys.argv[1], sys.argv[-1])
