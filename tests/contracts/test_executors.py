from __future__ import annotations

from mlgit.executors import EXECUTORS
from mlgit.executors.executor import Executor, Workplace
from mlgit.executors.inline import InlineExecutor
from mlgit.executors.process import ProcessExecutor
from mlgit.testing.executor import ExecutorContract


class TestInline(ExecutorContract):
    def executor(self, workplace: Workplace, at_once: int = 1) -> Executor:
        return InlineExecutor(workplace, at_once=at_once)


class TestProcess(ExecutorContract):
    def executor(self, workplace: Workplace, at_once: int = 1) -> Executor:
        return ProcessExecutor(workplace, at_once=at_once)


def test_every_executor_in_the_table_has_passed_the_contract() -> None:
    assert {EXECUTORS.get(name) for name in EXECUTORS.names()} == {InlineExecutor, ProcessExecutor}
