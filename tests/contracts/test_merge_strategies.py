from __future__ import annotations

from mlgit.merging import MERGE_STRATEGIES
from mlgit.merging.fusing import Fusing
from mlgit.merging.greedy import GreedySoup
from mlgit.merging.strategy import MergeStrategy
from mlgit.merging.uniform import UniformAverage
from mlgit.testing.merge_strategy import MergeStrategyContract


class TestUniform(MergeStrategyContract):
    def strategy(self) -> MergeStrategy:
        return UniformAverage()


class TestGreedy(MergeStrategyContract):
    def strategy(self) -> MergeStrategy:
        return GreedySoup()


class TestFusing(MergeStrategyContract):
    def strategy(self) -> MergeStrategy:
        return Fusing(seed=11)


def test_every_strategy_in_the_table_has_passed_the_contract() -> None:
    tested = {type(contract().strategy()) for contract in (TestUniform, TestGreedy, TestFusing)}
    assert tested == {MERGE_STRATEGIES.get(name) for name in MERGE_STRATEGIES.names()}
