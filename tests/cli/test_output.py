from __future__ import annotations

import io
import json
import os
import re
import unicodedata
from collections.abc import Callable
from types import ModuleType

import pytest

from mlgit.cli.output import Column, Output, Styled, encode_json

COLORS = re.compile(r"\x1b\[[0-9;]*m")
PAYLOADS = range(12)


def plain(output: str) -> str:
    return COLORS.sub("", output)


def assert_harmless(output: str) -> None:
    bad = {char for char in output if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}} - {"\n"}
    assert not bad


def printed(print_something: Callable[[Output], None], **options: bool | int) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    print_something(Output(out, err, **options))  # type: ignore[arg-type]
    return out.getvalue(), err.getvalue()


@pytest.mark.parametrize("number", PAYLOADS)
def test_foreign_text_is_harmless_in_a_pipe(mlgit: Callable, program: ModuleType, number: int) -> None:
    shown = list(program.PAYLOADS.values())[number]
    ran = mlgit("show", str(number))
    width = len(shown)
    assert ran.exit_code == 1
    assert ran.stdout == "".join(
        [
            f"line {shown} {shown}\n",
            f"    {shown}\n",
            f"{shown}  {'right':>{width}}\n",
            f"{shown}  {1:>{width}}\n",
            f"{shown}  {shown}\n",
        ]
    )
    assert ran.stderr == f"note {shown}\nwarning: {shown}\nerror: {shown}\nhint: {shown}\n"
    assert_harmless(ran.stdout + ran.stderr)


@pytest.mark.parametrize("number", PAYLOADS)
def test_foreign_text_is_harmless_on_a_terminal(terminal: Callable, program: ModuleType, number: int) -> None:
    shown = list(program.PAYLOADS.values())[number]
    code, screen = terminal("show", str(number))
    assert code == 1
    assert screen.count("\x1b[1;36m") == 1  # a colour of our own, so colours were on
    assert_harmless(plain(screen))
    lines = [line.rstrip() for line in plain(screen).splitlines()]
    assert lines[:4] == [f"note {shown}", f"warning: {shown}", f"line {shown} {shown}", f"    {shown}"]
    assert lines[-2:] == [f"error: {shown}", f"hint: {shown}"]
    width = len(shown)
    if 2 * width + 2 <= 100:  # a wider table is folded
        assert lines[4:-2] == [f"{shown}  {'right':>{width}}", f"{shown}  {1:>{width}}", f"{shown}  {shown}"]


@pytest.mark.parametrize("number", PAYLOADS)
def test_foreign_text_is_harmless_as_json(mlgit: Callable, program: ModuleType, number: int) -> None:
    text = list(program.PAYLOADS)[number]
    ran = mlgit("show", str(number), "--json")
    assert ran.exit_code == 1
    assert ran.stdout.isascii()
    assert ran.stderr.isascii()
    assert_harmless(ran.stdout + ran.stderr)
    assert json.loads(ran.stdout) == {"schema": 1, "text": text, text: [text]}
    assert [json.loads(line) for line in ran.stderr.splitlines()] == [
        {"schema": 1, "warning": {"message": text}},
        {"schema": 1, "error": {"kind": "check-failed", "message": text, "hint": text, "exit_code": 1}},
    ]


def test_an_error_cannot_forge_another_one(mlgit: Callable, program: ModuleType) -> None:
    ran = mlgit("fail", "weights")
    assert ran.stderr == "error: 2 differ:\n       a\n       b\n"


def test_a_table_in_a_pipe_is_never_cut_or_folded() -> None:
    rows = [["x" * 200, 1], ["y", 22222], [None, Styled("good", "good")]]
    out, _ = printed(lambda output: output.table(["name", Column("value", right=True)], rows))
    assert out.splitlines() == [
        "name" + " " * 198 + "value",
        "x" * 200 + "  " + "    1",
        "y" + " " * 201 + "22222",
        "-" + " " * 202 + "good",
    ]


def test_a_table_aligns_wide_characters() -> None:
    out, _ = printed(lambda output: output.table(["名前", "b"], [["x", "1"], ["模型模型", "2"]]))
    assert out == "名前      b\nx         1\n模型模型  2\n"


def test_a_table_on_a_terminal_folds_long_cells_and_loses_nothing(terminal: Callable, program: ModuleType) -> None:
    program.PAYLOADS.clear()
    program.PAYLOADS["ab" * 150] = ""
    try:
        _, screen = terminal("show", "0")
    finally:
        del program.PAYLOADS["ab" * 150]
    table = plain(screen).split("hint:")[0].split("    ab", 1)[1].split("error:")[0]
    assert all(len(line) <= 100 for line in table.splitlines()[1:])
    assert sum(line.count("a") for line in table.splitlines()[1:]) == 4 * 150


def test_a_table_without_rows_shows_its_titles() -> None:
    out, _ = printed(lambda output: output.table(["a", "b"], []))
    assert out == "a  b\n"


def test_a_line_joins_its_parts_without_spaces() -> None:
    out, _ = printed(lambda output: output.line("a", 1, 0.5, None, Styled("x", "bad")))
    assert out == "a10.5x\n"


def test_notes_follow_the_level_and_warnings_always_come() -> None:
    def say(output: Output) -> None:
        output.note("note")
        output.detail("detail")
        output.warn("careful")
        output.line("data")

    assert printed(say, level=-1) == ("data\n", "warning: careful\n")
    assert printed(say) == ("data\n", "note\nwarning: careful\n")
    assert printed(say, level=1) == ("data\n", "note\ndetail\nwarning: careful\n")


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colour_where_none_is_wanted(
    terminal: Callable, program: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    _, colored = terminal("show", "0")
    monkeypatch.setenv(name, value)
    _, bare = terminal("show", "0")
    assert COLORS.search(colored)
    assert_harmless(bare)
    assert bare == plain(colored)


def test_bytes_pass_unchanged_into_a_pipe(start: Callable, program: ModuleType) -> None:
    out, err = start("data").communicate(timeout=30)
    assert out == b"before\n\x00\x1b[2J\xff\xc3\xa4\n"
    assert err == b""


def test_bytes_are_only_shown_on_a_terminal(terminal: Callable, program: ModuleType) -> None:
    assert terminal("data") == (0, "before\n" + r"\x00\x1b[2J\udcff" + "ä\n")


def test_json_refuses_numbers_it_has_no_word_for() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode_json({"x": float("nan")})


def test_a_stream_of_few_characters_shows_the_others_escaped(start: Callable) -> None:
    process = start("thing", "add", "Größe 模", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    out, err = process.communicate(timeout=30)
    assert out == rb"added Gr\xf6\xdfe \u6a21" + b"\n"
    assert err == b""


def test_the_stream_says_whether_it_shows_unicode() -> None:
    for encoding, expected in (("utf-8", True), ("ascii", False), ("latin-1", False)):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        assert Output(stream, stream).unicode is expected
