"""Files that are not what they say, and names that mean something else: refused, and nothing has changed."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import struct
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Header = dict[str, Any]


def safetensors(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def named(name: str) -> bytes:
    return safetensors({name: {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}, b"ab")


def million() -> bytes:
    entries = (f'"{number:x}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for number in range(1_000_000))
    return safetensors(b"{" + ",".join(entries).encode() + b"}")


GOOD = named("w")
HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "no-header": lambda: GOOD[:12],
    "truncated-data": lambda: GOOD[:-1],
    "too-much-data": lambda: GOOD + b"c",
    "noise": lambda: bytes(range(256)) * 4,
    "header-of-2^60-bytes": lambda: safetensors({}, length=2**60),
    "header-of-2^63-bytes": lambda: safetensors({}, length=2**63),
    "not-json": lambda: safetensors(b"{{{{"),
    "not-utf-8": lambda: safetensors(b'{"\xff":1}'),
    "deep": lambda: safetensors(b'{"a":' + b"[" * 100_000 + b"}"),
    "million-entries": million,
    "huge-shape": lambda: safetensors({"w": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 2]}}, b"ab"),
    "overlap": lambda: safetensors(
        {name: {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]} for name in ("a", "b")}, b"ab"
    ),
    "name-with-dots": lambda: named("../../etc/passwd"),
    "name-with-escape": lambda: named("a\x1b[2Jb"),
    "name-with-newline": lambda: named("a\nerror: b"),
    "name-with-bidi": lambda: named("a\u202eb"),
    "name-with-nul": lambda: named("a\0b"),
    "name-of-64-kb": lambda: named("a" * 65536),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_safetensors_file_is_refused_by_every_verb_that_reads_it(
    mlgit: Callable[..., Any], check: Any, repository: Path, tmp_path: Path, case: str
) -> None:
    outside = tmp_path / "bad.safetensors"
    outside.write_bytes(HOSTILE[case]())
    with check.unchanged(repository):
        check.refused(mlgit("import", outside), 2, "bad.safetensors")
    inside = repository / "bad.safetensors"
    inside.write_bytes(outside.read_bytes())
    with check.unchanged(repository):
        for verb in (["commit", "-m", "x"], ["status"], ["diff"], ["switch", "other"]):
            check.refused(mlgit(*verb), 2, "bad.safetensors")
    with check.unchanged(repository):
        assert mlgit("log").exit_code == 0
    inside.unlink()
    assert mlgit("commit", "-m", "good again").exit_code == 0


def test_a_damaged_model_file_can_be_restored(mlgit: Callable[..., Any], repository: Path) -> None:
    model = repository / "model.safetensors"
    before = model.read_bytes()
    model.write_bytes(before[:50])
    assert mlgit("restore", "model.safetensors").exit_code == 0
    assert model.read_bytes() == before
    assert (repository / "notes.txt").read_text() == "changed\n"


class Payload:
    """Unpickled, it creates a file: the code that a hostile pickle carries."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.marker,))


def torch_zip(marker: Path, place: Path) -> None:
    """Write a checkpoint in torch's format whose pickle runs code."""
    torch.save({"w": torch.zeros(2)}, place)
    with zipfile.ZipFile(place) as source:
        content = {name: source.read(name) for name in source.namelist()}
    name = next(name for name in content if name.endswith("data.pkl"))
    content[name] = pickle.dumps({"w": Payload(marker)}, protocol=2)
    with zipfile.ZipFile(place, "w") as target:
        for entry, data in content.items():
            target.writestr(entry, data)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt"])
@pytest.mark.parametrize("form", ["torch", "plain"])
def test_a_pickle_that_carries_code_is_refused_and_not_run(
    mlgit: Callable[..., Any], check: Any, repository: Path, tmp_path: Path, suffix: str, form: str
) -> None:
    marker, place = tmp_path / "ran", tmp_path / f"evil{suffix}"
    if form == "torch":
        torch_zip(marker, place)
    else:
        place.write_bytes(pickle.dumps({"w": Payload(marker)}))
    with check.unchanged(repository):
        check.refused(mlgit("import", place), 2, f"evil{suffix}")
    assert not marker.exists()
    pickle.loads(pickle.dumps(Payload(marker)))  # noqa: S301 - shows that the payload works where code may run
    assert marker.exists()


def test_pickles_in_the_directory_are_left_out_and_said_to_be(mlgit: Callable[..., Any], repository: Path) -> None:
    (repository / "evil.pt").write_bytes(b"whatever")
    ran = mlgit("commit", "-m", "with a pickle beside it")
    assert ran.exit_code == 0
    assert "not tracked: evil.pt (a pickle may carry code" in ran.stderr
    assert "evil.pt" not in mlgit("ls-tree").stdout


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_truncated_checkpoint_is_refused(
    mlgit: Callable[..., Any], check: Any, repository: Path, tmp_path: Path, cut: int
) -> None:
    place = tmp_path / "cut.pt"
    torch.save({"w": torch.zeros(1000)}, place)
    place.write_bytes(place.read_bytes()[:cut])
    with check.unchanged(repository):
        check.refused(mlgit("import", place), 2, "cut.pt")


# --- repositories in repositories, links, special files


@pytest.mark.parametrize("where", ["sub", "sub/deeper", "."])
def test_no_repository_is_made_inside_another(
    mlgit: Callable[..., Any], check: Any, repository: Path, tmp_path: Path, where: str
) -> None:
    with check.unchanged(repository):
        check.refused(mlgit("init", where), 11, str(repository))
        if where != ".":
            assert mlgit("-C", tmp_path, "init", "elsewhere").exit_code in (0, 11)
            check.refused(mlgit("clone", tmp_path / "elsewhere", where), 11, str(repository))


def test_a_repository_beside_is_made_although_its_path_leads_through_one(
    mlgit: Callable[..., Any], repository: Path, tmp_path: Path
) -> None:
    assert mlgit("init", "../beside").exit_code == 0
    assert mlgit("clone", ".", "../copy").exit_code == 0
    assert (tmp_path / "beside/.mlgit").is_dir()
    assert (tmp_path / "copy/model.safetensors").read_bytes() == (repository / "model.safetensors").read_bytes()


def test_a_repository_that_was_moved_inside_is_named_and_can_be_ignored(
    mlgit: Callable[..., Any], check: Any, repository: Path, tmp_path: Path
) -> None:
    assert mlgit("-C", tmp_path, "init", "elsewhere").exit_code == 0
    (tmp_path / "elsewhere").rename(repository / "nested")
    with check.unchanged(repository):
        for verb in (["commit", "-m", "x"], ["status"]):
            check.refused(mlgit(*verb), 2, "nested", ".mlgitignore")
    (repository / ".mlgitignore").write_text("nested/\n")
    assert mlgit("commit", "-m", "x").exit_code == 0
    assert (repository / "nested/.mlgit/format").exists()


def test_links_and_pipes_are_not_tracked_and_not_followed(
    mlgit: Callable[..., Any], repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    (repository / "link").symlink_to(tmp_path / "secret")
    (repository / "loop").symlink_to(repository)
    os.mkfifo(repository / "pipe")
    ran = mlgit("status")
    assert ran.exit_code == 0
    for name, reason in (("link", "a symbolic link"), ("loop", "a symbolic link"), ("pipe", "not a regular file")):
        assert f"not tracked: {name} ({reason})" in ran.stdout
    assert mlgit("commit", "-m", "x").exit_code == 0
    assert mlgit("ls-tree").stdout.splitlines()[-2:] == ["file model.safetensors", "file notes.txt"]


def test_a_checkout_does_not_write_through_a_link(
    mlgit: Callable[..., Any], check: Any, repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (repository / "sub").symlink_to(tmp_path / "outside")
    with check.unchanged(repository):
        check.refused(mlgit("switch", "other"), 12, "'" + str(repository / "sub") + "' is in the way")
    assert list((tmp_path / "outside").iterdir()) == []


# --- what does not exist


REVISIONS = ["nowhere", "HEAD~9", "v1^2", "0123456789abcdef", "a b", "main..other", "", "\x1b[2J", "@{1}", "HEAD^^^^"]
READERS: list[Callable[[str], list[str]]] = [
    lambda revision: ["log", revision],
    lambda revision: ["show", revision],
    lambda revision: ["diff", revision],
    lambda revision: ["diff", "HEAD", revision],
    lambda revision: ["ls-tree", revision],
    lambda revision: ["cat-file", revision],
    lambda revision: ["switch", "--detach", revision],
    lambda revision: ["switch", "-c", "new", revision],
    lambda revision: ["tag", "new", revision],
    lambda revision: ["branch", "new", revision or "nowhere"],
    lambda revision: ["restore", "-s", revision, "."],
    lambda revision: ["export", revision, "new.pt"],
]


@pytest.mark.parametrize("revision", REVISIONS)
def test_an_unknown_revision_is_refused_everywhere(
    mlgit: Callable[..., Any], check: Any, repository: Path, revision: str
) -> None:
    with check.unchanged(repository):
        for verb in READERS:
            ran = mlgit(*verb(revision))
            check.refused(ran, 10 if ran.exit_code == 10 else 2)


def test_a_misspelt_branch_is_guessed(mlgit: Callable[..., Any], repository: Path) -> None:
    ran = mlgit("switch", "othr")
    assert ran.stderr == "error: no branch is named 'othr'\nhint: did you mean 'other'?\n"
    assert ran.exit_code == 10


@pytest.mark.parametrize("verb", [["status"], ["log"], ["commit", "-m", "x"], ["switch", "a"], ["fsck"], ["config"]])
def test_outside_of_a_repository_every_verb_says_so(
    mlgit: Callable[..., Any], check: Any, tmp_path: Path, verb: list[str]
) -> None:
    check.refused(mlgit("-C", tmp_path, *verb), 10, "is an mlgit repository", "mlgit init")


# --- names that a terminal or a reader would take for something else

PAYLOADS = {
    "escape": "a\x1b[2Jb",
    "title": "a\x1b]0;owned\x07b",
    "c1": "a\x9b2Jb",
    "newline": "a\nerror: forged",
    "return": "a\rerror: forged",
    "backspace": "a\x08\x08b",
    "bidi": "a\u202etxt.exe",
    "isolate": "a\u2066b\u2069",
    "zero-width": "a\u200bb",
    "tag-character": "a\U000e0041b",
    "separator": "a\u2028b",
    "markup": "[red]a[/red]",
}
SAFE = {"markup"}
"""Payloads that a name may have: they only mean something to a library that prints, and must not there."""


def harmless(text: str) -> bool:
    return not any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in text if letter != "\n")


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_name_that_could_harm_is_refused_and_shown_harmlessly(
    mlgit: Callable[..., Any], terminal: Callable[..., Any], check: Any, repository: Path, tmp_path: Path, payload: str
) -> None:
    name = PAYLOADS[payload]
    tensors = tmp_path / "names.safetensors"
    tensors.write_bytes(named(name))
    if payload in SAFE:
        assert mlgit("import", tensors).exit_code == 0
        assert f"\n{name}  U8" in mlgit("ls-tree").stdout
        assert f"\n{name}  U8" in terminal("ls-tree")[1]
        return
    with check.unchanged(repository):
        for verb in (
            ["branch", name],
            ["switch", "-c", name],
            ["switch", name],
            ["tag", name],
            ["tag", name, "-m", "x"],
            ["branch", "-m", "other", name],
            ["init", "-b", name, str(tmp_path / "new")],
            ["import", str(tensors)],
            ["import", name],
            ["clone", name],
            ["config", name],
            ["config", name, "x"],
            ["restore", name],
            ["tag", "-d", name],
            ["branch", "-d", name],
            ["export", name, "x.pt"],
            ["log", "-n", name],
            [name],
        ):
            ran = mlgit(*verb)
            assert ran.exit_code in (2, 10), (verb, ran)
            assert harmless(ran.stderr), verb
            assert len(ran.stderr.splitlines()) <= 3, (verb, ran.stderr)
            code, shown = terminal(*verb)
            assert code == ran.exit_code
            assert harmless(shown), verb
            assert "\nerror: forged" not in shown


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_file_name_that_could_harm_is_refused_and_shown_harmlessly(
    mlgit: Callable[..., Any], terminal: Callable[..., Any], check: Any, repository: Path, payload: str
) -> None:
    name = PAYLOADS[payload].replace("/", "")
    (repository / name).write_text("x")
    if payload in SAFE:
        assert "added: [red]a[red]\n" in mlgit("status").stdout
        assert "added: [red]a[red]\n" in terminal("status")[1]
        return
    with check.unchanged(repository):
        for verb in (["status"], ["commit", "-m", "x"], ["diff"]):
            check.refused(mlgit(*verb), 2, ".mlgitignore")
            assert harmless(terminal(*verb)[1])
    (repository / ".mlgitignore").write_text("a*\n")
    assert mlgit("commit", "-m", "without it").exit_code == 0


def test_a_file_name_that_is_not_utf_8_is_refused_and_shown(
    mlgit: Callable[..., Any], check: Any, repository: Path
) -> None:
    Path(os.fsdecode(b"caf\xe9")).write_text("x")
    with check.unchanged(repository):
        check.refused(mlgit("status"), 2, "caf\\udce9")


@pytest.mark.parametrize("payload", PAYLOADS)
def test_messages_and_people_are_kept_as_they_are_and_shown_harmlessly(
    mlgit: Callable[..., Any],
    terminal: Callable[..., Any],
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    payload: str,
) -> None:
    text = PAYLOADS[payload]
    monkeypatch.setenv("MLGIT_AUTHOR_NAME", text)
    monkeypatch.setenv("MLGIT_AUTHOR_EMAIL", text)
    assert harmless(mlgit("commit", "-m", text).stdout)
    assert mlgit("tag", "noted", "-m", text).exit_code == 0
    assert mlgit("config", "user.name", text).exit_code == 0
    for verb in (
        ["log"],
        ["log", "--oneline"],
        ["log", "--graph"],
        ["show"],
        ["branch"],
        ["tag"],
        ["config"],
        ["config", "user.name"],
        ["fsck"],
        ["status"],
        ["diff", "HEAD~1", "HEAD"],
    ):
        ran = mlgit(*verb)
        assert ran.exit_code == 0, ran
        assert harmless(ran.stdout + ran.stderr), verb
        code, shown = terminal(*verb, "-q")  # bars move the cursor
        assert code == 0
        assert harmless(shown), verb
        assert "\nerror: forged" not in shown
    monkeypatch.setenv("MLGIT_AUTHOR_NAME", "Ada")
    found = json.loads(mlgit("log", "-n", "1", "--json").stdout)["commits"][0]
    assert (found["message"], found["author"]) == (text, {"name": text, "email": text})
    assert json.loads(mlgit("tag", "--json").stdout)["tags"][0]["message"] == text
    assert json.loads(mlgit("config", "user.name", "--json").stdout)["value"] == text
    for verb in (["log", "--json"], ["tag", "--json"], ["show", "--json"], ["config", "--json"], ["branch", "--json"]):
        printed = mlgit(*verb).stdout
        assert printed.isascii()
        assert harmless(printed)


@pytest.mark.parametrize(
    "verb", [["commit", "-m", "\udcff"], ["tag", "x", "-m", "\udcff"], ["config", "user.name", "\udcff"]]
)
def test_text_that_is_not_utf_8_is_refused(
    mlgit: Callable[..., Any], check: Any, repository: Path, verb: list[str]
) -> None:
    with check.unchanged(repository):
        check.refused(mlgit(*verb), 2, "is not valid UTF-8")


def test_an_author_that_is_not_utf_8_is_refused(
    mlgit: Callable[..., Any], check: Any, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with check.unchanged(repository), monkeypatch.context() as patch:
        patch.setenv("MLGIT_AUTHOR_NAME", "\udcff")
        for verb in (["commit", "-m", "x"], ["branch", "new"], ["tag", "new"]):
            check.refused(mlgit(*verb), 2, "the author's name is not valid UTF-8")


@pytest.mark.parametrize("date", ["tomorrow", "99999999999999999999", "0001-01-01T00:00:00+01:00", "1 +9999", "-1"])
def test_a_moment_that_no_clock_shows_is_refused(
    mlgit: Callable[..., Any], check: Any, repository: Path, monkeypatch: pytest.MonkeyPatch, date: str
) -> None:
    with check.unchanged(repository), monkeypatch.context() as patch:
        patch.setenv("MLGIT_AUTHOR_DATE", date)
        check.refused(mlgit("commit", "-m", "x"), 2)
    assert mlgit("log").exit_code == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *itertools.product([".mlgit/config.toml", "mlgit.toml"], [b"\xff\xfe", b"[broken", b"\0"]),
        (".mlgitignore", b"\xff\xfe"),  # any text is a pattern
    ],
)
def test_a_settings_file_that_is_broken_is_named(
    mlgit: Callable[..., Any], check: Any, repository: Path, name: str, content: bytes
) -> None:
    (repository / name).write_bytes(content)
    before = check.everything(repository)
    for verb in (["config", "user.email"], ["config", "user.email", "x"]) if "config" in name else (["status"],):
        check.refused(mlgit(*verb), 2, name)
    assert check.everything(repository) == before


def test_an_index_that_is_no_index_costs_nothing(mlgit: Callable[..., Any], repository: Path) -> None:
    expected = mlgit("status").stdout
    for content in (b"", b"\xff", b"{}", b'{"files": {}, "manifest": "x", "written_ns": 1}', b"[" * 100_000):
        (repository / ".mlgit/index.json").write_bytes(content)
        assert mlgit("status").stdout == expected
    (repository / ".mlgit/index.json").unlink()
    (repository / ".mlgit/index.json").mkdir()
    assert mlgit("status").stdout == expected
    assert mlgit("commit", "-m", "x").exit_code == 0
