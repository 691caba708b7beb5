from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlgit.errors import InvalidInputError
from mlgit.executors.executor import Workplace
from mlgit.executors.inline import InlineExecutor
from mlgit.testing.executor import assert_ended, job, processes_in

HANGING = """
import sys
from pathlib import Path
from mlgit.executors.executor import Workplace
from mlgit.executors.process import ProcessExecutor
from mlgit.testing.executor import job

root = Path(sys.argv[1])
place = Workplace(directory=root, logs=root / "logs", program="mlgit.testing.job_program:main")
ProcessExecutor(place, at_once=2).execute([job("hang", root / "a"), job("hang", root / "b")])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_jobs_end_with_the_process_that_executes_them(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", HANGING, str(tmp_path)], stderr=subprocess.DEVNULL) as process:
        processes = [found for name in "ab" for found in processes_in(tmp_path / name)]
        process.send_signal(number)
        process.wait(60)
    assert_ended(processes)


def test_a_request_to_stop_that_a_job_has_answered_stops_the_other_jobs_too(tmp_path: Path) -> None:
    place = Workplace(directory=tmp_path, logs=tmp_path / "logs", program="mlgit.testing.job_program:main")
    with pytest.raises(KeyboardInterrupt):
        InlineExecutor(place).execute([job("fail", 130), job("write", tmp_path / "lines", "x")])
    assert not (tmp_path / "lines").exists()


def test_one_process_cannot_run_several_jobs_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="not 2 at once"):
        InlineExecutor(Workplace(directory=tmp_path, logs=tmp_path), at_once=2)
