'''The command line: one file per verb; parse, call porcelain, print.

It knows Typer and Rich, the terminal and the environment, so that nothing below has to. It must not know how anything
is done: a verb calls one function of ``mlgit.porcelain`` and prints the result.

To add a verb, write ``mlgit/cli/<verb>.py``::

    """``mlgit tip``."""

    from __future__ import annotations

    from typing import Annotated

    import typer

    from mlgit.cli.context import Context
    from mlgit.cli.options import Json
    from mlgit.cli.output import Styled


    def tip(
        context: Context,
        revision: Annotated[str, typer.Argument(help="A branch, a tag or an id.")] = "HEAD",
        *,
        full: Annotated[bool, typer.Option("--full", help="Print the whole id.")] = False,
        json: Json = False,
    ) -> None:
        """Show the commit that a revision names.

        The first line above is the summary in `mlgit --help`; all of it is `mlgit tip --help`.
        """
        commit_id = context.repository().resolve(revision)
        if json:
            context.output.json({"id": commit_id})
        else:
            context.output.line(Styled(commit_id if full else commit_id.short, "id"))

and one row in ``VERBS`` of ``mlgit/cli/main.py``: ``"tip": "mlgit.cli.tip:tip"``. That is all:

- ``context`` (``mlgit.cli.context``) has the directory, the repository, the actor, the output and the progress. Every
  verb gets ``-q``, ``-v`` and ``--help``; ``--json`` is declared, because only verbs that read have it.
- Import porcelain inside the body: `mlgit log` imports what log needs, and `mlgit --help` imports every verb's file.
- Print with ``context.output`` only. ``line``, ``block``, ``table``, ``json``, ``data`` are data, on stdout; ``note``,
  ``detail`` and ``warn`` are for people, on stderr. Hand over text as it is: it is cleaned there, always.
- Numbers in a table stand right with ``Column("size", right=True)`` (``mlgit.cli.output``).
- Options that several verbs share stand in a frozen dataclass: a parameter of that type, ``flags: TrainingFlags``,
  becomes one option per field.
- Raise errors of ``mlgit.errors`` and let the others pass; ``main`` prints them and returns the exit code. A verb that
  prints its own answer may return an exit code instead.
- Verbs below a verb: ``task = Group("Define tasks", {"add": add, "list": list_tasks})`` (``mlgit.cli.verb``).
- Test with the fixtures ``mlgit("tip", "--json")`` and ``terminal("tip")`` of ``tests/cli/conftest.py``.
'''
