"""What `task`, `evaluate`, `lmc`, `diversity`, `certify`, `diff`, `merge` and `export` print, and what they return."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

CERTIFICATE = """\
name = "rotate"
issuer = "office [bold]of[/] digits"
task = "digit"
split = "test"
judge = "point"
[[threshold]]
metric = "accuracy"
at_least = {limit}
"""
READING = {
    "task list": ["task", "list"],
    "task show": ["task", "show", "digit"],
    "evaluate": ["evaluate", "digit/0", "--task", "digit"],
    "evaluate ensemble": ["evaluate", "digit/*", "--task", "digit", "--split", "test", "--ensemble"],
    "lmc": ["lmc", "digit/0", "digit/1", "--task", "digit", "--grid", "chord"],
    "lmc on the test domain": ["lmc", "digit/0", "digit/1", "--task", "digit", "--grid", "chord", "--split", "test"],
    "lmc of three": ["lmc", "digit/0", "digit/1", "digit/2", "--task", "digit", "--grid", "chord"],
    "diversity": ["diversity", "digit/*", "--task", "digit"],
    "certify": ["certify", "digit/0", "-c", "../certificate.toml"],
    "diff": ["diff", "main", "digit/0"],
    "diff with working files": ["diff"],
    "log": ["log", "--all"],
    "show": ["show", "digit/0"],
    "status": ["status"],
    "branch": ["branch"],
    "ls-tree": ["ls-tree", "digit/0"],
}


def certificate(limit: float = 0.01) -> None:
    Path("../certificate.toml").write_text(CERTIFICATE.format(limit=limit))


@pytest.mark.parametrize("name", READING)
def test_every_reading_verb_prints_one_document_with_its_schema(mlgit: Callable, day: Path, name: str) -> None:
    certificate()
    ran = mlgit(*READING[name], "--json")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout.count("\n") == 1
    assert json.loads(ran.stdout)["schema"] == 1


@pytest.mark.parametrize("name", READING)
def test_every_reading_verb_prints_text_without_escapes(mlgit: Callable, day: Path, name: str) -> None:
    certificate()
    ran = mlgit(*READING[name])
    assert ran.exit_code == 0
    assert "Traceback" not in ran.stderr
    assert not set(ran.stdout + ran.stderr) & {"\x1b", "\x07", "\u202e", "\r"}


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["evaluate", "nowhere", "--task", "digit"], 10, "unknown-revision"),
        (["evaluate", "digit/0", "--task", "digits"], 10, "unknown-task"),
        (["evaluate", "digit/0", "--task", "parity"], 2, "class-count"),
        (["evaluate", "digit/0", "--task", "digit", "--split", "x"], 2, "unknown-split"),
        (["evaluate", "digit/0", "--task", "digit", "--domains", "rotate"], 2, "domain-not-in-split"),
        (["evaluate", "digit/0", "--task", "digit", "--domains", "x"], 10, "unknown-domain"),
        (["diversity", "digit/0", "--task", "digit"], 2, None),
        (["lmc", "digit/0", "digit/1", "--task", "digit", "--grid", "x"], 2, "bad-grid"),
        (["lmc", "digit/0", "digit/1", "--task", "digit", "--tolerance", "7"], 2, "bad-parameter"),
        (["lmc", "digit/0", "digit/1", "--task", "digit", "--definition", "x"], 2, "bad-parameter"),
        (["lmc", "digit/0", "digit/1", "--task", "digit", "--split", "unseen"], 2, "unknown-split"),
        (["lmc", "digit/0", "digit/1"], 2, "usage"),
        (["certify", "digit/0", "-c", "../none.toml"], 10, "no-such-file"),
        (["task", "show", "digits"], 10, "unknown-task"),
        (["diff", "main", "nowhere"], 10, "unknown-revision"),
    ],
)
def test_what_cannot_be_read_is_one_error_in_json(
    mlgit: Callable, day: Path, arguments: list[str], code: int, kind: str | None
) -> None:
    ran = mlgit(*arguments, "--json")
    error = json.loads(ran.stderr)["error"]
    assert (ran.exit_code, error["exit_code"], ran.stdout) == (code, code, "")
    assert kind in (None, error["kind"])


def test_evaluate_prints_each_accuracy_beside_its_interval_and_gc_forgets_predictions(
    mlgit: Callable, day: Path
) -> None:
    words = ("evaluate", "digit/*", "--task", "digit", "--split", "unseen", "--ensemble")
    first, second = (json.loads(mlgit(*words, "--json").stdout) for _ in range(2))
    assert (first.pop("computed"), second.pop("computed")) == (3, 0)
    assert first == second
    for row in [*first["scores"], first["ensemble"]]:
        low, high = row["intervals"]["accuracy"]
        assert low < row["accuracy"] < high
        assert row["intervals"]["domains"].keys() == row["domains"].keys()
        assert row["mean_over_domains"] == pytest.approx(sum(row["domains"].values()) / len(row["domains"]))
    low, high = (100 * end for end in first["scores"][0]["intervals"]["domains"]["rotate"])
    assert f"[{low:.1f}, {high:.1f}]" in mlgit(*words).stdout
    one = mlgit("evaluate", "digit/0", "--task", "digit", "--split", "unseen", "--domains", "rotate", "--json")
    assert list(json.loads(one.stdout)["scores"][0]["domains"]) == ["rotate"]
    would = json.loads(mlgit("gc", "--predictions", "--dry-run", "--json").stdout)["predictions_bytes"]
    assert json.loads(mlgit("gc", "--predictions", "--json").stdout)["predictions_bytes"] == would > 0
    assert json.loads(mlgit(*words, "--json").stdout)["computed"] == 3


def test_a_picture_that_cannot_be_drawn_does_not_lose_the_measurement(mlgit: Callable, day: Path) -> None:
    ran = mlgit("lmc", "digit/0", "digit/1", "--task", "digit", "--grid", "chord", "--plot", "curve.gif")
    assert ran.exit_code == 2
    assert "verdict:" in ran.stdout
    ran = mlgit("lmc", "digit/0", "digit/1", "--task", "digit", "--grid", "chord", "--plot", "curve.svg")
    assert ran.exit_code == 0
    assert Path("curve.svg").exists()


@pytest.mark.parametrize(("limit", "code", "word"), [(0.01, 0, "passed"), (1.0, 1, "failed")])
def test_certify_returns_its_verdict_and_history_shows_it(
    mlgit: Callable, day: Path, limit: float, code: int, word: str
) -> None:
    certificate(limit)
    ran = mlgit("certify", "digit/0", "--certificate", "../certificate.toml")
    assert ran.exit_code == code
    assert f"certificate rotate: {word}" in ran.stdout
    assert f"<rotate: {word}>" in mlgit("log", "-n", "1", "digit/0").stdout
    shown = mlgit("show", "digit/0").stdout
    assert f"<rotate: {word}> accuracy" in shown
    ran = mlgit("certify", "digit/0", "--certificate", "../certificate.toml", "--json")
    assert ran.exit_code == code
    assert json.loads(ran.stdout)["certificate"]["certificate"] == "rotate"


@pytest.mark.parametrize("issuer", ["\\u001b]0;owned\\u0007", "\\u202eeciffo", "two\\nlines"])
def test_a_certificate_whose_issuer_could_fool_a_reader_is_refused(mlgit: Callable, day: Path, issuer: str) -> None:
    Path("../evil.toml").write_text(CERTIFICATE.format(limit=0.5).replace("office [bold]of[/] digits", issuer))
    ran = mlgit("certify", "digit/0", "-c", "../evil.toml")
    assert ran.exit_code == 2
    assert not set(ran.stderr) & {"\x1b", "\x07", "\u202e"}


def test_a_refused_merge_names_the_pair_and_the_numbers(
    mlgit: Callable, day: Path, fingerprint: Callable[[Path], dict[str, str]]
) -> None:
    before = fingerprint(day)
    ran = mlgit("merge", "digit/0", "stranger", "--task", "digit", "-m", "strangers")
    assert (ran.exit_code, ran.stdout) == (1, "")
    error, hint = ran.stderr.splitlines()
    assert "are not linearly connected: at λ = 0.5 the accuracy is 0." in error
    assert "--force" in hint
    assert fingerprint(day) == before
    ran = mlgit("merge", "digit/0", "stranger", "--task", "digit", "-m", "strangers", "--force")
    assert ran.exit_code == 0
    assert "linear mode connectivity: violated, 1 path\n" in ran.stdout
    assert json.loads(mlgit("show", "--json").stdout)["commit"]["made"]["lmc"]["forced"] is True


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["digit/0", "digit/1"], 2),
        (["digit/0", "-m", "m", "--strategy", "x"], 10),
        (["digit/0", "-m", "m", "--task", "x"], 10),
        (["nowhere", "-m", "m"], 10),
        (["nothing/*", "-m", "m"], 10),
        (["digit/0", "-m", "m", "--strategy", "greedy"], 2),
        (["digit/0", "-m", "m", "--tolerance", "nan"], 2),
        (["digit/0", "-m", "m", "--set", "x"], 2),
        (["digit/0", "-m", "m", "--device", "abacus", "--task", "digit"], 2),
        (["-m", "m"], 2),
        (["digit/0", "-m", "m", "--from", "main"], 2),
        (["digit/0", "-m", "m", "--onto", "digit/1"], 11),
        (["digit/0", "-m", "m", "--onto", "a..b"], 2),
        (["digit/0", "--onto", "soup"], 2),
        (["digit/0", "-m", "m", "--onto", "soup", "--from", "nowhere"], 10),
        (["digit/0", "-m", "m", "--strategy", "wise", "--pretrained", "digit/0"], 2),
        (["digit/0", "digit/1", "-m", "m", "--strategy", "wise", "--pretrained", "nowhere"], 10),
        (["digit/0", "digit/1", "-m", "m", "--strategy", "wise", "--set", "share=0.5"], 2),
    ],
)
def test_a_merge_that_cannot_be_is_one_error(
    mlgit: Callable, day: Path, fingerprint: Callable[[Path], dict[str, str]], arguments: list[str], code: int
) -> None:
    before = fingerprint(day)
    ran = mlgit("merge", *arguments)
    assert ran.exit_code == code, ran
    assert ran.stderr.startswith("error: ")
    assert fingerprint(day) == before


def test_a_merge_onto_a_branch_names_it_and_leaves_head_alone(mlgit: Callable, day: Path) -> None:
    before = mlgit("log", "-n", "1").stdout
    ran = mlgit("merge", "--onto", "soup/1", "digit/0", "digit/1", "--task", "digit", "-m", "a soup")
    assert ran.exit_code == 0, ran
    first, *others = ran.stdout.splitlines()
    assert first.startswith("[soup/1 ")
    assert first.endswith("] a soup")
    assert [line.split()[1] for line in others[:2]] == ["0.5", "0.5"]
    assert mlgit("log", "-n", "1").stdout == before
    commit = json.loads(mlgit("show", "soup/1", "--json").stdout)["commit"]
    assert [parent["role"] for parent in commit["parents"]] == ["merge", "merge"]
    ran = mlgit("merge", "--onto", "soup/2", "--from", "digit/2", "digit/0", "digit/1", "-m", "a soup")
    assert ran.exit_code == 0, ran
    commit = json.loads(mlgit("show", "soup/2", "--json").stdout)["commit"]
    assert [parent["role"] for parent in commit["parents"]] == ["base", "merge", "merge"]
    assert mlgit("merge", "digit/*", "--onto", "soup/3", "--dry-run").exit_code == 0
    assert mlgit("show", "soup/3").exit_code == 10


def test_a_share_is_that_of_the_pretrained_end_however_it_is_named(mlgit: Callable, day: Path) -> None:
    words = ("merge", "digit/0", "digit/1", "-m", "wise", "--strategy", "wise", "--set", "share=0.25")
    for number, end in enumerate((("--pretrained", "digit/1"), ("--set", "pretrained=digit/1"))):
        assert mlgit(*words, *end, "--onto", f"wise/{number}").exit_code == 0
        commit = json.loads(mlgit("show", f"wise/{number}", "--json").stdout)["commit"]
        shares = {parent["id"]: parent["coefficient"] for parent in commit["parents"]}
        fine_tuned, pretrained = commit["made"]["ends"]["fine_tuned"], commit["made"]["ends"]["pretrained"]
        assert pretrained == json.loads(mlgit("show", "digit/1", "--json").stdout)["commit"]["id"]
        assert shares == {pretrained: 0.25, fine_tuned: 0.75}


def test_a_curve_of_the_test_domain_warns_against_selecting_by_it(mlgit: Callable, day: Path) -> None:
    words = ("lmc", "digit/0", "digit/1", "--task", "digit", "--grid", "chord")
    assert "nothing may be selected by it" in mlgit(*words, "--split", "test").stdout
    assert "test domain" not in mlgit(*words).stdout
    found = json.loads(mlgit(*words, "--split", "test", "--json").stdout)
    assert (found["task"], found["split"], found["curve"]["split"]) == ("digit", "test", "test")


def test_a_dry_run_of_a_merge_needs_no_message(mlgit: Callable, day: Path) -> None:
    ran = mlgit("merge", "digit/*", "--dry-run")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "nothing was written" in ran.stderr


def test_messages_with_escapes_are_printed_safely(mlgit: Callable, day: Path) -> None:
    message = "soup \x1b[2J\x1b]0;owned\x07 \u202egnp\nsecond \x9b31m"
    assert mlgit("merge", "digit/0", "digit/1", "-m", message).exit_code == 0
    for verb in (["log"], ["log", "--graph"], ["show"], ["status"]):
        printed = mlgit(*verb).stdout
        assert not set(printed) & {"\x1b", "\x07", "\u202e", "\x9b"}


def test_export_writes_a_file_once(mlgit: Callable, day: Path, tmp_path: Path) -> None:
    assert mlgit("export", "digit/0", str(tmp_path / "x.safetensors")).exit_code == 0
    assert mlgit("export", "digit/0", str(tmp_path / "x.safetensors")).exit_code == 11
    assert mlgit("export", "digit/0", str(tmp_path / "x.safetensors"), "--force").exit_code == 0
    assert mlgit("export", "digit/0", str(tmp_path / "no" / "x.safetensors")).exit_code in (10, 16)


def test_a_diff_can_answer_by_its_exit_code(mlgit: Callable, day: Path) -> None:
    assert mlgit("diff", "main", "main", "--exit-code").exit_code == 0
    assert mlgit("diff", "main", "digit/0", "--exit-code").exit_code == 1
    assert "changed" in mlgit("diff", "main", "digit/0").stdout
