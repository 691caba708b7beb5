"""Typer's commands, with values converted by ``mlgit.cli.coercion`` and errors in the words of mlgit."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

from mlgit.cli.coercion import simplify
from mlgit.errors import InvalidInputError, did_you_mean

# Any stands here for contexts, parameters and commands: Typer keeps the types of the first two private.


class Command(TyperCommand):
    """One verb."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, ``--help`` among them."""
        return simplify(super().get_params(ctx))


class CommandGroup(TyperGroup):
    """Verbs by name: all of mlgit, or those below one verb."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, ``--help`` among them."""
        return simplify(super().get_params(ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the verb that the arguments begin with.

        Raises:
            InvalidInputError: There is none of this name.
        """
        name, known = args[0], self.list_commands(ctx)
        if not ctx.resilient_parsing and name not in known and not name.startswith("-"):
            similar = did_you_mean(name, known) or ""
            raise InvalidInputError(
                f"'{name}' is not a verb of {ctx.command_path}",
                kind="unknown-verb",
                hint=similar if similar.startswith("did") else f"`{ctx.command_path} --help` lists them",
            )
        return super().resolve_command(ctx, args)
