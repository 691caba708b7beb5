"""Options that several verbs share, so that they are called, and explained, the same everywhere.

``-q`` and ``-v`` are not declared by verbs: every verb has them (see ``mlgit.cli.verb``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
"""On every reading verb; ``context.output.as_json`` says the same. Errors and warnings become JSON too."""

Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors, warnings and what was asked for only.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Tell more of what is done.")]

Directory = Annotated[
    list[Path] | None,
    typer.Option("-C", "--directory", metavar="DIR", help="Run as if started in DIR; may be repeated."),
]
"""Stands before the verb, as in git; a second one is relative to the first."""

DryRun = Annotated[bool, typer.Option("-n", "--dry-run", help="Say what would be done, and do nothing.")]
Force = Annotated[bool, typer.Option("-f", "--force", help="Do it although a check advises against it.")]
