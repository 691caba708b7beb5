"""Where jobs run: in this process, in several, later on many machines.

A job is an argument list of mlgit, the commit it starts from, and what it needs; its identity is the hash of the first
two. What a job computes is not known here: tasks, models, training and repositories are left to the program that is
run, and torch is never imported. Importing this package costs nothing: the table of names is text.
"""

from mlgit.executors.registry import EXECUTORS

__all__ = ["EXECUTORS"]
