"""Weights and a split in, predictions and scores out.

The module and the decoded images stay loaded while weights are swapped, so that a merge strategy, a measurement along
a path or a certificate pays for the forward passes and nothing else. What the scores are used for is not known here:
neither merging nor training nor certification is imported. The names live in the modules (``evaluator``, ``score``,
``statistics``, ``loaded``, ``determinism``), because each of them imports torch.
"""
