"""Where the program starts and where every error ends; the table of verbs."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

READER_GONE = 141
"""Exit code of a program that died of SIGPIPE, as git does when ``git log | head`` has seen enough."""

GARBAGE_AFTER = 10_000
"""After how many new objects Python looks for garbage: its own 700 are reached again and again by imports alone."""

VERBS: Mapping[str, Mapping[str, str]] = {
    "start a repository": {
        "init": "mlgit.cli.init:init",
        "clone": "mlgit.cli.clone:clone",
        "import": "mlgit.cli.import_:import_",
        "demo": "mlgit.cli.demo:demo",
    },
    "look at the state and the history": {
        "status": "mlgit.cli.status:status",
        "log": "mlgit.cli.log:log",
        "show": "mlgit.cli.show:show",
        "diff": "mlgit.cli.diff:diff",
        "ls-tree": "mlgit.cli.ls_tree:ls_tree",
        "cat-file": "mlgit.cli.cat_file:cat_file",
        "fsck": "mlgit.cli.fsck:fsck",
        "merge-base": "mlgit.cli.merge_base:merge_base",
        "reflog": "mlgit.cli.reflog:reflog",
        "du": "mlgit.cli.du:du",
        "gc": "mlgit.cli.gc:gc",
        "repack": "mlgit.cli.repack:repack",
    },
    "grow, mark and tweak the history": {
        "commit": "mlgit.cli.commit:commit",
        "branch": "mlgit.cli.branch:branch",
        "switch": "mlgit.cli.switch:switch",
        "tag": "mlgit.cli.tag:tag",
        "restore": "mlgit.cli.restore:restore",
        "reset": "mlgit.cli.reset:reset",
        "undo": "mlgit.cli.undo:undo",
        "stash": "mlgit.cli.stash:stash",
        "export": "mlgit.cli.export:export",
    },
    "train": {
        "task": "mlgit.cli.task:task",
        "probe": "mlgit.cli.probe:probe",
        "train": "mlgit.cli.train:train",
        "sweep": "mlgit.cli.sweep:sweep",
        "recipe": "mlgit.cli.recipe:recipe",
        "run": "mlgit.cli.run:run",
        "evaluate": "mlgit.cli.evaluate:evaluate",
    },
    "merge and judge": {
        "merge": "mlgit.cli.merge:merge",
        "lmc": "mlgit.cli.lmc:lmc",
        "diversity": "mlgit.cli.diversity:diversity",
        "certify": "mlgit.cli.certify:certify",
    },
    "everything else": {
        "config": "mlgit.cli.config:config",
        "help": "mlgit.cli.help:show_help",
        "version": "mlgit.cli.version:version",
    },
}
"""Panel of ``mlgit --help`` -> verb -> where it is; nothing is imported before it is used."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run mlgit.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        The exit code; ``mlgit.errors`` lists them.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except SystemExit as stop:  # completion ends so
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt as stop:
        return _fail(stop, arguments)
    except Exception as error:  # noqa: BLE001 - the one place where everything ends, bugs too
        return _fail(error, arguments)


def run() -> NoReturn:
    """Start from the console: run mlgit on the process's arguments and exit."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - lives as long as the process
            setattr(sys, name, stream)
        elif stream.fileno() == descriptor:
            stream.reconfigure(errors="backslashreplace")  # a terminal of few characters shows the others escaped
    gc.set_threshold(GARBAGE_AFTER)
    try:
        code = main()
        _finish_undisturbed()
    finally:
        if "torch" not in sys.modules:  # triton, which it brings, complains at length about objects left at the end
            gc.freeze()  # the process ends: no use in a search for garbage among all that was imported
    sys.exit(code)


def _finish_undisturbed() -> None:
    """Ignore Ctrl-C while Python takes itself down: what the command did is done, and its exit code has to say so."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run(arguments: Sequence[str]) -> int:
    # Imported here, not above, so that an interrupt during the import is handled too.
    from mlgit.cli.frame import dispatch
    from mlgit.cli.output import writing
    from mlgit.cli.signals import stopping_cleanly

    with stopping_cleanly():
        code = dispatch(arguments, VERBS)
        with writing():
            sys.stdout.flush()
    return code


def _fail(error: BaseException, arguments: Sequence[str]) -> int:
    from mlgit.cli import failures

    gone = isinstance(error, BrokenPipeError) and failures.reader_is_gone()
    try:
        sys.stdout.flush()  # what was printed before stands before the error
    except (OSError, ValueError):
        failures.discard_stdout()
    if gone:
        return READER_GONE
    return failures.report(
        error,
        arguments,
        as_json=asks_for_json(arguments),
        color=not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
        debug=os.environ.get("MLGIT_DEBUG", "0") not in ("", "0"),
    )


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether ``--json`` is among the options; known even when the arguments cannot be parsed."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options
