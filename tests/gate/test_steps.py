"""SIGKILL in commands that move several refs one after the other: what stands is finished, the rest is made later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulty import Plan, Program
from faulty.judging import spread
from faulty.verbs import IN_STEPS, prepare

EXISTS = 11
"""Exit code of a command that would make a branch that is there."""

TRIED = Counter[str]()


@pytest.mark.parametrize("name", IN_STEPS)
def test_a_command_in_steps_that_is_killed_keeps_what_is_finished_and_goes_on(
    plain: Program,
    program: Program,
    starts: dict[bool, Path],
    place: Path,
    count: Callable[[int, Any], Any],
    gate_report: Callable[..., None],
    name: str,
) -> None:
    verb = IN_STEPS[name]
    prepared = prepare(program, verb, starts[verb.learned], place.with_name("prepared"))
    command = ["mlgit", "-C", place / "model", *verb.arguments]
    soundness = ["mlgit", "-C", place / "model", "fsck"]
    old = plain.do(["fresh", prepared, place], ["held", place])[1]
    whole = program.ask(command, ["held", place], plan=Plan(str(place)))
    assert whole.results is not None, whole
    ran, new = whole.results
    assert ran["code"] == 0, ran
    assert len(new.items() - old.items()) > 1, "moves one ref at most"
    found = Counter[str]()
    wrong: list[object] = []
    for at in spread(whole.seen, count(3, None)):
        done = program.ask(["fresh", prepared, place], command, plan=Plan(str(place), "kill", at))
        assert (done.status, done.fired) == (-9, 1), done
        sound, stands = plain.do(soundness, ["held", place])
        again, after = program.do(command, ["held", place])
        sound_after, left = plain.do(soundness, ["leftovers", place])
        problems = [one for one in (sound, sound_after) if one["code"]] + left
        if again["code"] and not (stands == new and again["code"] == EXISTS):
            problems.append(["again", again])
        if not stands.items() <= {**old, **new}.items():
            problems.append(["half made", stands, new])
        if after != new:
            problems.append(["not the same", after, new])
        made = len(stands.items() - old.items())
        found["nothing made" if made == 0 else "all made" if stands == new else "some made"] += 1
        wrong += [[name, at, *problems]] if problems else []
    TRIED.update({"commands": 1, "kills": found.total(), **found, "losses": len(wrong)})
    gate_report("killed at every write, in steps", **TRIED)
    assert wrong == [], "\n".join(map(str, wrong[:20]))
