from __future__ import annotations

import importlib.machinery
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import types
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from mlgit import __version__
from mlgit.cli import main as frame
from mlgit.cli.verb import build, load

HEAVY = {
    "torch", "torchvision", "numpy", "networkx", "safetensors", "sklearn", "matplotlib", "tomlkit", "pathspec",
    "pydantic", "rich.table", "rich.progress",
}  # fmt: skip

HELP = """\
Usage: mlgit [OPTIONS] VERB [ARGS]...

  Keep the history of neural networks: commit, merge and certify weights.

Options:
  -C, --directory DIR   Run as if started in DIR; may be repeated.
  --version             Show the version and exit.
  --install-completion  Install completion for the current shell.
  --show-completion     Show completion for the current shell, to copy it or
                        customize the installation.
  -h, --help            Show this message and exit.

first panel:
  show   Print text somebody else chose, in every way there is
  fail   Fail in one of many ways
  thing  Keep things

second panel:
  wait   Wait to be stopped, and clean up
  many   Print more than a pipe holds
  data   Print bytes
  bars   Draw bars
  typed  Print the values of options of all types
  where  Print the context
  fork   Start a child as pools of workers do, terminate it, and print the
         signal it died of

  `mlgit VERB --help` explains a verb.
"""


def bash(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, **environment}
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, check=False, text=True, env=variables, timeout=60
    )


# --- version and help


@pytest.mark.parametrize("arguments", [["version"], ["--version"], ["version", "-q"]])
def test_version_prints_one_line(mlgit: Callable, arguments: list[str]) -> None:
    ran = mlgit(*arguments)
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, f"mlgit version {__version__}\n", "")


def test_version_as_json_names_what_a_report_needs(mlgit: Callable) -> None:
    ran = mlgit("version", "--json")
    document = json.loads(ran.stdout)
    assert list(document) == ["schema", "version", "python", "platform", "packages"]
    assert document["schema"] == 1
    assert document["version"] == __version__
    assert re.match(r"\d+\.\d+", document["packages"]["torch"])


def test_version_verbose_prints_the_same_as_lines(mlgit: Callable) -> None:
    lines = mlgit("version", "-v").stdout.splitlines()
    assert lines[0] == f"mlgit version {__version__}"
    assert [line.split(":")[0] for line in lines[1:3]] == ["python", "platform"]
    assert any(line.startswith("torch: ") for line in lines)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]])
def test_help_lists_every_verb_in_its_panel(
    mlgit: Callable, program: ModuleType, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    if arguments == ["help"]:
        monkeypatch.setitem(program.VERBS["empty panel"], "help", "mlgit.cli.help:show_help")
    ran = mlgit(*arguments)
    assert (ran.exit_code, ran.stderr) == (0, "")
    if arguments == ["help"]:
        assert "empty panel:\n  help   Explain mlgit or one of its verbs\n" in ran.stdout
    else:
        assert ran.stdout == HELP


def test_no_arguments_print_the_help_on_stderr_as_a_usage_error(mlgit: Callable, program: ModuleType) -> None:
    ran = mlgit()
    assert (ran.exit_code, ran.stdout, ran.stderr) == (2, "", HELP)


@pytest.mark.parametrize("arguments", [["thing", "add", "--help"], ["thing", "add", "-h"]])
def test_help_of_a_verb_tells_arguments_and_the_options_every_verb_has(
    mlgit: Callable, program: ModuleType, arguments: list[str]
) -> None:
    ran = mlgit(*arguments)
    assert ran.exit_code == 0
    assert ran.stdout == (
        "Usage: mlgit thing add [OPTIONS] {name}\n\n  Add a thing\n\n  More about it.\n\n"
        "Arguments:\n  name <str>  [required]\n\n"
        "Options:\n"
        "  -q, --quiet    Print errors, warnings and what was asked for only.\n"
        "  -v, --verbose  Tell more of what is done.\n"
        "  -h, --help     Show this message and exit.\n"
    )


def test_help_verb_explains_a_verb_and_knows_the_unknown(mlgit: Callable) -> None:
    assert mlgit("help", "version").stdout == mlgit("version", "--help").stdout
    ran = mlgit("help", "versoin")
    assert (ran.exit_code, ran.stderr) == (
        2, "error: 'versoin' is not a verb of mlgit\nhint: did you mean 'version'?\n"
    )  # fmt: skip


# --- every verb of the table


ROWS = [(name, row) for panel in frame.VERBS.values() for name, row in panel.items()]


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[name for name, _ in ROWS])
def test_every_verb_loads_and_has_a_summary_that_fits_the_help(name: str, row: str) -> None:
    summary = (load(name, row).help or "").partition("\n")[0]
    assert 5 < len(summary) <= 110  # two lines of the help
    assert summary[0].isupper()
    assert not summary.endswith(".")


def test_no_verb_stands_in_two_panels() -> None:
    names = [name for name, _ in ROWS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[name for name, _ in ROWS])
def test_every_verb_explains_itself(mlgit: Callable, name: str, row: str) -> None:
    ran = mlgit(name, "--help")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"Usage: mlgit {name} ")


def imported(*arguments: str, environment: dict[str, str] | None = None) -> set[str]:
    code = (
        "import sys\nfrom mlgit.cli.main import main\n"
        f"code = main({list(arguments)!r})\nprint(code, *sorted(sys.modules), file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    code_, *names = ran.stderr.split()
    assert code_ == "0", ran.stderr
    return set(names)


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["version"], ["version", "--json"], ["help"]])
def test_nothing_heavy_is_imported_before_it_is_needed(arguments: list[str]) -> None:
    names = imported(*arguments)
    assert not names & HEAVY
    assert "typer" in names


def test_a_verb_imports_no_other_verb() -> None:
    assert {name for name in imported("version") if name.startswith("mlgit.cli.")} == {
        f"mlgit.cli.{name}"
        for name in (
            "coercion", "commands", "context", "frame", "main", "options", "output", "signals", "style",
            "text", "verb", "version",
        )
    }  # fmt: skip


# --- usage errors


def explained(command: str) -> str:
    return f"hint: `{command} --help` explains it\n"


@pytest.mark.parametrize(
    ("arguments", "stderr"),
    [
        (["shwo"], "error: 'shwo' is not a verb of mlgit\nhint: did you mean 'show'?\n"),
        (["xyzzy"], "error: 'xyzzy' is not a verb of mlgit\nhint: `mlgit --help` lists them\n"),
        (["\x1b[2J\u202e"], "error: '\\x1b[2J\\u202e' is not a verb of mlgit\nhint: `mlgit --help` lists them\n"),
        (["show"], "error: missing argument 'number'\n" + explained("mlgit show")),
        (["show", "x"], "error: invalid value for 'number': 'x' is not a whole number\n" + explained("mlgit show")),
        (["show", "1", "2"], "error: got unexpected extra argument(s) (2)\n" + explained("mlgit show")),
        (["show", "1", "--jsno"], "error: no such option: --jsno\nhint: did you mean '--json'?\n"),
        (["show", "1", "-x"], "error: no such option: -x\n" + explained("mlgit show")),
        (["--nothing"], "error: no such option: --nothing\n" + explained("mlgit")),
        (["-C"], "error: option '-C' requires an argument\n" + explained("mlgit")),
        (["-C", "."], "error: missing verb\n" + explained("mlgit")),
        (["thing"], "error: missing verb\n" + explained("mlgit thing")),
        (["thing", "ad"], "error: 'ad' is not a verb of mlgit thing\nhint: did you mean 'add'?\n"),
    ],
)  # fmt: skip
def test_usage_errors_name_the_mistake_and_end_with_2(
    mlgit: Callable, program: ModuleType, arguments: list[str], stderr: str
) -> None:
    ran = mlgit(*arguments)
    assert (ran.exit_code, ran.stdout, ran.stderr) == (2, "", stderr)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--number", "0"], "'--number': 0 is not between 1 and 9"),
        (["--number", "1.5"], "'--number': '1.5' is not a whole number"),
        (["--rate", "-1"], "'--rate': -1 is not at least 0"),
        (["--rate", "nan"], "'--rate': 'nan' is not a number"),
        (["--color", "green"], "'--color': 'green' is not one of red, blue"),
    ],
)
def test_values_that_do_not_fit_are_named(
    mlgit: Callable, program: ModuleType, arguments: list[str], complaint: str
) -> None:
    ran = mlgit("typed", *arguments)
    stderr = f"error: invalid value for {complaint}\n" + explained("mlgit typed")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (2, "", stderr)


def test_usage_errors_become_json_too(mlgit: Callable, program: ModuleType) -> None:
    ran = mlgit("show", "--json")
    assert ran.stdout == ""
    assert json.loads(ran.stderr) == {
        "schema": 1,
        "error": {
            "kind": "usage",
            "message": "missing argument 'number'",
            "hint": "`mlgit show --help` explains it",
            "exit_code": 2,
        },
    }


def test_json_after_two_dashes_is_an_argument_and_no_option() -> None:
    assert frame.asks_for_json(["show", "--json"])
    assert not frame.asks_for_json(["show", "--", "--json"])


# --- errors of verbs

STATUS = "hint: what was finished before is kept; `mlgit status` shows where things stand\n"
SPACE = "hint: free some space and run the command again\n"
MEMORY = "hint: close other programs, or use a machine or a device with more memory\n"


@pytest.mark.parametrize(
    ("how", "code", "stderr"),
    [
        ("check", 1, "error: the barrier is too high\nhint: accept it with `--force`\n"),
        ("input", 2, "error: 'x' is no number\n"),
        ("weights", 2, "error: 2 differ:\n       a\n       b\n"),
        ("missing", 10, "error: no branch is named 'x'\nhint: did you mean 'y'?\n"),
        ("taken", 11, "error: branch 'x' exists\n"),
        ("moved", 12, "error: 'main' moved\n"),
        ("corrupt", 13, "error: tensor 12 is not what it was\n"),
        ("remote", 14, "error: no answer\n"),
        ("job", 15, "error: run 3 failed\n"),
        ("disk", 16, "error: cannot write 'x': no space left on device\n"),
        ("full", 16, "error: cannot use 'some/file': no space left on device\n" + SPACE),
        ("absent", 16, "error: cannot use 'some/file': no such file or directory\n"),
        ("bare", 16, "error: the operating system refused: strange\n"),
        ("pipe", 16, "error: the operating system refused: broken pipe\n"),
        ("memory", 16, "error: out of memory\n" + MEMORY),
        ("torch-memory", 16, "error: out of memory\n" + MEMORY),
        ("cpu-memory", 16, "error: out of memory\n" + MEMORY),
        ("interrupt", 130, "error: interrupted\n" + STATUS),
        ("abort", 130, "error: interrupted\n" + STATUS),
        ("code", 5, ""),
    ],
)  # fmt: skip
def test_every_error_has_its_text_and_its_exit_code(
    mlgit: Callable, program: ModuleType, how: str, code: int, stderr: str
) -> None:
    ran = mlgit("fail", how)
    assert (ran.exit_code, ran.stdout, ran.stderr) == (code, "before\n", stderr)


def test_an_error_as_json_has_kind_message_hint_and_exit_code(mlgit: Callable, program: ModuleType) -> None:
    ran = mlgit("fail", "missing", "--json")
    assert ran.exit_code == 10
    assert json.loads(ran.stderr) == {
        "schema": 1,
        "error": {
            "kind": "unknown-branch", "message": "no branch is named 'x'", "hint": "did you mean 'y'?", "exit_code": 10,
        },
    }  # fmt: skip


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("bug", r"mlgit failed unexpectedly: ValueError: something \x1b[2J odd"),
        ("base", "mlgit failed unexpectedly: MlgitError: impossible"),
        ("deep", "mlgit failed unexpectedly: RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_a_bug_ends_with_70_and_leaves_a_log(
    mlgit: Callable, program: ModuleType, temporary: Path, how: str, message: str
) -> None:
    ran = mlgit("fail", how)
    (log,) = temporary.iterdir()
    assert ran.exit_code == 70
    first, hint = ran.stderr.splitlines()
    assert first.startswith("error: " + message)
    assert hint == f"hint: this is a bug, please report it with the log file '{log}'"
    text = log.read_text()
    assert text.startswith(f"mlgit {__version__}, Python 3.")
    assert f"arguments: ['fail', '{how}']" in text
    assert "Traceback (most recent call last):" in text
    assert "in fail" in text


def test_a_bug_is_told_even_when_no_log_can_be_written(
    mlgit: Callable, program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    ran = mlgit("fail", "bug")
    assert ran.exit_code == 70
    assert ran.stderr.splitlines()[1] == (
        "hint: this is a bug, please report it (its log file could not be written: set MLGIT_DEBUG=1 to see it)"
    )


@pytest.mark.parametrize("value", ["1", "0", ""])
def test_a_traceback_is_printed_only_for_debugging(
    mlgit: Callable, program: ModuleType, temporary: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MLGIT_DEBUG", value)
    shown = value == "1"
    for how in ("bug", "missing"):
        ran = mlgit("fail", how)
        assert ("Traceback (most recent call last):" in ran.stderr) is shown
        assert "\x1b" not in ran.stderr


def test_a_verb_that_cannot_be_imported_is_a_bug(
    mlgit: Callable, program: ModuleType, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(program.VERBS["empty panel"], "gone", "mlgit.cli.no_such_module:gone")
    assert mlgit("gone").exit_code == 70
    assert mlgit("thing", "list").exit_code == 0


def test_a_function_without_context_is_no_verb() -> None:
    def bare(name: str) -> None:
        """Do it."""

    with pytest.raises(TypeError, match="must take a Context first"):
        build("bare", bare)


# --- being stopped


def wait_for(path: Path) -> None:
    for _ in range(3000):
        if path.exists():
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} did not appear")


@pytest.mark.parametrize(
    ("number", "code", "stderr"),
    [
        (signal.SIGINT, 130, "error: interrupted\n"),
        (signal.SIGTERM, 143, "error: stopped by SIGTERM\n"),
        (signal.SIGHUP, 129, "error: stopped by SIGHUP\n"),
    ],
)
def test_a_signal_stops_the_verb_after_its_cleanup(
    start: Callable, tmp_path: Path, number: int, code: int, stderr: str
) -> None:
    process = start("wait", str(tmp_path))
    wait_for(tmp_path / "ready")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out.decode(), err.decode()) == (code, "waiting\n", stderr + STATUS)
    assert not (tmp_path / "open").exists()


def test_a_second_termination_does_not_disturb_the_cleanup(start: Callable, tmp_path: Path) -> None:
    process = start("wait", str(tmp_path))
    wait_for(tmp_path / "ready")
    process.terminate()
    wait_for(tmp_path / "cleaning")
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert not (tmp_path / "open").exists()


def test_a_signal_the_caller_ignores_stays_ignored(start: Callable, tmp_path: Path) -> None:
    process = start("wait", str(tmp_path), preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    wait_for(tmp_path / "ready")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=0.5)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143


def test_a_forked_child_dies_of_its_own_signals_silently(start: Callable) -> None:
    out, err = start("fork").communicate(timeout=30)
    assert (out, err) == (b"15\n", b"")


def test_an_interrupt_as_json_is_a_document(start: Callable, tmp_path: Path) -> None:
    process = start("wait", str(tmp_path), "--json")
    wait_for(tmp_path / "ready")
    process.terminate()
    _, err = process.communicate(timeout=30)
    error = json.loads(err)["error"]
    assert (error["kind"], error["message"], error["exit_code"]) == ("terminated", "stopped by SIGTERM", 143)


def test_an_interrupt_during_imports_is_told_like_any_other(mlgit: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting(importlib.machinery.PathFinder):
        @classmethod
        def find_spec(cls, fullname: str, *_: object) -> None:
            if fullname == "mlgit.cli.frame":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "mlgit.cli.frame", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupting, *sys.meta_path])
    ran = mlgit("version")
    assert (ran.exit_code, ran.stderr) == (130, "error: interrupted\n" + STATUS)


@pytest.mark.parametrize(
    "late",
    ["atexit.register(interrupt)", "sys.interrupted = Late()"],
    ids=["while exit functions run", "when Python has given its handlers back"],
)
@pytest.mark.parametrize(("arguments", "code"), [(["version"], 0), (["nonsense"], 2)])
def test_ctrl_c_after_the_end_of_a_command_does_not_change_how_it_ended(
    late: str, arguments: list[str], code: int
) -> None:
    source = f"""
import atexit, os, signal, sys
def interrupt(kill=os.kill, number=int(signal.SIGINT), process=os.getpid()):
    kill(process, number)
class Late:
    def __del__(self, interrupt=interrupt):
        interrupt()
{late}
from mlgit.cli.main import run
run()
"""
    undisturbed = subprocess.run([sys.executable, "-m", "mlgit", *arguments], capture_output=True, check=False)
    done = subprocess.run([sys.executable, "-c", source, *arguments], capture_output=True, check=False)
    assert (undisturbed.returncode, undisturbed.stdout, undisturbed.stderr) == (code, done.stdout, done.stderr)
    assert done.returncode == code


def test_handlers_are_as_before_when_mlgit_returns(mlgit: Callable, program: ModuleType) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)]
    mlgit("thing", "list")
    mlgit("fail", "check")
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)]
    assert before == after


# --- streams that end

BUFFERING = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])


@BUFFERING
@pytest.mark.parametrize("arguments", [["many"], ["many", "--json"]])
def test_a_reader_that_has_seen_enough_ends_mlgit_quietly(
    start: Callable, monkeypatch: pytest.MonkeyPatch, arguments: list[str], unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    process = start(*arguments)
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=30) == 141


@BUFFERING
@pytest.mark.parametrize("arguments", [["thing", "list"], ["--help"]])
def test_a_reader_that_is_gone_from_the_start_ends_mlgit_quietly(
    start: Callable, monkeypatch: pytest.MonkeyPatch, arguments: list[str], unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    read, write = os.pipe()
    os.close(read)
    process = start(*arguments, stdout=write)
    os.close(write)
    assert process.stderr.read() == b""
    assert process.wait(timeout=30) == 141


def test_an_error_is_told_although_nobody_reads_the_data(start: Callable) -> None:
    read, write = os.pipe()
    os.close(read)
    process = start("fail", "missing", stdout=write)
    os.close(write)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 10
    assert err.decode() == "error: no branch is named 'x'\nhint: did you mean 'y'?\n"


@BUFFERING
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("arguments", [["many"], ["thing", "list"], ["data"], ["--version"]])
def test_a_full_disk_under_stdout_is_told(
    start: Callable, monkeypatch: pytest.MonkeyPatch, arguments: list[str], unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with Path("/dev/full").open("wb") as full:
        process = start(*arguments, stdout=full)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 16
    assert err.decode() == "error: cannot write to the standard output: no space left on device\n"


@pytest.mark.parametrize("closing", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_closed_streams_are_no_reason_to_fail(closing: str) -> None:
    ran = bash(f"python -m mlgit version {closing}")
    assert ran.returncode == 0
    assert ran.stdout == ("" if closing.startswith(">") else f"mlgit version {__version__}\n")
    assert ran.stderr == ""


def test_an_error_with_closed_stderr_keeps_its_exit_code() -> None:
    ran = bash("python -m mlgit nothing 2>&-")
    assert (ran.returncode, ran.stdout) == (2, "")


# --- where it runs


def test_the_directory_option_works_as_in_git(mlgit: Callable, program: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    before = Path.cwd()
    ran = mlgit("-C", str(tmp_path), "-C", "a", "--directory=b", "where")
    assert ran.stdout.splitlines()[0] == f"directory {tmp_path / 'a' / 'b'!r}"
    assert Path.cwd() == before
    assert mlgit("-C", str(tmp_path), "fail", "check").exit_code == 1
    assert Path.cwd() == before


def test_a_directory_that_is_not_there_is_named(mlgit: Callable, tmp_path: Path) -> None:
    ran = mlgit("-C", str(tmp_path / "x\ny"), "version")
    assert (ran.exit_code, ran.stderr) == (10, f"error: there is no directory '{tmp_path}/x\n       y'\n")


def test_a_deleted_current_directory_is_told(tmp_path: Path) -> None:
    ran = bash(f"mkdir {tmp_path}/gone && cd {tmp_path}/gone && rmdir ../gone && mlgit version")
    assert (ran.returncode, ran.stdout, ran.stderr) == (
        10, "", "error: the current directory was deleted\nhint: change to one that exists\n"
    )  # fmt: skip


def test_python_m_and_the_console_script_are_the_same() -> None:
    for command in ("mlgit", "python -m mlgit"):
        ran = bash(f"{command} version")
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"mlgit version {__version__}\n", "")
        assert bash(f"{command} vresion").returncode == 2


# --- completion


def test_a_shell_gets_the_verbs_that_fit() -> None:
    ran = bash("mlgit", _MLGIT_COMPLETE="complete_bash", COMP_WORDS="mlgit ver", COMP_CWORD="1")
    assert (ran.returncode, ran.stdout) == (0, "version\n")


def test_a_shell_gets_the_options_of_a_verb() -> None:
    ran = bash("mlgit", _MLGIT_COMPLETE="complete_bash", COMP_WORDS="mlgit version --", COMP_CWORD="2")
    assert ran.stdout.split() == ["--json", "--quiet", "--verbose", "--help"]


def test_completion_works_in_a_real_shell() -> None:
    ran = bash(
        'eval "$(mlgit --show-completion)"; COMP_WORDS=(mlgit vers); COMP_CWORD=1; _mlgit_completion mlgit;'
        ' echo "${COMPREPLY[@]}"'
    )
    assert (ran.stdout, ran.stderr) == ("version\n", "")


def test_completion_imports_nothing_heavy() -> None:
    variables = {"_MLGIT_COMPLETE": "complete_bash", "COMP_WORDS": "mlgit ", "COMP_CWORD": "1"}
    assert not imported(environment=variables) & (HEAVY - {"pydantic"})


def test_the_table_names_modules_of_the_command_line() -> None:
    for name, row in ROWS:
        module, _, attribute = row.partition(":")
        assert module.startswith("mlgit.cli.")
        assert attribute.isidentifier()
        assert isinstance(name, str)
    assert isinstance(frame.VERBS, dict)
    assert isinstance(sys.modules["mlgit.cli.main"], types.ModuleType)


def test_the_example_in_the_docs_of_the_package_is_a_working_verb(
    mlgit: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = inspect.cleandoc(sys.modules["mlgit.cli"].__doc__ or "")
    source = textwrap.dedent(text.split("::\n\n", 1)[1].split("\nand one row", 1)[0])
    example = types.ModuleType("tip")
    exec(compile(source, "tip", "exec"), example.__dict__)  # noqa: S102 - it is our own documentation
    monkeypatch.setitem(sys.modules, "tip", example)
    monkeypatch.setattr(frame, "VERBS", {"panel": {"tip": "tip:tip"}})
    assert "  tip  Show the commit that a revision names\n" in mlgit("--help").stdout
    ran = mlgit("-C", str(tmp_path), "tip", "--full")
    assert ran.exit_code == 10
    assert ran.stderr.startswith(f"error: neither '{tmp_path}' nor a directory above it is an mlgit repository\n")
