"""Weights: state dicts and checkpoint files on one side, manifests and stored tensors on the other.

Knows formats, dtypes and arithmetic; must not know tasks, modules, training or how a merge is chosen. ``header`` and
``compatibility`` work without torch; the other modules import it, so nothing is re-exported here.
"""
