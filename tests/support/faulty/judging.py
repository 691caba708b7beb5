"""What a disturbed command may leave: the old state or the new one, nothing to repair, and nothing lying about."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from faulty.client import ALL, Plan, Program
from faulty.verbs import Verb

BAD_ENDS = {16, 70, 97}
"""Exit codes of a refusal by the system, of a bug, and of a child of the server that broke."""


def spread(number: int, most: int | None) -> list[int]:
    """Return the numbers from 1 on, or so many of them, evenly spread, the first and the last among them."""
    if most is None or number <= most:
        return list(range(1, number + 1))
    return sorted({1 + round(place * (number - 1) / (most - 1)) for place in range(most)})


def essence(found: dict[str, Any], verb: Verb) -> dict[str, Any]:
    """Leave out temporary names, empty directories and durations, and logs that are shortened one after the other."""
    kept = {**found, "others": [name for name in found["others"] if name != "new"]}
    untimed = kept.pop("untimed")

    def same(value: Any) -> Any:
        """Return the commits that these were without their durations."""
        if not verb.timed:
            return value
        return [untimed.get(one, one) for one in value] if isinstance(value, list) else untimed.get(value, value)

    kept["out"] = {name: digest for name, digest in found["out"].items() if ".tmp" not in name}
    for key in ("model", "new"):
        parts = found[key]
        files = parts.get("files", {}).items()
        files = {name: digest for name, digest in files if digest != "directory" and ".tmp" not in name}
        kept[key] = {**parts, "files": files} if files or len(parts) > 1 else {}
        kept[key].pop("leftovers", None)
        for part in ("refs", "logs"):  # a probe tells how long it took
            found_here = kept[key].get(part, {}).items()
            named = {name: "probe" if name.startswith("refs/probes/") else same(value) for name, value in found_here}
            kept[key] |= {part: named} if part in kept[key] else {}
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
        later = [*([*self.run, *command] for command in commands), ["scripts", self.place], ["leftovers", self.place]]
        if self.plain is self.program:
            results = self.plain.do(*steps, *repeat, *later)
        else:
            results = [*self.plain.do(*steps), *self.program.do(*repeat), *self.plain.do(*later)]
        ran, found, sound, again, after, *worked, folders, rest = results
        checked = worked if self.verb.mends else (ran, sound, *worked)
        problems: list[object] = [one for one in checked if one["code"]]
        problems += [["left", rest + folders]] if rest + folders else []
        state = essence(found, self.verb)
        end = "old" if state == self.old else "new" if state == self.new else "neither"
        if end == "neither":
            problems.append(["from old", differences(state, self.old), "from new", differences(state, self.new)])
        if again["code"] if end != "new" else again["code"] in BAD_ENDS or "Traceback" in again["err"]:
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
    plain: Program, program: Program, verb: Verb, prepared: Path, place: Path, classes: int = ALL
) -> tuple[Judge, list[list[str]]]:
    """Run a verb undisturbed; return the judge of disturbed runs, and the calls it made."""
    old = plain.do(["fresh", prepared, place], ["look", place])[1]
    done = program.ask(
        ["mlgit", "-C", place / "model", *verb.arguments], ["look", place], plan=Plan(str(place), classes=classes)
    )
    assert done.results is not None, done
    ran, new = done.results
    assert ran["code"] == 0, ran
    states = [essence(found, verb) for found in (old, new)]
    assert states[0] != states[1] or verb.unseen
    return Judge(plain, program, verb, states[0], states[1], place), done.calls
