"""The program around the verbs: options before the verb, help, completion, and usage errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, cast

import typer
from typer.main import get_command

from mlgit.cli.commands import Command, CommandGroup
from mlgit.cli.options import Directory
from mlgit.cli.output import writing
from mlgit.cli.verb import load
from mlgit.errors import InvalidInputError, NotFoundError
from mlgit.version import __version__

PROGRAM = "mlgit"
COMPLETION = f"_{PROGRAM.upper()}_COMPLETE"
"""The environment variable through which a shell asks for completions."""

Verbs = Mapping[str, Mapping[str, str]]
"""Panel of the help -> name of a verb -> ``module:attribute``."""


def dispatch(arguments: Sequence[str], verbs: Verbs) -> int:
    """Run the verb that the arguments name.

    Args:
        arguments: As the user wrote them, without the program's name.
        verbs: All there are.

    Returns:
        The exit code.

    Raises:
        MlgitError: The verb failed, or the arguments are wrong (InvalidInputError, kind ``usage``).
        SystemExit: A shell asked for completions and was answered.
    """
    root = _root(verbs)
    if COMPLETION in os.environ:
        root.main(list(arguments), prog_name=PROGRAM)
    try:
        if not arguments:
            sys.stderr.write(root.make_context(PROGRAM, [], resilient_parsing=True).get_help() + "\n")
            return InvalidInputError.exit_code
        with root.make_context(PROGRAM, list(arguments), obj=tuple(arguments)) as context:
            code = root.invoke(context)
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort as abort:
        raise KeyboardInterrupt from abort
    except typer.TyperException as error:
        raise _usage_error(error) from error
    return cast("int | None", code) or 0


class _Root(CommandGroup):
    """Knows all verbs by name and imports one when it is needed."""

    verbs: Verbs = MappingProxyType({})

    def list_commands(self, ctx: Any) -> list[str]:  # Any: Typer keeps the type of contexts private
        """Return the names, in the order of the help."""
        del ctx
        return [name for panel in self.verbs.values() for name in panel]

    def get_command(self, ctx: Any, cmd_name: str) -> Command | CommandGroup | None:
        """Import a verb; None when there is none of this name."""
        del ctx
        for panel in self.verbs.values():
            if cmd_name in panel:
                return load(cmd_name, panel[cmd_name])
        return None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the verbs into the help, panel by panel, each with its summary."""
        width = max(len(name) for name in self.list_commands(ctx))
        for title, panel in self.verbs.items():
            rows = [(name.ljust(width), _summary(load(name, row))) for name, row in panel.items()]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def _summary(command: Command | CommandGroup) -> str:
    return (command.help or "").partition("\n")[0]


def _show_version(value: bool) -> None:
    if value:
        with writing():
            sys.stdout.write(f"{PROGRAM} version {__version__}\n")
        raise typer.Exit


def _start(
    context: typer.Context,
    directory: Directory = None,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Keep the history of neural networks: commit, merge and certify weights."""
    del version
    for path in directory or ():
        context.with_resource(_standing_in(path))


def _standing_in(path: Path) -> chdir[Path]:
    if not path.is_dir():
        raise NotFoundError(f"there is no directory '{path}'", kind="no-such-directory")
    return chdir(path)


def _root(verbs: Verbs) -> _Root:
    app = typer.Typer(
        cls=_Root,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        subcommand_metavar="VERB [ARGS]...",
        epilog=f"`{PROGRAM} VERB --help` explains a verb.",
    )
    app.callback()(_start)
    root = get_command(app)
    assert isinstance(root, _Root)  # noqa: S101 - tells the type checker what `cls` above ensures
    root.verbs = verbs
    return root


def _usage_error(error: typer.TyperException) -> InvalidInputError:
    """Say what Typer found wrong in the words and the form of all other errors."""
    similar: Sequence[str] = getattr(error, "possibilities", None) or ()
    message = " ".join((error.message if similar else error.format_message()).split()).removesuffix(".")
    message = message.replace("Missing command", "missing verb")
    context = getattr(error, "ctx", None)
    command = context.command_path if context else PROGRAM
    hint = f"did you mean '{similar[0]}'?" if similar else f"`{command} --help` explains it"
    return InvalidInputError(message[:1].lower() + message[1:], kind="usage", hint=hint)
