"""``mlgit task``."""

from __future__ import annotations

import json as encoder
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.cli.output import Styled
from mlgit.cli.style import Column
from mlgit.cli.training_options import TrustCode, runtime
from mlgit.cli.verb import Group
from mlgit.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlgit.objects import JsonValue
    from mlgit.porcelain.task import TaskSummary

Name = Annotated[str, typer.Argument(help="The task's name.")]


def add(
    context: Context,
    name: Name,
    *,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            help="Where data come from: imagefolder, wilds, mnist-domains, digits or python:module:callable. Default: "
            "the preset's, or imagefolder.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset", help="A published dataset, as PACS. Default: the name, where it is one.", metavar="NAME"
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Where the data lie on this machine.")] = None,
    test_domain: Annotated[
        str | None, typer.Option("--test-domain", help="The domain that training and selection never see.")
    ] = None,
    values: Annotated[
        list[str] | None, typer.Option("--set", help="What else the kind needs; may be repeated.", metavar="KEY=VALUE")
    ] = None,
    trust_code: TrustCode = False,
    json: Json = False,
) -> None:
    """Define a task in mlgit.toml.

    `imagefolder` reads DIR/<domain>/<class>/<image>, `wilds` a dataset of WILDS, `mnist-domains` MNIST's own files.
    `digits` needs no data: --set labels=digit|parity|large|…, --set part=pretrain|auxiliary|target. Presets: PACS,
    VLCS, OfficeHome, TerraIncognita, DomainNet, SVIRO, Camelyon17, RxRx1, iWildCam, RotatedMNIST, ColoredMNIST. Where
    data lie is remembered for this machine only.
    """
    from mlgit.porcelain.task import add_task

    place = None if data is None else context.directory / data.expanduser()
    summary = add_task(
        context.repository(),
        name,
        kind=kind,
        preset=preset,
        data=place,
        test_domain=test_domain,
        options=parse_values(values or []),
        runtime=runtime("auto", trust_code),
        progress=context.progress,
    )
    _print(context, summary, as_json=json)
    context.output.note("written to mlgit.toml: commit it before you branch off, so that every branch has the task")


def list_tasks(context: Context, *, json: Json = False) -> None:
    """List all tasks; no data are read."""
    from mlgit.porcelain.task import list_tasks as read

    found = read(context.repository())
    if json:
        rows = [{"name": each.name, **each.to_table()} for each in found]
        context.output.json({"tasks": rows})
        return
    if found:
        context.output.table(
            ["task", "kind", "test domain", "options"],
            [[each.name, each.kind, each.test_domain, _options(each.options)] for each in found],
        )


def show(context: Context, name: Name, *, trust_code: TrustCode = False, json: Json = False) -> None:
    """Show a task with its data: domains, classes, digest."""
    from mlgit.porcelain.task import show_task

    summary = show_task(context.repository(), name, runtime=runtime("auto", trust_code), progress=context.progress)
    _print(context, summary, as_json=json)


def check(
    context: Context,
    name: Name,
    *,
    record: Annotated[
        bool, typer.Option("--record", help="Compare later checks with the data as they are now.")
    ] = False,
    trust_code: TrustCode = False,
    json: Json = False,
) -> int:
    """Read every example of a task again and compare with what was recorded.

    Lists examples that are changed, missing, new or unreadable, and those with equal content. Exit code 1 when the data
    are not what they were when the task was added, or last with --record, or else for the newest commit.
    """
    from mlgit.cli.task_report import print_check
    from mlgit.errors import CheckFailedError
    from mlgit.porcelain.task_check import check_task

    found = check_task(
        context.repository(), name, record=record, runtime=runtime("auto", trust_code), progress=context.progress
    )
    print_check(context.output, found, as_json=json)
    return 0 if found.same else CheckFailedError.exit_code


def remove(context: Context, name: Name) -> None:
    """Remove a task's definition; commits that name it stay as they are."""
    from mlgit.porcelain.task import remove_task

    context.output.note("removed task ", remove_task(context.repository(), name).name)


task = Group(
    "Define, list, check and remove tasks",
    {"add": add, "list": list_tasks, "show": show, "check": check, "rm": remove},
)


def parse_values(texts: list[str]) -> dict[str, JsonValue]:
    """Return ``key=value`` texts as a mapping; values are JSON where they can be read so, text otherwise.

    Raises:
        InvalidInputError: A text without ``=``, or a key twice.
    """
    found: dict[str, JsonValue] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key or key in found:
            raise InvalidInputError(f"'{text}' is not KEY=VALUE with a new key", kind="usage")
        try:
            found[key] = encoder.loads(value)
        except ValueError:
            found[key] = value
    return found


def _options(options: Mapping[str, JsonValue]) -> str:
    return ", ".join(f"{key}={value}" for key, value in options.items())


def _print(context: Context, summary: TaskSummary, *, as_json: bool) -> None:
    output, definition = context.output, summary.definition
    if as_json:
        output.json(
            {
                "task": {
                    "name": definition.name,
                    **definition.to_table(),
                    "digest": summary.digest,
                    "classes": list(summary.classes),
                    "domains": dict(summary.domains),
                    "ignored": list(summary.ignored),
                    "notes": list(summary.notes),
                }
            }
        )
        return
    output.line(
        "task ", Styled(definition.name, "ref"), f" ({definition.kind}), digest ", Styled(summary.digest[:10], "id")
    )
    output.line(
        f"{len(summary.classes)} classes: ", ", ".join(summary.classes[:20]), " …" if len(summary.classes) > 20 else ""
    )
    rows = [
        [name, count, "test" if name == definition.test_domain else "training"]
        for name, count in summary.domains.items()
    ]
    output.table(["domain", Column("images", right=True), "used for"], rows)
    for path in summary.ignored[:10]:
        output.warn(f"passed over: {path}")
    if len(summary.ignored) > 10:
        output.warn(f"passed over: {len(summary.ignored) - 10} more files")
    for note in summary.notes:
        output.warn(note)
