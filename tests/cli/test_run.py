"""Scripts that know nothing of mlgit: what they are given, what is taken from them, and what a failure leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mlgit import Repository
from mlgit.porcelain.script_folder import ScriptFolder

TRAIN = """\
import argparse, json
from safetensors.numpy import load_file, save_file
parser = argparse.ArgumentParser()
parser.add_argument("--weights")
parser.add_argument("--out")
parser.add_argument("--metrics")
parser.add_argument("--lr", type=float, default=1.0)
given = parser.parse_args()
weights = {name: value + given.lr for name, value in load_file(given.weights).items()}
save_file(weights, given.out)
if given.metrics:
    json.dump({"loss": 0.25, "val": {"accuracy": 1}}, open(given.metrics, "w"))
print("trained")
"""


@pytest.fixture
def mlgit(mlgit: Callable) -> Callable:
    """Run mlgit in this process; arguments may be paths."""
    return lambda *arguments: mlgit(*map(str, arguments))


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlgit: Callable) -> Path:
    """Stand in a repository with one commit of a small model and a note."""
    root = tmp_path / "model"
    assert mlgit("init", root).exit_code == 0
    monkeypatch.chdir(root)
    save_file({"a": np.zeros((2, 3), np.float32), "b": np.ones(4, np.float32)}, root / "model.safetensors")
    (root / "notes.txt").write_text("hello\n")
    assert mlgit("commit", "-m", "start").exit_code == 0
    return root


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """Write a script beside the repository."""

    def write(text: str) -> Path:
        folder = tmp_path / "code"
        folder.mkdir(exist_ok=True)
        path = folder / "train.py"
        path.write_text(text)
        return path

    return write


def head(mlgit: Callable) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(mlgit("show", "--json").stdout)["commit"]
    return document


def count(mlgit: Callable) -> int:
    return len(json.loads(mlgit("log", "--json").stdout)["commits"])


def test_a_script_that_knows_nothing_of_mlgit_makes_a_commit_with_its_provenance(
    mlgit: Callable, model: Path, script: Callable
) -> None:
    before = head(mlgit)["id"]
    path = script(TRAIN)
    options = ["--weights", "{weights}", "--out", "{output}/new.safetensors", "--metrics", "{metrics}", "--lr", "2"]
    ran = mlgit("run", "--seed", "5", "-m", "add two", "--", sys.executable, path, *options)
    assert ran.exit_code == 0, ran.stderr
    assert ran.stdout.startswith("trained\n")
    commit = head(mlgit)
    assert commit["parents"] == [{"coefficient": None, "id": before, "role": "init"}]
    assert (commit["message"], commit["stage"]) == ("add two", "snapshot")
    assert commit["metrics"] == {"loss": 0.25, "val/accuracy": 1.0}
    made = commit["made"]
    assert made["arguments"] == [sys.executable, str(path), *options], "as written, not as filled in"
    assert (made["command"], made["exit_code"], made["seed"]) == ("run", 0, 5)
    assert made["code"]["script"] == "train.py"
    assert len(made["code"]["sha256"]) == 64
    assert made["duration_s"] > 0
    assert {"numpy", "torch", "python", "mlgit"} <= set(made["packages"])
    assert made["device"]["type"]
    assert "changed_form" not in made
    weights = load_file(model / "model.safetensors")
    assert (weights["a"] == 2).all()
    assert (weights["b"] == 3).all()
    assert mlgit("status", "--json").stdout.count('"path"') == 0
    assert not list((model / ".mlgit" / "runs").iterdir())


def test_variables_say_what_braces_say_and_the_working_files_are_not_what_the_script_gets(
    mlgit: Callable, model: Path, script: Callable
) -> None:
    path = script(
        "import os, pathlib, shutil, sys\n"
        "given, out = pathlib.Path(os.environ['MLGIT_INPUT']), pathlib.Path(os.environ['MLGIT_OUTPUT'])\n"
        "assert [str(given), str(out), os.environ['MLGIT_METRICS'], os.environ['MLGIT_WEIGHTS']] == sys.argv[1:5]\n"
        "assert sorted(path.name for path in given.iterdir()) == ['model.safetensors', 'notes.txt']\n"
        "assert not list(out.iterdir()) and given.resolve() != pathlib.Path.cwd()\n"
        "assert 'MLGIT_SEED' not in os.environ and sys.argv[5] == '{other} {\"a\": 1}'\n"
        "(given / 'notes.txt').write_text('changed')\n"
        "assert pathlib.Path('notes.txt').read_text() == 'hello\\n'\n"
        "import torch\n"
        "torch.save({'a': torch.full((2, 3), 7.0), 'b': torch.ones(4)}, out / 'final.pt')\n"
    )
    places = ["{input}", "{output}", "{metrics}", "{weights}", '{other} {"a": 1}']
    ran = mlgit("run", "--", sys.executable, path, *places)
    assert ran.exit_code == 0, ran.stderr
    assert (load_file(model / "model.safetensors")["a"] == 7).all()
    assert (model / "notes.txt").read_text() == "hello\n"
    assert head(mlgit)["message"].startswith("run ")


@pytest.mark.parametrize("as_pt", [False, True])
def test_weights_changed_in_their_place_are_taken(mlgit: Callable, model: Path, script: Callable, as_pt: bool) -> None:
    path = script(
        "import sys, torch\n"
        "from safetensors.torch import load_file, save_file\n"
        "place = sys.argv[1]\n"
        "weights = torch.load(place) if place.endswith('.pt') else load_file(place)\n"
        "weights['a'] += 1\n"
        "torch.save(weights, place) if place.endswith('.pt') else save_file(weights, place)\n"
    )
    option = ["--pt"] if as_pt else []
    ran = mlgit("run", *option, "--", sys.executable, path, "{weights}")
    assert ran.exit_code == 0, ran.stderr
    assert (load_file(model / "model.safetensors")["a"] == 1).all()


def test_the_input_may_be_another_commit_than_the_one_the_branch_is_at(
    mlgit: Callable, model: Path, script: Callable
) -> None:
    first = head(mlgit)["id"]
    save_file({"a": np.full((2, 3), 50, np.float32), "b": np.ones(4, np.float32)}, model / "model.safetensors")
    assert mlgit("commit", "-m", "fifty").exit_code == 0
    second = head(mlgit)["id"]
    command = [sys.executable, script(TRAIN), "--weights", "{weights}", "--out", "{output}/w.safetensors"]
    assert mlgit("run", "--input", "HEAD~1", "--stage", "auxiliary", "--", *command).exit_code == 0
    commit = head(mlgit)
    assert [(parent["id"], parent["role"]) for parent in commit["parents"]] == [(second, "base"), (first, "init")]
    assert commit["stage"] == "auxiliary"
    assert (load_file(model / "model.safetensors")["a"] == 1).all()


def test_other_names_and_shapes_are_taken_and_recorded(mlgit: Callable, model: Path, script: Callable) -> None:
    path = script(
        "import os, numpy as np\n"
        "from safetensors.numpy import save_file\n"
        "save_file({'a': np.zeros(5), 'c': np.zeros(1)}, os.environ['MLGIT_OUTPUT'] + '/w.safetensors')\n"
    )
    ran = mlgit("run", "--", sys.executable, path)
    assert ran.exit_code == 0, ran.stderr
    assert "1 added, 1 removed, 1 reshaped" in ran.stderr
    assert head(mlgit)["made"]["changed_form"] == {"added": 1, "removed": 1, "reshaped": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import sys; print('oh'); print('dear', file=sys.stderr); sys.exit(3)", "exit code 3"),
        ("import os; print('oh', 'dear', flush=True, sep='\\n'); os.kill(os.getpid(), 9)", "signal SIGKILL"),
    ],
)
def test_a_script_that_fails_commits_nothing_and_its_log_is_named(
    mlgit: Callable, model: Path, script: Callable, text: str, said: str
) -> None:
    before, files = count(mlgit), {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()}
    ran = mlgit("run", "--", sys.executable, script(text))
    assert ran.exit_code == 15
    assert f"error: the script ended with {said}; nothing was committed" in ran.stderr
    log = Path(ran.stderr.split("what it printed is in '")[1].split("'")[0])
    assert sorted(log.read_text().split()) == ["dear", "oh"]
    assert [path.name for path in log.parent.iterdir()] == ["log"], "no copies of weights are left"
    assert count(mlgit) == before
    assert {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()} == files


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pass", "left no weights"),
        ("open(OUT + '/w.pt', 'wb').write(b'rubbish')", "not a readable checkpoint"),
        ("open(OUT + '/w.safetensors', 'wb').write(b'12345678')", "w.safetensors"),
        ("open(OUT + '/readme.txt', 'w').write('no weights')", "holds no weights"),
        ("import torch, pathlib; torch.save({'a': pathlib.Path()}, OUT + '/w.pt')", "was not read"),
        (
            TRAIN[TRAIN.index("from") : TRAIN.index("parser")] + "SAVE; open(METRICS, 'w').write('{\"a\": NaN}')",
            "finite",
        ),
        ("SAVE; open(METRICS, 'w').write('[1]')", "not an object"),
        ("SAVE; open(METRICS, 'w').write('{\"a\": true}')", "finite"),
        ("SAVE; open(METRICS, 'w').write('{')", "not JSON"),
    ],
)
def test_what_cannot_be_read_is_kept_and_named(
    mlgit: Callable, model: Path, script: Callable, text: str, said: str
) -> None:
    start = "import os\nOUT, METRICS = os.environ['MLGIT_OUTPUT'], os.environ['MLGIT_METRICS']\n"
    before = count(mlgit)
    ran = mlgit("run", "--", sys.executable, script(start + text.replace("SAVE", _save())))
    assert ran.exit_code == 2
    assert said in ran.stderr
    kept = Path(ran.stderr.split("what the script left is in '")[1].split("'")[0])
    assert {path.name for path in kept.iterdir()} >= {"input", "output", "log"}
    assert count(mlgit) == before


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--", "no-such-program-anywhere"], 10, "no program 'no-such-program-anywhere'"),
        (["--", "echo", "{seed}"], 2, "--seed"),
        (["--", "echo", "{task}"], 2, "--task"),
        (["--task", "nothing", "--", "echo"], 10, "no task is named 'nothing'"),
        (["--input", "nowhere", "--", "echo"], 10, "nowhere"),
        (["-m", " ", "--", "echo"], 2, "message"),
        (["--stage", "merge", "--", "echo"], 2, "merge"),
    ],
)
def test_what_cannot_be_run_leaves_nothing(
    mlgit: Callable, model: Path, arguments: list[str], code: int, said: str
) -> None:
    ran = mlgit("run", *arguments)
    assert (ran.exit_code, said in ran.stderr) == (code, True), ran.stderr
    runs = model / ".mlgit" / "runs"
    assert not runs.exists() or not list(runs.iterdir())


def test_a_log_that_cannot_be_made_is_one_clear_error(
    mlgit: Callable, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScriptFolder, "log", property(lambda folder: folder.path / "missing" / "log"))
    ran = mlgit("run", "--", sys.executable, "-c", "")
    assert ran.exit_code == 16
    error, hint = ran.stderr.splitlines()
    assert error.startswith("error: cannot create '")
    assert error.endswith("missing/log': no such file or directory")
    assert hint.startswith("hint: nothing was changed")
    assert list((model / ".mlgit/runs").iterdir()) == []


def test_weights_that_no_commit_holds_are_never_replaced(mlgit: Callable, model: Path, script: Callable) -> None:
    save_file({"a": np.full((2, 3), 9, np.float32)}, model / "model.safetensors")
    ran = mlgit("run", "--", sys.executable, script("raise SystemExit('it ran')"))
    assert (ran.exit_code, "it ran" in ran.stderr) == (12, False)


def test_a_branch_that_moved_meanwhile_keeps_what_the_script_left(
    mlgit: Callable, model: Path, script: Callable
) -> None:
    move = "subprocess.run([sys.executable, '-m', 'mlgit', 'switch', '-c', 'x'], check=True)\n"
    ran = mlgit("run", "--", sys.executable, script(f"import os, subprocess, sys\n{move}{_save()}"))
    assert ran.exit_code == 12, ran.stderr
    assert "HEAD moved" in ran.stderr
    kept = Path(ran.stderr.split("what the script left is in '")[1].split("'")[0])
    assert (kept / "output" / "w.safetensors").exists()
    assert count(mlgit) == 1


def _save() -> str:
    return (
        "import numpy as np; from safetensors.numpy import save_file; "
        "save_file({'a': np.ones(2)}, os.environ['MLGIT_OUTPUT'] + '/w.safetensors')"
    )


def test_the_git_commit_of_the_code_and_what_differs_from_it_are_recorded(
    mlgit: Callable, model: Path, script: Callable
) -> None:
    path = script("import os; " + _save())
    git = ["git", "-C", str(path.parent), "-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgSign=false"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "code"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert mlgit("run", "--", sys.executable, path).exit_code == 0
    clean = head(mlgit)["made"]["code"]
    assert (clean["commit"], clean["dirty"], clean["untracked"], "diff" in clean) == (commit, False, 0, False)
    path.write_text(path.read_text() + "\nPASSWORD = 'hush'\n")
    (path.parent / "new.txt").write_text("untracked")
    assert mlgit("run", "--", sys.executable, path).exit_code == 0
    dirty = head(mlgit)["made"]["code"]
    assert (dirty["commit"], dirty["dirty"], dirty["untracked"]) == (commit, True, 1)
    assert "+PASSWORD = 'hush'\n" in dirty["diff"]
    assert dirty["diff_bytes"] == len(dirty["diff"].encode())
    assert mlgit("run", "--no-diff", "--", sys.executable, path).exit_code == 0
    assert "hush" not in mlgit("show", "--json").stdout
    assert head(mlgit)["made"]["code"]["diff_sha256"] == dirty["diff_sha256"]
    path.write_text(path.read_text() + "#" * 70_000)
    assert mlgit("run", "--", sys.executable, path).exit_code == 0
    long = head(mlgit)["made"]["code"]
    assert long["diff_bytes"] > 70_000
    assert "diff" not in long


def test_ctrl_c_stops_the_script_and_what_it_started_and_commits_nothing(
    mlgit: Callable, model: Path, script: Callable, tmp_path: Path
) -> None:
    path = script(
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-m", "mlgit", "run", "--", sys.executable, str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        for _ in range(3000):
            if (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().count(" "):
                break
            time.sleep(0.02)
        pids = [int(text) for text in (tmp_path / "pids").read_text().split()]
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 130, error
    assert "interrupted" in error
    assert all(_ended(pid) for pid in pids)
    assert count(mlgit) == 1
    assert not list((model / ".mlgit" / "runs").iterdir())


def _ended(pid: int) -> bool:
    """Say whether a process has ended; one that nobody waited for yet counts."""
    for _ in range(500):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


def test_the_first_commit_may_come_from_a_script(
    mlgit: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Callable
) -> None:
    assert mlgit("init", tmp_path / "new").exit_code == 0
    monkeypatch.chdir(tmp_path / "new")
    ran = mlgit("run", "--", sys.executable, script("import os; " + _save()))
    assert ran.exit_code == 0, ran.stderr
    assert (head(mlgit)["stage"], head(mlgit)["parents"]) == ("pretrain", [])


OURS = """\
import numpy as np

def waves(data):
    random = np.random.default_rng(0)
    labels = np.arange(20) % 2
    return {"domains": {name: (random.normal(size=(20, 1, 2, 2)), labels) for name in "abc"}}
"""


@pytest.mark.parametrize(("domain", "stage"), [(["--test-domain", "c"], "target"), ([], "auxiliary")])
def test_a_task_is_handed_on_and_recorded_with_the_digest_of_its_data(
    mlgit: Callable, model: Path, script: Callable, domain: list[str], stage: str
) -> None:
    (model / "ours.py").write_text(OURS)
    (model / "data").mkdir()
    kind = ["--kind", "python:ours:waves", "--data", "data", "--trust-code"]
    assert mlgit("task", "add", "waves", *kind, *domain).exit_code == 0
    assert mlgit("commit", "-m", "define the task").exit_code == 0
    check = (
        "import os, sys; assert sys.argv[1:] == [os.environ['MLGIT_TASK'], os.environ['MLGIT_DATA']]\n"
        "assert sys.argv[1] == 'waves' and os.path.isdir(sys.argv[2])\n"
    )
    command = [sys.executable, script(check + _save()), "{task}", "{data}"]
    refused = mlgit("run", "--task", "waves", "--", *command)
    assert (refused.exit_code, "--trust-code" in refused.stderr) == (2, True)
    ran = mlgit("run", "--task", "waves", "--trust-code", "--", *command)
    assert ran.exit_code == 0, ran.stderr
    commit = head(mlgit)
    assert (commit["stage"], commit["task"]["name"]) == (stage, "waves")
    assert len(commit["made"]["data_digest"]) == 64


def test_weights_that_saw_the_test_domain_are_not_handed_to_a_script(
    mlgit: Callable, model: Path, script: Callable
) -> None:
    (model / "ours.py").write_text(OURS)
    for name, domain in (("all", []), ("waves", ["--test-domain", "c"])):
        kind = ["--kind", "python:ours:waves", "--trust-code"]
        assert mlgit("task", "add", name, *kind, *domain).exit_code == 0
    assert mlgit("commit", "-m", "define the tasks").exit_code == 0
    path = script("import os; " + _save())
    assert mlgit("run", "--task", "all", "--trust-code", "--", sys.executable, path).exit_code == 0
    refused = mlgit("run", "--task", "waves", "--trust-code", "--", sys.executable, path)
    assert refused.exit_code == 2, refused.stderr
    assert "c" in refused.stderr


def test_the_library_runs_a_script_too(model: Path, script: Callable) -> None:
    path = script("import os; print('quiet'); " + _save())
    outcome = Repository(model).run([sys.executable, str(path)], "from Python", environment=os.environ)
    assert outcome.commit.commit.subject == "from Python"
    assert outcome.changed_form == {"removed": 1, "reshaped": 1}
    assert outcome.duration_s > 0


KILLED = """\
import os, sys
from mlgit.cli.main import main
from mlgit.repository import Repository
Repository.advance = lambda *_, **__: os._exit(9)
main(sys.argv[1:])
"""


def test_a_run_killed_when_its_weights_are_in_place_leaves_nothing_and_can_be_repeated(
    mlgit: Callable, model: Path, script: Callable
) -> None:
    options = ["--weights", "{weights}", "--out", "{output}/w.safetensors"]
    command = ["run", "--", sys.executable, str(script(TRAIN)), *options]
    assert subprocess.run([sys.executable, "-c", KILLED, *command], check=False).returncode == 9
    assert (load_file(model / "model.safetensors")["a"] == 1).all(), "put in place just before"
    assert json.loads(mlgit("status", "--json").stdout)["changes"] == []
    assert (load_file(model / "model.safetensors")["a"] == 0).all()
    assert count(mlgit) == 1
    ran = mlgit(*command)
    assert ran.exit_code == 0, ran.stderr
    assert (load_file(model / "model.safetensors")["a"] == 1).all()
    assert not list((model / ".mlgit" / "runs").iterdir())


def test_other_working_files_are_committed_with_the_weights_as_they_are(
    mlgit: Callable, model: Path, script: Callable
) -> None:
    (model / "notes.txt").write_text("changed\n")
    (model / "new.txt").write_text("new\n")
    (model / "model.safetensors").unlink()
    command = [sys.executable, str(script(TRAIN)), "--weights", "{weights}", "--out", "{output}/w.safetensors"]
    done = Repository(model).run(command, environment=os.environ).commit
    assert [change.path for change in done.changes] == ["model.safetensors", "new.txt", "notes.txt"]
    assert json.loads(mlgit("status", "--json").stdout)["changes"] == []
    assert (load_file(model / "model.safetensors")["a"] == 1).all()
    assert mlgit("switch", "--detach", "HEAD~1").exit_code == 0
    assert mlgit("switch", "main").exit_code == 0
    assert (model / "notes.txt").read_text() == "changed\n"
    assert (load_file(model / "model.safetensors")["a"] == 1).all()


def test_a_file_that_no_commit_may_hold_is_not_written_over(mlgit: Callable, model: Path, script: Callable) -> None:
    (model / "model.safetensors").rename(model / "w.safetensors")
    (model / ".mlgitignore").write_text("model.safetensors\n")
    assert mlgit("commit", "-m", "renamed").exit_code == 0
    (model / "model.safetensors").write_bytes(b"mine")
    ran = mlgit("run", "--", sys.executable, script("import os; " + _save()))
    assert ran.exit_code == 12, ran.stderr
    assert "'model.safetensors' is not tracked and would be overwritten" in ran.stderr
    assert "what the script left is in" in ran.stderr
    assert (model / "model.safetensors").read_bytes() == b"mine"
    assert count(mlgit) == 2


def test_a_folder_that_a_run_made_just_before_it_was_killed_is_removed_too(
    mlgit: Callable, model: Path, script: Callable
) -> None:
    runs = model / ".mlgit" / "runs"
    for name, parts in {"begun": (), "half": ("input", "output"), "kept": ("log",)}.items():
        (runs / name).mkdir(parents=True)
        for part in parts:
            (runs / name / part).touch()
    assert mlgit("run", "--", sys.executable, script("raise SystemExit(1)")).exit_code == 15
    assert (runs / "kept").exists()
    assert not (runs / "begun").exists()
    assert not (runs / "half").exists()


def test_what_a_killed_run_left_is_removed_by_the_next_one_and_only_that(
    mlgit: Callable, model: Path, script: Callable, tmp_path: Path
) -> None:
    began = tmp_path / "began"
    path = script(
        "import os, pathlib, sys, time\n"
        f"pathlib.Path({str(began)!r}).write_text(f'{{os.getpid()}}.')\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-m", "mlgit", "run", "--", sys.executable, str(path)]
    process = subprocess.Popen(command, start_new_session=True)
    for _ in range(3000):
        if began.exists() and began.read_text().endswith("."):
            break
        time.sleep(0.02)
    runs = model / ".mlgit" / "runs"
    at_work = list(runs.iterdir())
    assert len(at_work) == 1
    assert mlgit("run", "--", sys.executable, script("raise SystemExit(1)")).exit_code == 15
    assert at_work[0].exists(), "its process lives"
    assert len(list(runs.iterdir())) == 2
    process.kill()
    process.wait()
    os.kill(int(began.read_text().removesuffix(".")), signal.SIGKILL)
    assert mlgit("run", "--", sys.executable, script("raise SystemExit(1)")).exit_code == 15
    assert not at_work[0].exists()
    assert [sorted(path.name for path in each.iterdir()) for each in runs.iterdir()] == [["log"], ["log"]]
