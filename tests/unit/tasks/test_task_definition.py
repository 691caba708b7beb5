from __future__ import annotations

import datetime
import subprocess
import sys
import tomllib

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgit.errors import InvalidInputError
from mlgit.objects.encoding import JsonValue
from mlgit.tasks import TASK_KINDS, TaskDefinition

NAMES = st.text("abcXYZ019é_-.+", min_size=1, max_size=20).map(lambda text: "t" + text).filter(lambda t: ".." not in t)
KEYS = st.text("abcdef_", min_size=1, max_size=8).filter(lambda key: key not in ("kind", "name", "data"))
VALUES: st.SearchStrategy[JsonValue] = st.recursive(
    st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("abc é", min_size=1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(NAMES, st.none() | st.text("abc de", min_size=1), st.dictionaries(KEYS, VALUES, max_size=4))
def test_a_definition_survives_its_toml_table(name: str, domain: str | None, options: dict[str, JsonValue]) -> None:
    definition = TaskDefinition(name=name, kind="digits", test_domain=domain, options=options)
    text = tomlkit.dumps({"tasks": {name: definition.to_table()}})
    assert TaskDefinition.from_table(name, tomllib.loads(text)["tasks"][name]) == definition
    assert TaskDefinition.from_table(name, tomlkit.parse(text)["tasks"][name]) == definition


def test_a_table_starts_with_the_kind() -> None:
    definition = TaskDefinition(name="d", kind="digits", test_domain="rotate", options={"part": "target", "a": 1})
    assert list(definition.to_table().items()) == [
        ("kind", "digits"),
        ("test_domain", "rotate"),
        ("a", 1),
        ("part", "target"),
    ]


@pytest.mark.parametrize(
    "name", ["", "a b", "a/b", "../x", "a..b", "-x", ".x", "a\nb", "a\x1b[31m", "a\u202eb", "a'b", "x" * 101, "\udc80"]
)
def test_a_name_that_could_do_harm_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        TaskDefinition(name=name, kind="digits")
    assert caught.value.kind == "bad-name"


@pytest.mark.parametrize("domain", ["", "a/b", "a\\b", "..", "a\u202eb", "a\x07"])
def test_a_test_domain_that_could_do_harm_is_refused(domain: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        TaskDefinition(name="t", kind="digits", test_domain=domain)
    assert caught.value.kind == "bad-name"


@pytest.mark.parametrize("path", ["/data/PACS", "~/data", "C:\\data", "c:/data", "\\\\host\\share", "file:///x"])
@pytest.mark.parametrize("wrap", [lambda text: text, lambda text: ["x", text], lambda text: {"inner": {"deep": text}}])
def test_a_path_of_this_machine_is_refused_at_any_depth(path: str, wrap: object) -> None:
    assert callable(wrap)
    with pytest.raises(InvalidInputError) as caught:
        TaskDefinition(name="t", kind="imagefolder", options={"folder": wrap(path)})
    assert caught.value.kind == "machine-path"
    assert "--data" in (caught.value.hint or "")


def test_data_is_not_an_option() -> None:
    with pytest.raises(InvalidInputError, match="'data' is not an option"):
        TaskDefinition(name="t", kind="imagefolder", options={"data": "PACS"})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (3, "is not a table"),
        ({}, "does not say of which kind"),
        ({"kind": 3}, "does not say of which kind"),
        ({"kind": "digits", "test_domain": 3}, "'test_domain' is not text"),
        ({"kind": "digits", "since": datetime.date(2026, 1, 1)}, "is a date"),
        ({"kind": "digits", "x": float("nan")}, "canonical JSON"),
        ({"kind": "digits", "x": 2**60}, "canonical JSON"),
        ({"kind": "digits", "x": "a\x1bb"}, r"U\+001B"),
        ({"kind": "digits", "a\u202eb": 1}, r"U\+202E"),
        ({"kind": "a\nb"}, "cannot name a kind"),
    ],
)
def test_a_table_that_is_no_definition_is_refused(table: object, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        TaskDefinition.from_table("t", table)


def test_definitions_are_values() -> None:
    one = TaskDefinition(name="t", kind="digits", options={"a": 1, "b": [1, 2]})
    two = TaskDefinition(name="t", kind="digits", options={"b": [1, 2], "a": 1})
    assert one == two
    with pytest.raises(TypeError):
        one.options["a"] = 2  # type: ignore[index]  # that it cannot be assigned is the point


def test_reading_definitions_and_listing_kinds_imports_no_torch() -> None:
    code = (
        "import sys; from mlgit.tasks import TASK_KINDS, TaskDefinition; TASK_KINDS.names();"
        "TaskDefinition.from_table('t', {'kind': 'digits'}); print([n for n in ('torch', 'numpy') if n in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
    assert TASK_KINDS.names() == ["digits", "imagefolder", "mnist-domains", "python", "wilds"]
