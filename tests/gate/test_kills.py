"""SIGKILL at every call that changes a file, in every verb that does: the old state or the new one, and no repair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulty import Plan, Program
from faulty.judging import measure, spread
from faulty.verbs import VERBS, prepare

KILLED = -9


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
    for at in spread(len(calls), count(3, None)):
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
