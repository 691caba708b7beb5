"""Ways to combine weights, and the measurements that say whether combining them makes sense.

Strategies (``uniform``, ``greedy``, ``fusing``, ``wise``) turn candidates into one state dict; ``connectivity``
measures the accuracy on the straight line between models, ``diversity`` how differently they err. All of them see the
data through one function that scores weights: tasks, training, certification and repositories are not known here.
Importing this package costs no torch: the table of names is text.
"""

from mlgit.merging.registry import MERGE_STRATEGIES

__all__ = ["MERGE_STRATEGIES"]
