"""Every call that changes a file refused by the system: one clear error, nothing changed, and a retry works."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faulty import Plan, Program
from faulty.client import CREATE, LINK, MKDIR, RENAME, SYNC, TRUNCATE, WRITE
from faulty.judging import Judge, differences, essence, measure, spread, without_logs
from faulty.verbs import VERBS, prepare

REFUSED = 16
MAKING = WRITE | CREATE | MKDIR | LINK | TRUNCATE


@dataclass(frozen=True)
class Trouble:
    """A way in which the system refuses.

    Attributes:
        mode: What happens.
        error: The number of the error; 0 for none.
        classes: The calls it happens to.
        most: At how many calls of a verb it is tried at full counts, evenly spread; None for all.
    """

    mode: str
    error: int
    classes: int
    most: int | None = None


TROUBLES = {
    "full from there on": Trouble("fail-on", errno.ENOSPC, MAKING),
    "full": Trouble("fail", errno.ENOSPC, MAKING | SYNC | RENAME),
    "over quota": Trouble("fail", errno.EDQUOT, MAKING | SYNC | RENAME, 10),  # nothing but the reason differs
    "broken disk": Trouble("fail", errno.EIO, MAKING | SYNC | RENAME),
    "half a write": Trouble("shorten", 0, WRITE),
    "interrupted": Trouble("fail", errno.EINTR, WRITE | SYNC | CREATE),
}
HARMLESS = {"half a write", "interrupted"}
TRIED: dict[str, Counter[str]] = {}


@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("kind", TROUBLES)
def test_a_refused_call_is_one_clear_error_and_changes_nothing(
    plain: Program,
    program: Program,
    starts: dict[bool, Path],
    place: Path,
    count: Callable[[int, Any], Any],
    gate_report: Callable[..., None],
    name: str,
    kind: str,
) -> None:
    verb, trouble = VERBS[name], TROUBLES[kind]
    prepared = prepare(program, verb, starts[verb.learned], place.with_name("prepared"))
    judge, calls = measure(plain, program if verb.torch else plain, verb, prepared, place, trouble.classes)
    found = Counter[str]()
    wrong: list[object] = []
    for at in spread(len(calls), count(2, trouble.most)):
        plan = Plan(str(place), trouble.mode, at, trouble.classes, trouble.error)
        end, problems = refuse(judge, prepared, plan, harmless=kind in HARMLESS)
        found[end] += 1
        wrong += [[name, kind, at, calls[at - 1][0], calls[at - 1][1].removeprefix(str(place)), end, *problems]] * bool(
            problems
        )
    TRIED.setdefault(kind, Counter()).update({"verbs": 1, "calls": found.total(), **found, "wrong": 0})
    TRIED[kind]["wrong"] += len(wrong)
    gate_report(f"refused: {kind}", **TRIED[kind])
    assert wrong == [], "\n".join(map(str, wrong[:20]))


def refuse(judge: Judge, prepared: Path, plan: Plan, *, harmless: bool) -> tuple[str, list[object]]:
    """Run a command with trouble; return how it ended, and what is wrong with that."""
    place, verb = judge.place, judge.verb
    command = ["mlgit", "-C", place / "model", *verb.arguments]
    look = ["look", place], ["leftovers", place]
    done = judge.program.ask(["fresh", prepared, place], command, *look, plan=plan)
    if done.results is None or done.fired == 0:
        return "broke", [done]
    _, ran, seen, left = done.results
    if plan.mode == "fail-on":  # what could not be taken back on a full disk is taken back when there is room again
        _, seen = judge.plain.do(["mlgit", "-C", place / "model", "status"], ["look", place])
    state = essence(seen, verb)
    problems: list[object] = [["left", left]] if left and plan.mode != "fail-on" else []
    if ran["code"] == 0:
        problems += [] if state == judge.new else [["not new", differences(state, judge.new)]]
        return "finished", problems
    if harmless or ran["code"] != REFUSED:
        return f"exit code {ran['code']}", [ran]
    problems += [] if state == judge.old else [["changed", differences(state, judge.old)]]
    lines = ran["err"].splitlines()
    shape = [line.split(":")[0] for line in lines]
    reason = os.strerror(plan.error).lower()
    if shape != ["error", "hint"] or str(place) not in lines[0] or reason not in lines[0]:
        problems.append(["unclear", ran["err"]])
    again, after = judge.program.do(command, ["look", place])
    if again["code"] or without_logs(essence(after, verb)) != without_logs(judge.new):
        problems.append(["again", again, differences(without_logs(essence(after, verb)), without_logs(judge.new))])
    return "refused", problems
