"""The table of executors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlgit.registry import Registry

if TYPE_CHECKING:  # naming the executors must not import them
    from mlgit.executors.executor import Executor

EXECUTORS: Registry[type[Executor]] = Registry(
    noun="executor",
    group="mlgit.executors",
    builtin={
        "inline": "mlgit.executors.inline:InlineExecutor",
        "process": "mlgit.executors.process:ProcessExecutor",
    },
)
