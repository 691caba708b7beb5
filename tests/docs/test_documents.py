"""Documents agree with the program: generated pages are current, links lead somewhere, commands can be parsed."""

from __future__ import annotations

import re
import runpy
import shlex
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlgit.cli.main import VERBS
from mlgit.cli.verb import load
from mlgit.errors import MlgitError

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
GENERATOR = runpy.run_path(str(ROOT / "docs" / "generate.py"))


@pytest.mark.parametrize("name", GENERATOR["PAGES"])
def test_generated_pages_are_up_to_date(name: str) -> None:
    written = (ROOT / "docs" / name).read_text("utf-8")
    assert written == GENERATOR["PAGES"][name](), "run `python docs/generate.py`"


def test_the_page_of_errors_knows_every_class_and_every_verb_is_on_its_page() -> None:
    errors = (ROOT / "docs" / "errors.md").read_text("utf-8")
    cli = (ROOT / "docs" / "cli.md").read_text("utf-8")
    pending = [MlgitError]
    while pending:
        each = pending.pop()
        pending += each.__subclasses__()
        assert f"| {each.exit_code} | `{each.__name__}` |" in errors
    for panel in VERBS.values():
        assert all(f"\n### {verb}\n" in cli for verb in panel)


def test_kinds_of_the_page_are_kebab_case() -> None:
    errors = (ROOT / "docs" / "errors.md").read_text("utf-8")
    kinds = re.findall(r"^\| `([^`]+)` \| ", errors, re.MULTILINE)
    assert len(kinds) > 100
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+|-\d+)*", kind) for kind in kinds)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"(?<!\!)\[[^\]]*\]\(([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        if path.startswith(("https:", "mailto:")):
            continue
        found = page.parent / path if path else page
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), target


def anchors(page: Path) -> set[str]:
    """Return the anchors that headings get on code-hosting sites."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> Iterator[str]:
    """Yield every mlgit command in a page's blocks of shell and console, and in those of a script."""
    text = page.read_text("utf-8")
    if page.suffix == ".md":
        languages = re.findall(r"^```(sh|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        text = "\n".join(
            re.sub(r"^(?!\$ ).*$|^\$ ", "", body, flags=re.MULTILINE) if language == "console" else body
            for language, body in languages
        )
    for line in text.splitlines():
        for part in re.split(r"&&|; then|^if ", line):
            words = re.fullmatch(r"\s*(?:\.venv/bin/)?mlgit (.+?)\s*", part)
            if words and not line.lstrip().startswith("#"):
                yield words[1]


def parse(command: str) -> None:
    """Parse a command's options and arguments; nothing is run."""
    name, *arguments = [word for word in shlex.split(command) if not word.startswith("$(")]
    row = {verb: where for panel in VERBS.values() for verb, where in panel.items()}[name]
    verb: Any = load(name, row)
    while hasattr(verb, "commands") and verb.commands:
        name, *arguments = arguments
        verb = verb.commands[name]
    verb.make_context(name, arguments)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "examples" / "day.sh"], ids=[*NAMES, "examples/day.sh"])
def test_commands_can_be_parsed(page: Path) -> None:
    for command in commands(page):
        try:
            parse(command)
        except Exception as error:  # noqa: BLE001 - whatever it is, the page is wrong
            pytest.fail(f"{page.name}: `mlgit {command}`: {type(error).__name__}: {error}")


def test_commands_are_found_and_wrong_ones_would_be_noticed() -> None:
    assert len(list(commands(ROOT / "README.md"))) > 12
    assert len(list(commands(ROOT / "examples" / "day.sh"))) > 20
    assert len(list(commands(ROOT / "docs" / "certificates.md"))) > 1
    for wrong in ("merg main", "merge main --strateg greedy -m x", "task ad digit", "switch"):
        with pytest.raises(BaseException, match=r".+"):
            parse(wrong)


def test_the_page_for_git_users_names_verbs_that_exist_and_none_that_do_not() -> None:
    verbs = {verb for panel in VERBS.values() for verb in panel}
    text = (ROOT / "docs" / "for-git-users.md").read_text("utf-8")
    section = text[text.index("## Verbs") : text.index("## What merge means")]
    rows = re.findall(r"^\| (.*?) \| (.*?) \|", section, re.MULTILINE)[2:]
    assert len(rows) > 15
    for git, ours in rows:
        words = re.findall(r"`([a-z][^`]*)`", ours if "`" in ours else git)
        named = {word.split()[0] for word in words}
        assert named - verbs == (named if ours.startswith("none") else set()), (git, ours)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_pages_are_plain_text_with_closed_blocks(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text.startswith("# ")
    assert text.endswith("\n")
    assert len(re.findall(r"^```", text, re.MULTILINE)) % 2 == 0
    assert not [letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf") and letter not in "\n\t"]


def test_decisions_are_numbered_without_gaps_and_say_problem_choice_and_alternatives() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    for number, record in enumerate(records, 1):
        text = record.read_text("utf-8")
        assert record.name.startswith(f"{number:04}-")
        assert text.startswith(f"# {number:04}: ")
        assert all(
            re.search(rf"^(## |\*\*){part}", text, re.MULTILINE) for part in ("Problem", "Choice", "Alternatives")
        )
