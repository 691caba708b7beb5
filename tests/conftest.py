"""What all tests share: Hypothesis profiles, and one thread for torch so that numbers and times repeat."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Before anything imports torch: several test processes with several threads each only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]  # machines are small and busy: no test is timed
settings.register_profile("default", deadline=None, max_examples=50, suppress_health_check=_SLOW)
settings.register_profile("ci", deadline=None, max_examples=50, suppress_health_check=_SLOW, derandomize=True)
settings.register_profile("nightly", deadline=None, max_examples=1000, suppress_health_check=_SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))
