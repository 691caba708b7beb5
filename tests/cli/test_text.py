from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgit.cli.text import clean, clean_block

FORBIDDEN = {"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"}
any_text = st.text(st.characters(exclude_categories=()), max_size=60)  # surrogates too


def test_no_character_of_unicode_that_a_terminal_obeys_passes() -> None:
    passed = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in FORBIDDEN]
    assert len(passed) > 800_000
    shown = clean("".join(passed))
    assert shown.isascii()
    assert shown.isprintable()


def test_every_visible_character_of_unicode_passes_unchanged() -> None:
    invisible = {0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0}
    invisible |= set(range(0xE0100, 0xE01F0))
    visible = "".join(
        chr(code)
        for code in range(0x110000)
        if unicodedata.category(chr(code)) not in FORBIDDEN and code not in invisible
    )
    assert clean(visible) == visible


@given(any_text)
def test_a_cleaned_line_is_one_line_of_harmless_characters(text: str) -> None:
    shown = clean(text)
    assert not any(unicodedata.category(char) in FORBIDDEN for char in shown)
    assert len(shown.splitlines()) <= 1


@given(any_text)
def test_a_cleaned_block_has_no_control_but_line_feeds(text: str) -> None:
    shown = clean_block(text)
    assert not any(unicodedata.category(char) in FORBIDDEN for char in shown if char != "\n")
    assert shown.count("\n") == text.count("\n")


@given(any_text)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    assert clean_block(clean_block(text)) == clean_block(text)


@given(any_text, any_text)
def test_text_is_cleaned_character_by_character(first: str, second: str) -> None:
    assert clean(first + second) == clean(first) + clean(second)


@given(any_text)
def test_cleaned_text_can_be_encoded(text: str) -> None:
    clean(text).encode("utf-8")
    clean_block(text).encode("utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("main", "main"),
        ("Modèle für Größe 模型 🍲", "Modèle für Größe 模型 🍲"),
        ("a\tb\nc\rd", r"a\tb\nc\rd"),
        ("\x00\x1b\x7f\x80\x9f", r"\x00\x1b\x7f\x80\x9f"),
        ("\xad", r"\xad"),
        ("\u200e\u200f\u061c\u202a\u202e\u2066\u2069", r"\u200e\u200f\u061c\u202a\u202e\u2066\u2069"),
        ("\u200b\u200c\u200d\u2060\ufeff", r"\u200b\u200c\u200d\u2060\ufeff"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\U000e0041\U000e0100", r"\U000e0041\U000e0100"),
        ("\ud800\udcff", r"\ud800\udcff"),
        ("C:\\x1b", "C:\\x1b"),
        (7, "7"),
    ],
)
def test_escapes_are_visible_and_say_which_character(text: object, shown: str) -> None:
    assert clean(text) == shown


def test_a_block_keeps_its_lines_and_its_look() -> None:
    assert clean_block("one\r\n\ttwo\n\n  three\r\x1b") == "one\n        two\n\n  three" + r"\r\x1b"
