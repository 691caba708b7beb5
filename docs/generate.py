"""Write ``docs/errors.md`` and ``docs/cli.md`` from the source; with ``--check`` only say whether they are up to date.

Run it from anywhere: ``python docs/generate.py``.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from mlgit import errors
from mlgit.cli.main import VERBS
from mlgit.cli.verb import load
from mlgit.errors import MlgitError

DOCS = Path(__file__).resolve().parent
SOURCE = DOCS.parent / "mlgit"
CLASSES = {name: each for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, MlgitError)}
GENERATED = "<!-- written by docs/generate.py from the source; change that, and run it again -->"


class Site(NamedTuple):
    """One place in the source where an error is made."""

    error: str
    kind: str
    message: str
    package: str


def sites() -> Iterator[Site]:
    """Yield every place that makes an error of mlgit, by file and line."""
    trees = {path: ast.parse(path.read_text("utf-8")) for path in sorted(SOURCE.rglob("*.py"))}
    nouns = [_text(word.value) for tree in trees.values() for word in _keywords(tree, "Registry", "noun")]
    for path, tree in trees.items():
        package = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for call in ast.walk(tree):
            if isinstance(call, ast.Call):
                yield from _made(call, package, [noun for noun in nouns if noun])


def _made(call: ast.Call, package: str, nouns: list[str]) -> Iterator[Site]:
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name not in CLASSES:
        return
    message = _text(call.args[0]) if call.args else ""
    given = [word.value for word in call.keywords if word.arg == "kind"]
    if not given:
        yield Site(name, CLASSES[name].default_kind, message, package)
        return
    for value in ast.walk(given[0]):
        if isinstance(value, ast.Constant) and value.value == "unknown-":  # Registry says what a row is
            yield from (Site(name, f"unknown-{noun.replace(' ', '-')}", message, package) for noun in nouns)
            return
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield Site(name, value.value, message, package)


def _keywords(tree: ast.AST, function: str, keyword: str) -> Iterator[ast.keyword]:
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == function:
            yield from (word for word in call.keywords if word.arg == keyword)


def _text(node: ast.expr) -> str:
    """Return a literal text, with an ellipsis for what is filled in; empty when there is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (_text(node.left) or "…") + (_text(node.right) or "…")
    return ""


ERRORS = """\
# Errors
{GENERATED}

A command that fails prints two lines on stderr and exits with the code of the error's class:

```text
error: no branch is named 'mian'
hint: create it with `mlgit switch -c mian`
```

With `--json` it prints one line of JSON, an object `error` with `kind`, `message`, `hint` and `exit_code`. In Python
the same is an exception of `mlgit.errors` with the attributes `message`, `kind` and `hint`. Messages may change between
versions; a kind, once released, does not.

| exit code | class | meaning |
| --- | --- | --- |
| 0 | | success |
{CODES}
| 130 | | interrupted with Ctrl-C |
| 141 | | the reader of the output has gone, as in `mlgit log \\| head` |
| 128 + n | | stopped by signal n, as 143 by SIGTERM |

A failure of the operating system that nothing in mlgit foresaw, running out of memory among them, exits with 16. Below
is every kind with the code that says it; an ellipsis stands for what is filled in. A kind with several messages shows
one of them.
"""


def errors_page() -> str:
    """Return ``docs/errors.md``."""
    ordered = sorted(CLASSES.values(), key=lambda each: (each.exit_code, len(each.__mro__)))
    codes = [f"| {each.exit_code} | `{each.__name__}` | {_summary(each)} |" for each in ordered]
    lines = [ERRORS.replace("{GENERATED}", GENERATED).replace("{CODES}", "\n".join(codes)).rstrip()]
    found: dict[str, dict[str, list[Site]]] = defaultdict(lambda: defaultdict(list))
    for site in sites():
        found[site.error][site.kind].append(site)
    for each in ordered:
        if each.__name__ in found:
            lines += [
                "",
                f"## {each.exit_code}: `{each.__name__}`",
                "",
                "| kind | message | from |",
                "| --- | --- | --- |",
            ]
            lines += [_row(kind, found[each.__name__][kind]) for kind in sorted(found[each.__name__])]
    return "\n".join(lines) + "\n"


def _summary(each: type[MlgitError]) -> str:
    text = (each.__doc__ or "").partition("\n")[0].removesuffix(".")
    return text[:1].lower() + text[1:]


def _row(kind: str, where: list[Site]) -> str:
    message = next((site.message for site in where if site.message.strip("…")), "")
    packages = ", ".join(sorted({site.package for site in where}))
    return f"| `{kind}` | {_cell(message)} | {packages} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


CLI = """\
# The command line
{GENERATED}

`mlgit [-C DIR] VERB …`; `mlgit VERB --help` says what stands here. Every verb has `-q` (errors, warnings and what was
asked for only), `-v` (tell more of what is done) and `-h`. Verbs that read have `--json`: one document with a `schema`
number on stdout. Data go to stdout, everything else to stderr. `NO_COLOR` switches colours off. [Errors](errors.md)
lists the exit codes.

A revision is `HEAD` or `@`, a branch, a tag, `origin/main`, a full ref name or the unique beginning of an id (at least
4 digits), followed by any number of `~n` and `^n`, as in git: `main~2`, `soup^2`. `main@{2}` is where main was two
changes ago. `branch:x` and `tag:x` say which is meant. Where several revisions are taken, `*`, `?` and `[a-z]` stand
for all branches, else tags, that fit: `'digit/*'`.
"""


def cli_page() -> str:
    """Return ``docs/cli.md``."""
    lines = [CLI.replace("{GENERATED}", GENERATED).rstrip()]
    for panel, verbs in VERBS.items():
        lines += ["", f"## {panel[:1].upper()}{panel[1:]}"]
        for name, row in verbs.items():
            command: Any = load(name, row)
            inner: Mapping[str, Any] = getattr(command, "commands", None) or {}
            lines += _verb(name, command, with_options=not inner)
            for sub, subcommand in inner.items():
                lines += _verb(f"{name} {sub}", subcommand, with_options=True)
    return "\n".join(lines) + "\n"


def _verb(name: str, command: Any, *, with_options: bool) -> list[str]:
    summary, _, rest = (command.help or "").partition("\n")
    lines = ["", f"### {name}", "", f"{summary}.", *([rest.rstrip().replace("<", "&lt;")] if rest.strip() else [])]
    if not with_options:
        return lines
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    own = [each for each in options if each.name not in ("quiet", "verbose", "help")]
    words = ["mlgit", name, *(["[OPTIONS]"] if own else []), *(_argument(each) for each in arguments)]
    lines += ["", "```text", " ".join(words), "```"]
    if arguments or own:
        lines += ["", "| | |", "| --- | --- |"]
        lines += [f"| `{_argument(each)}` | {_meaning(each)} |" for each in arguments]
        lines += [f"| {', '.join(f'`{_cell(word)}`' for word in _spelled(each))} | {_meaning(each)} |" for each in own]
    return lines


def _argument(each: Any) -> str:
    word = (each.metavar or each.name.upper()).strip("[]")
    word += "…" if each.nargs == -1 and not word.endswith("…") else ""
    return word if each.required else f"[{word}]"


def _spelled(each: Any) -> list[str]:
    value = "" if each.is_flag else f" {each.metavar or _value(each.type_descriptor.annotation)}"
    return [*each.opts[:-1], f"{each.opts[-1]}{value}"]


def _value(annotation: Any) -> str:
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "|".join(str(member.value) for member in annotation)
    return {int: "N", float: "X", str: "TEXT"}.get(annotation, "PATH")


def _meaning(each: Any) -> str:
    text = _cell(each.help or "")
    needed = " Required." if each.required and each.param_type_name == "option" else ""
    default = each.default
    shown = default is not None and default is not False and default not in ("", ()) and "Default:" not in text
    return text + needed + (f" Default: `{getattr(default, 'value', default)}`." if shown else "")


PAGES = {"errors.md": errors_page, "cli.md": cli_page}


def main() -> int:
    """Write the pages, or with ``--check`` name those that are out of date; return the exit code."""
    stale = [name for name, page in PAGES.items() if not _is_current(DOCS / name, page())]
    if "--check" not in sys.argv[1:]:
        for name in stale:
            (DOCS / name).write_text(PAGES[name](), "utf-8")
    for name in stale:
        sys.stdout.write(f"docs/{name} {'is out of date' if '--check' in sys.argv[1:] else 'written'}\n")
    return int(bool(stale) and "--check" in sys.argv[1:])


def _is_current(path: Path, text: str) -> bool:
    return path.exists() and path.read_text("utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
