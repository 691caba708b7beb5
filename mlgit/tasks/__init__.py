"""Tasks: labelled images in domains, how they are split, and digests that say whether data are the same.

Knows data and nothing of training, merging or certificates. Reading and writing definitions imports no torch; opening
a task does. What may be selected on and what may not are different types, ``ValidationSplit`` and ``TestSplit``.
"""

from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.kinds import TASK_KINDS

__all__ = ["TASK_KINDS", "TaskDefinition"]
