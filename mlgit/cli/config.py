"""``mlgit config``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.errors import InvalidInputError


def config(
    context: Context,
    key: Annotated[str | None, typer.Argument(help="Dotted key: `user.name`; none to list all.")] = None,
    value: Annotated[str | None, typer.Argument(help="What to set it to; none to show it.")] = None,
    *,
    unset: Annotated[bool, typer.Option("--unset", help="Remove the key.")] = False,
    everywhere: Annotated[
        bool, typer.Option("--global", help="Use the user's own settings, for all repositories.")
    ] = False,
    json: Json = False,
) -> None:
    """Show or change settings of this repository."""
    from mlgit.porcelain import config as porcelain
    from mlgit.repository import Settings

    output = context.output
    if everywhere:
        if context.user_settings is None:
            raise InvalidInputError("there is no home directory for the user's settings", hint="set HOME")
        path, settings = context.user_settings, Settings([context.user_settings])
    else:
        repository = context.repository()
        path, settings = porcelain.settings_path(repository), repository.settings
    if key is None:
        if json:
            output.json({"settings": dict(settings.values)})
            return
        for name, found in sorted(settings.values.items()):
            output.line(name, " = ", str(found))
    elif unset:
        porcelain.unset_setting(path, key)
    elif value is not None:
        porcelain.set_setting(path, key, value)
    elif json:
        output.json({"key": key, "value": porcelain.get_setting(settings, key)})
    else:
        output.line(str(porcelain.get_setting(settings, key)))
