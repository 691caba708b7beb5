"""Random days of work, against dictionaries too simple to be wrong."""

from __future__ import annotations

from hypothesis import settings
from random_histories import RandomHistories

RandomHistories.TestCase.settings = settings(max_examples=max(1, settings().max_examples // 2), stateful_step_count=30)
TestRandomHistories = RandomHistories.TestCase
