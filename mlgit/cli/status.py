"""``mlgit status``."""

from __future__ import annotations

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.cli.output import Styled


def status(context: Context, *, json: Json = False) -> None:
    """Show what the next commit would record.

    Files that are as they were when HEAD was checked out or committed are not read.
    """
    from mlgit.cli.views import change_line, changes_json, metric_lines, skipped_json
    from mlgit.porcelain.status import status as compare
    from mlgit.repository import HEADS

    found = compare(context.repository(), progress=context.progress)
    branch = None if found.branch is None else found.branch.removeprefix(HEADS)
    run = found.run
    if json:
        waiting = None if run is None else {"task": run.task and run.task.name, "metrics": dict(run.metrics)}
        context.output.json(
            {
                "branch": branch,
                "head": found.head,
                "clean": found.clean,
                "changes": changes_json(found.changes),
                "skipped": skipped_json(found.skipped),
                "run": waiting,
            }
        )
        return
    output = context.output
    if branch is None:
        output.line("HEAD detached at ", Styled(found.head.short if found.head else "", "id"))
    else:
        output.line("on branch ", Styled(branch, "ref"), "" if found.head else ", no commits yet")
    for change in found.changes:
        output.line("  ", change_line(change))
    if run is not None and run.task is not None:
        output.line(f"a run on task '{run.task.name}' waits: ", f"`mlgit commit --task {run.task.name} -m …`")
        for line in metric_lines(run.metrics):
            output.line("  ", line)
    for item in found.skipped:
        output.line("  not tracked: ", item.path, " (", item.reason, ")")
    if found.clean:
        output.line("nothing to commit, working files clean")
