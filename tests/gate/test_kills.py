"""SIGKILL at every call that changes a file, in every verb that does: the old state or the new one, and no repair."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty import Plan, Program
from faulty.verbs import VERBS, Verb, arrange, arrange_learned, prepare

KILLED = -9


@pytest.fixture(scope="module")
def starts(program: Program, in_memory: Path) -> dict[bool, Path]:
    """Repositories to start from: without and with a task."""
    return {
        False: arrange(program, in_memory / "start"),
        True: arrange_learned(program, in_memory / "learned"),
    }


@pytest.fixture
def place(in_memory: Path) -> Iterator[Path]:
    """Where the commands run."""
    yield in_memory / "run"
    shutil.rmtree(in_memory / "run", ignore_errors=True)
    shutil.rmtree(in_memory / "prepared", ignore_errors=True)


def spread(number: int, most: int | None) -> list[int]:
    """Return the numbers from 1 on, or so many of them, evenly spread, the first and the last among them."""
    if most is None or number <= most:
        return list(range(1, number + 1))
    return sorted({1 + round(place * (number - 1) / (most - 1)) for place in range(most)})


def essence(found: dict[str, Any], verb: Verb) -> dict[str, Any]:
    """Leave out temporary names and empty directories, and logs where they are shortened one after the other."""
    kept = {**found, "others": [name for name in found["others"] if name != "new"]}
    kept["out"] = {name: digest for name, digest in found["out"].items() if ".tmp" not in name}
    for key in ("model", "new"):
        parts = found[key]
        files = parts.get("files", {}).items()
        files = {name: digest for name, digest in files if digest != "directory" and ".tmp" not in name}
        kept[key] = {**parts, "files": files} if files or len(parts) > 1 else {}
        kept[key].pop("leftovers", None)
        if verb.half_logs:
            kept[key].pop("logs", None)
    return kept


def without_logs(found: dict[str, Any]) -> dict[str, Any]:
    """Leave out the logs of refs, which tell of a change that was taken back, too."""
    return {
        key: {part: value for part, value in state.items() if part != "logs"} if key in ("model", "new") else state
        for key, state in found.items()
    }


class Judge:
    """Looks at what a disturbed command left.

    Args:
        plain: Runs commands of version control.
        program: Runs the command.
        verb: The command.
        old: What could be seen before.
        new: What can be seen when it was not disturbed.
        place: Where.
    """

    def __init__(
        self, plain: Program, program: Program, verb: Verb, old: dict[str, Any], new: dict[str, Any], place: Path
    ) -> None:
        self.plain, self.program, self.verb, self.old, self.new, self.place = plain, program, verb, old, new, place
        self.run = ["mlgit", "-C", place / "model"]

    def judge(self) -> tuple[str, list[object]]:
        """Check everything that is promised; return ``old``, ``new`` or ``neither``, and what is wrong."""
        steps = [*self.run, "status"], ["look", self.place], [*self.run, "fsck"]
        repeat = ["mlgit", "-C", self.place / "model", *self.verb.arguments], ["look", self.place]
        commands = ["commit", "--allow-empty", "-m", "later"], ["switch", "-c", "later"], ["gc"], ["fsck"]
        later = [*([*self.run, *command] for command in commands), ["leftovers", self.place]]
        if self.plain is self.program:
            results = self.plain.do(*steps, *repeat, *later)
        else:
            results = [*self.plain.do(*steps), *self.program.do(*repeat), *self.plain.do(*later)]
        ran, found, sound, again, after, *worked, rest = results
        problems: list[object] = [one for one in (ran, sound, *worked) if one["code"]]
        problems += [["left", rest]] if rest else []
        state = essence(found, self.verb)
        end = "old" if state == self.old else "new" if state == self.new else "neither"
        if end == "neither":
            problems.append(["from old", differences(state, self.old), "from new", differences(state, self.new)])
        if again["code"] if end != "new" else again["code"] in (1, 16, 70) or "Traceback" in again["err"]:
            problems.append(["again", again])
        elif end != "new" and without_logs(essence(after, self.verb)) != without_logs(self.new):
            problems.append(["again", differences(without_logs(essence(after, self.verb)), without_logs(self.new))])
        return end, problems


def differences(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """Return what is not as expected, for messages."""
    differing: dict[str, Any] = {}
    for key in found.keys() | expected.keys():
        a, b = found.get(key), expected.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            differing |= {f"{key}.{part}": value for part, value in differences(a, b).items()}
        elif a != b:
            differing[key] = re.sub(r"\b([0-9a-f]{6})[0-9a-f]{58}\b", r"\1", f"{a} not {b}")
    return differing


def measure(
    plain: Program, program: Program, verb: Verb, prepared: Path, place: Path
) -> tuple[Judge, list[list[str]]]:
    """Run a verb undisturbed; return the judge of disturbed runs, and the calls it made."""
    old = plain.do(["fresh", prepared, place], ["look", place])[1]
    done = program.ask(["mlgit", "-C", place / "model", *verb.arguments], ["look", place], plan=Plan(str(place)))
    assert done.results is not None, done
    ran, new = done.results
    assert ran["code"] == 0, ran
    states = [essence(found, verb) for found in (old, new)]
    assert states[0] != states[1] or verb.half_logs
    return Judge(plain, program, verb, states[0], states[1], place), done.calls


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_killed_at_any_write_leaves_the_old_state_or_the_new_one(
    plain: Program,
    program: Program,
    starts: dict[bool, Path],
    place: Path,
    count: Callable[[int, Any], Any],
    gate_report: Callable[..., None],
    name: str,
) -> None:
    verb = VERBS[name]
    prepared = prepare(program, verb, starts[verb.learned], place.with_name("prepared"))
    judge, calls = measure(plain, program if verb.torch else plain, verb, prepared, place)
    ends = Counter[str]()
    losses: list[object] = []
    for at in spread(len(calls), count(4, None)):
        for mode in ("kill", "tear") if calls[at - 1][0] in ("write", "pwrite64", "writev") else ("kill",):
            command = ["mlgit", "-C", place / "model", *verb.arguments]
            done = judge.program.ask(["fresh", prepared, place], command, plan=Plan(str(place), mode, at))
            where = (name, mode, at, calls[at - 1][0], calls[at - 1][1].removeprefix(str(place)))
            assert (done.status, done.fired) == (KILLED, 1), (where, done)
            end, problems = judge.judge()
            ends[end] += 1
            losses += [[*where, end, *problems]] if problems else []
    TRIED.update({"verbs": 1, "kills": ends.total(), "old state": ends["old"], "new state": ends["new"], "losses": 0})
    TRIED["losses"] += len(losses)
    gate_report("killed at every write", **TRIED)
    assert ends["old"]
    assert losses == [], "\n".join(map(str, losses[:20]))


TRIED = Counter[str]()
