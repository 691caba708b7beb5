"""mlgit with trouble at one chosen call of the operating system: killed there, or refused."""

from faulty.client import PLAIN, Done, Plan, Program, build_shim

__all__ = ["PLAIN", "Done", "Plan", "Program", "build_shim"]
