from __future__ import annotations

from mlgit.merging import MERGE_STRATEGIES
from mlgit.merging.fusing import Fusing
from mlgit.merging.greedy import GreedySoup
from mlgit.merging.strategy import MergeStrategy
from mlgit.merging.uniform import UniformAverage
from mlgit.merging.wise import WiseInterpolation
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


class TestWise(MergeStrategyContract):
    def strategy(self) -> MergeStrategy:
        return WiseInterpolation(pretrained="model-0")


class TestWiseWithAFixedShare(MergeStrategyContract):
    def strategy(self) -> MergeStrategy:
        return WiseInterpolation(pretrained="model-1", share=0.3)


def test_every_strategy_in_the_table_has_passed_the_contract() -> None:
    tested = {type(contract().strategy()) for contract in (TestUniform, TestGreedy, TestFusing, TestWise)}
    assert tested == {MERGE_STRATEGIES.get(name) for name in MERGE_STRATEGIES.names()}
