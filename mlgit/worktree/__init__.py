"""The files of a model directory: what is tracked, what changed, and how a commit is put back on disk.

Knows repositories and file layouts; knows no torch, no tasks and no history.
"""
