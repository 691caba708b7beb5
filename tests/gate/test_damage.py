"""Every file of a repository, damaged in every way one file can be: noticed and named, or without any effect."""

from __future__ import annotations

import itertools
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest
from worked_repository import answers, build, objects_given_out, payloads

from mlgit.cli import main as frame
from mlgit.errors import CorruptObjectError, MlgitError
from mlgit.objects import ObjectId
from mlgit.porcelain.clone import clone
from mlgit.porcelain.fsck import Hurt, fsck
from mlgit.porcelain.gc import gc
from mlgit.repository import Repository
from mlgit.storage.pack import Pack

CACHES = ("index.json", "objects/catalogue", "objects/commit-graph")
"""What these say is checked before it is believed; any damage has no effect but time."""
READERS = (
    ["status"],
    ["log", "--all"],
    ["show"],
    ["branch"],
    ["tag"],
    ["ls-tree"],
    ["diff"],
    ["fsck"],
    ["merge-base", "digit/1", "moved"],
    ["branch", "--contains", "digit/0"],
    ["du"],
    ["reflog"],
)
Files = dict[str, bytes]


def kind_of(name: str) -> str:
    """Return what a file below ``.mlgit`` is."""
    if name.startswith(CACHES):
        return "cache"
    if name.startswith("objects/pack-"):
        return "pack"
    for start, kind in (("logs/", "log"), ("refs/", "ref")):
        if name.startswith(start):
            return kind
    return {"HEAD": "ref", "config.toml": "settings", "format": "format", "run.json": "run"}[name]


def ref_of(name: str) -> str:
    """Return the ref that a file holds, or whose log it is."""
    return name.removeprefix("logs/").removesuffix("..log")


@dataclass
class Patient:
    """A repository that is damaged again and again, and what it said when it was well.

    Attributes:
        root: Its directory.
        files: The content of every file below ``.mlgit``, by relative path.
        good: Its answers.
        contents: Every object.
    """

    root: Path
    files: Files
    good: Mapping[str, object]
    contents: Mapping[ObjectId, bytes]
    digests: dict[ObjectId, str] = field(init=False)

    def __post_init__(self) -> None:
        self.digests = {object_id: sha256(content).hexdigest() for object_id, content in self.contents.items()}

    @classmethod
    def at(cls, root: Path) -> Patient:
        repository = build(root)
        good, contents = answers(root), payloads(repository)
        assert not any(isinstance(answer, MlgitError) for answer in good.values())
        assert fsck(repository).sound
        folder = root / ".mlgit"
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return cls(root, {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}, good, contents)

    def write(self, changes: Mapping[str, bytes | None]) -> None:
        """Give files other content; None deletes them."""
        for name, content in changes.items():
            path = self.root / ".mlgit" / name
            path.unlink(missing_ok=True)
            if content is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

    def heal(self) -> None:
        """Bring every file back."""
        folder = self.root / ".mlgit"
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            if path.relative_to(folder).as_posix() not in self.files:
                path.unlink()
        here = {name: (folder / name).read_bytes() if (folder / name).exists() else None for name in self.files}
        self.write({name: content for name, content in self.files.items() if here[name] != content})

    def examine(self) -> Findings:
        """Ask everything, read every object, and have it checked."""
        found, given = answers(self.root), objects_given_out(self.root, self.contents)
        errors = [answer for answer in (*found.values(), *given.values()) if isinstance(answer, MlgitError)]
        changed = {about for about, good in self.good.items() if about in found and _differs(found[about], good)}
        wrong = [key for key, answer in given.items() if isinstance(answer, str) and answer != self.digests[key]]
        try:
            hurt = list(fsck(Repository(self.root)).hurt)
        except MlgitError as error:
            hurt, errors = [Hurt(None, "repository", error.message)], [*errors, error]
        return Findings(changed | (found.keys() - self.good.keys() - {"repository"}), errors, wrong, hurt)


def _differs(answer: object, good: object) -> bool:
    return not isinstance(answer, MlgitError) and answer != good


@dataclass(frozen=True)
class Findings:
    """What became of damage.

    Attributes:
        changed: Questions that are answered, and answered differently.
        errors: What was refused.
        wrong: Objects that were given out with other bytes.
        hurt: What the check found.
    """

    changed: set[str]
    errors: list[MlgitError]
    wrong: list[ObjectId]
    hurt: list[Hurt]

    def says(self, *words: str) -> bool:
        """Whether one finding of the check has all these words."""
        return any(all(word in f"{item.id} {item.problem}" for word in words) for item in self.hurt)


def judge(patient: Patient, name: str, found: Findings, *, gone: bool = False) -> str:
    """Check that damage to one file was noticed and named, or had no effect; return which.

    Args:
        patient: Whose.
        name: The file.
        found: What came of it.
        gone: The file is missing, or nothing is left in it.
    """
    assert not found.wrong, found
    kind, rest = kind_of(name), found.changed
    if kind == "cache":
        assert (rest, found.errors) == (set(), []), found
        assert all(name in item.problem for item in found.hurt), found
        return "no effect"
    if kind == "settings":  # a text of the user, who may have written anything
        assert not found.hurt, found
        assert rest <= {"settings"}, found
        assert all("config.toml" in error.message for error in found.errors), found
        return "read as other settings, or refused"
    if kind == "pack":
        lost = [item for item in found.hurt if item.id is not None]
        assert found.says(Path(name).name) or (gone and lost), found
        assert all(item.commits or item.names for item in lost), found
        assert rest <= {"identifiers"}, found  # damaged packs are left out of lists
        return "named"
    if kind in ("run", "format"):
        assert rest <= ({"run"} if gone and kind == "run" else set()), found
        assert (found.errors and found.says(name if kind == "run" else str(patient.root))) or rest == {"run"}, found
        return "named" if found.errors else "no effect"
    if kind == "log":
        assert rest <= {f"reflog {ref_of(name)}"}, found
    if not found.hurt:  # see the function that is asked
        assert not rest or is_as_if_never_written(patient, name, gone=gone), found
        return "as before the first change"
    assert found.says(ref_of(name)) or "HEAD" in name or found.says("HEAD"), found
    return "named"


def is_as_if_never_written(patient: Patient, name: str, *, gone: bool) -> bool:
    """Whether a file is now just as before something happened that can also happen without damage.

    A ref that was created and never moved since, and is deleted, is as a crash between its log and itself leaves it.
    An empty log is one whose lines have expired.
    """
    lines = patient.files.get(f"logs/{ref_of(name)}..log", b"").count(b"\n")
    return gone if kind_of(name) == "log" else gone and lines == 1


@pytest.fixture(scope="module")
def patient(in_memory: Path) -> Iterator[Patient]:
    place = in_memory / "damage"
    place.mkdir()
    yield Patient.at(place / "model")
    shutil.rmtree(place)


def flips(patient: Patient, count: Callable[[int, int], int]) -> Iterator[tuple[str, int, int]]:
    """Yield file, byte and bit: every bit of the first, middle and last byte of each file, and many bytes of some."""
    packs = [name for name in patient.files if kind_of(name) == "pack"]
    small = sorted(packs, key=lambda name: len(patient.files[name]))[:3]
    others = [name for name in patient.files if kind_of(name) != "pack"]
    source = random.Random(0)
    for name, content in patient.files.items():
        places = sorted({0, len(content) // 2, len(content) - 1})
        yield from source.sample([(name, place, bit) for place in places for bit in range(8)], count(2, 24))
    for name in (*small, *others):
        size = len(patient.files[name])
        every = 1 if name in small or size < 600 else 5
        bits = ((name, place, (place * 5 + 3) % 8) for place in range(size))
        yield from itertools.islice(bits, source.randrange(size) % 97 % count(97, every), size, count(199, every))


def test_a_flipped_bit_anywhere_is_noticed_and_named_or_has_no_effect(
    patient: Patient, count: Callable[[int, int], int], gate_report: Callable[..., None]
) -> None:
    outcomes: Counter[str] = Counter()
    for name, place, bit in flips(patient, count):
        content = bytearray(patient.files[name])
        content[place] ^= 1 << bit
        patient.write({name: bytes(content)})
        try:
            outcomes[judge(patient, name, patient.examine())] += 1
        except BaseException as error:
            error.add_note(f"bit {bit} of byte {place} of {len(content)} of {name}")
            raise
        finally:
            patient.heal()
    assert outcomes.total() >= count(80, 2000)
    assert outcomes["as before the first change"] == 0
    gate_report("flipped bits", **{"in all": outcomes.total(), **outcomes})


def cuts(content: bytes) -> Iterable[int]:
    return sorted({0, 1, len(content) // 2, len(content) - 1} - {len(content)})


def test_a_file_cut_short_or_deleted_is_noticed_and_named_or_has_no_effect(
    patient: Patient, gate_report: Callable[..., None]
) -> None:
    outcomes: Counter[str] = Counter()
    for name, content in patient.files.items():
        for length in (*cuts(content), None):
            patient.write({name: None if length is None else content[:length]})
            gone = not length or (kind_of(name) == "log" and length < content.find(b"\n") + 1)
            try:
                outcomes[judge(patient, name, patient.examine(), gone=gone)] += 1
            except BaseException as error:
                error.add_note(f"{name} of {len(content)} bytes cut to {length}")
                raise
            finally:
                patient.heal()
    gate_report("files cut short or deleted", **{"in all": outcomes.total(), **outcomes})


def test_two_files_in_each_others_place_are_noticed_or_have_no_effect(
    patient: Patient, count: Callable[[int, int], int], gate_report: Callable[..., None]
) -> None:
    pairs = [
        pair for pair in itertools.combinations(patient.files, 2) if patient.files[pair[0]] != patient.files[pair[1]]
    ]
    chosen = pairs if count(0, 1) else random.Random(0).sample(pairs, 60)
    noticed = 0
    for one, other in chosen:
        patient.write({one: patient.files[other], other: patient.files[one]})
        try:
            found = patient.examine()
            assert not found.wrong, found
            harmless = {kind_of(one), kind_of(other)} <= {"cache", "settings"}
            same_end = {kind_of(one), kind_of(other)} == {"log"} and ends_alike(patient, one, other)
            noticed += bool(found.hurt)
            assert harmless or same_end or found.hurt, found
            assert found.hurt or found.changed <= {"settings", f"reflog {ref_of(one)}", f"reflog {ref_of(other)}"}
        except BaseException as error:
            error.add_note(f"{one} in the place of {other}")
            raise
        finally:
            patient.heal()
    gate_report("files in each other's place", **{"in all": len(chosen), "noticed": noticed})


def ends_alike(patient: Patient, one: str, other: str) -> bool:
    """Whether two logs end with the same value, so that neither contradicts the ref of the other."""
    ends = [patient.files[name].splitlines()[-1].split()[3] for name in (one, other)]
    return ends[0] == ends[1]


def test_two_stored_objects_in_each_others_place_are_noticed_and_named(
    patient: Patient, gate_report: Callable[..., None]
) -> None:
    swapped = 0
    for name in [name for name in patient.files if kind_of(name) == "pack"]:
        pack = Pack(patient.root / ".mlgit" / name)
        entries = [pack.entry(number) for number in range(pack.object_count)]
        stored = [
            (chunk.offset, chunk.stored, entry.digest.hex()[:10]) for entry in entries for chunk in pack.chunks(entry)
        ]
        for (start, size, short), (other, other_size, other_short) in itertools.combinations(stored, 2):
            if not (length := min(size, other_size)):
                continue
            content = bytearray(patient.files[name])
            first, second = content[start : start + length], content[other : other + length]
            if first == second:
                continue
            content[start : start + length], content[other : other + length] = second, first
            patient.write({name: bytes(content)})
            try:
                found = patient.examine()
                assert not found.wrong, found
                assert judge(patient, name, found) == "named"
                assert found.says(short, Path(name).name), found
                assert found.says(other_short, Path(name).name), found
                swapped += 1
            finally:
                patient.heal()
    assert swapped > 10
    gate_report("objects in each other's place", noticed=swapped)


def test_no_command_ends_with_a_traceback_whatever_is_damaged(
    patient: Patient,
    count: Callable[[int, int], int],
    gate_report: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    source, ran = random.Random(1), 0
    wanted: dict[str, str] = {}
    for verb in READERS:
        assert frame.main(["-C", str(patient.root), *verb]) == 0
        wanted[" ".join(verb)] = capfd.readouterr().out
    for name, content in patient.files.items():
        for damaged in spoiled(content, source, count(1, 6)):
            patient.write({name: damaged})
            for verb in READERS if count(0, 1) else source.sample(READERS, 2):
                code = frame.main(["-C", str(patient.root), *verb])
                printed = capfd.readouterr()
                case = (name, verb, code, printed.err)
                assert "Traceback" not in printed.err, case
                assert code in (0, 2, 10, 13), case
                assert code == 0 or printed.err.startswith("error: ") or verb == ["fsck"], case
                if kind_of(name) == "cache":
                    assert code == 0 or (verb == ["fsck"] and name in printed.out), case
                    assert verb in (["du"], ["fsck"]) or printed.out == wanted[" ".join(verb)], case
                if verb == ["fsck"] and kind_of(name) == "pack":
                    assert code == 13, case
                    assert Path(name).name in printed.out or damaged is None, case
                ran += 1
            patient.heal()
    gate_report("commands on damaged repositories", ran=ran)


def spoiled(content: bytes, source: random.Random, times: int) -> Iterator[bytes | None]:
    for _ in range(times):
        place = source.randrange(len(content))
        yield content[:place] + bytes([content[place] ^ 1 << source.randrange(8)]) + content[place + 1 :]
    yield source.choice([b"", content[: len(content) // 2], None])


def test_nothing_is_collected_while_a_log_may_name_what_is_needed(patient: Patient) -> None:
    name = "logs/refs/heads/moved..log"
    content = patient.files[name]
    patient.write({name: content[:90] + bytes([content[90] ^ 1]) + content[91:]})
    try:
        with pytest.raises(CorruptObjectError, match="nothing is collected, since line 1 of the log"):
            gc(Repository(patient.root), grace_days=0, reflog_days=0)
        assert all((patient.root / ".mlgit" / pack).exists() for pack in patient.files if kind_of(pack) == "pack")
    finally:
        patient.heal()


def test_what_a_clone_has_is_restored_from_it(
    patient: Patient, in_memory: Path, count: Callable[[int, int], int], gate_report: Callable[..., None]
) -> None:
    copy = in_memory / "damage" / "copy"
    shutil.copytree(patient.root, copy)
    packs = [name for name in patient.files if kind_of(name) == "pack"]
    source, repaired = random.Random(2), 0
    for name in packs:
        for damaged in (*spoiled(patient.files[name], source, count(1, 40)), b"", None):
            patient.write({name: damaged})
            try:
                fsck(Repository(patient.root), repair_from=copy)
                found = patient.examine()
                assert (found.wrong, found.hurt, found.errors, found.changed) == ([], [], [], set()), (name, found)
                repaired += 1
            finally:
                patient.heal()
    assert clone(patient.root, in_memory / "damage" / "sound").repository.head
    gate_report("packs restored from another repository", repaired=repaired)
