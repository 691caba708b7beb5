from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipe_studies import a_run, a_study, an_outcome

from mlgit.recipes import RECIPES
from mlgit.recipes.recipe import Selection
from mlgit.recipes.registry import ORDER
from mlgit.recipes.results import Outcome
from mlgit.recipes.table import Table, tables
from mlgit.recipes.table_text import caption, cells, markdown, titles

RUNS = tuple(a_run(number, correct) for number, correct in enumerate((60, 64, 70)))


def splits(recipe: str, selection: Selection, right: list[int], runs: int = 2, **more: object) -> list[Outcome]:
    return [
        an_outcome(
            recipe,
            selection,
            correct,
            trial=trial,
            runs=[a_run(n, 50 + 7 * n + trial, trial=trial) for n in range(runs)],
            id_accuracy=correct / 200,
            **more,  # type: ignore[arg-type]
        )
        for trial, correct in enumerate(right)
    ]


def only(*outcomes: Outcome, runs: int | None = None) -> Table:
    (table,) = tables([a_study(*outcomes)], runs=runs)
    return table


def test_rows_stand_in_the_order_of_the_paper_and_of_the_selections() -> None:
    outcomes = [
        an_outcome(name, selection, 50, runs=RUNS) for name in RECIPES for selection in RECIPES.get(name).selections
    ]
    random.Random(3).shuffle(outcomes)
    table = only(*outcomes)
    expected = [(name, selection) for name in ORDER for selection in RECIPES.get(name).selections]
    assert [(row.recipe, row.selection) for row in table.rows] == expected
    assert [row.title for row in table.rows] == [RECIPES.get(name).title for name, _ in expected]


def test_a_recipe_of_a_package_that_is_gone_comes_last_under_its_name() -> None:
    table = only(
        an_outcome("zz-mine", Selection.UNIFORM, 50, runs=RUNS), an_outcome("soup", Selection.UNIFORM, 50, runs=RUNS)
    )
    assert [row.title for row in table.rows] == ["Model soups", "zz-mine"]


def test_mean_deviation_and_error_over_splits_are_those_of_numpy() -> None:
    right = [61, 70, 66]
    (row,) = only(*splits("soup", Selection.UNIFORM, right)).rows
    (cell,) = row.cells
    assert cell is not None
    for spread, values in ((cell.accuracies.ood, np.array(right) / 100), (cell.accuracies.id, np.array(right) / 200)):
        assert spread is not None
        assert spread.splits == 3
        assert spread.mean == pytest.approx(values.mean())
        assert spread.standard_deviation == pytest.approx(values.std(ddof=1))
        assert spread.standard_error == pytest.approx(values.std(ddof=1) / np.sqrt(3))
        assert list(spread.by_trial.values()) == list(values)
    assert cell.standard_error == pytest.approx(np.sqrt(0.61 * 0.39 / 100))


def test_one_split_has_no_deviation() -> None:
    table = only(*splits("soup", Selection.UNIFORM, [61]))
    (row,) = table.rows
    assert cells(table, row)[2:4] == ("30.5", "61.0")
    assert not any("±" in line for line in caption(table))
    document = table.to_json()["rows"][0]["cells"][0]["ood"]  # type: ignore[index,call-overload]
    assert (document["standard_deviation"], document["standard_error"], document["splits"]) == (None, None, 1)


def test_text_says_mean_deviation_and_how_many_splits() -> None:
    table = only(*splits("soup", Selection.UNIFORM, [60, 70]))
    (row,) = table.rows
    deviation = np.std([60.0, 70.0], ddof=1)
    assert cells(table, row) == (
        "Model soups",
        "uniform",
        f"32.5 ± {deviation / 2:.1f}",
        f"65.0 ± {deviation:.1f}",
        "2",
        "-",
    )
    assert any("sample standard deviation (ddof = 1) over n = 2 data splits" in line for line in caption(table))


def test_what_was_chosen_stands_beside_the_mean_of_all_runs() -> None:
    table = only(an_outcome("vanilla", Selection.BEST, 67, runs=RUNS))
    (row,) = table.rows
    assert cells(table, row)[3] == f"67.0 ({np.mean([60, 64, 70]):.1f})"
    assert any("the mean OOD accuracy of all runs" in line for line in caption(table))


def test_an_average_and_a_probe_have_no_mean_of_runs() -> None:
    table = only(
        an_outcome("probe", Selection.BEST, 50),
        an_outcome("soup", Selection.UNIFORM, 67, runs=RUNS, connectivity="holds"),
    )
    assert [cells(table, row)[3] for row in table.rows] == ["50.0", "67.0"]
    assert [cells(table, row)[4:] for row in table.rows] == [("-", "-"), ("3", "holds")]
    assert not any("the mean OOD accuracy of all runs" in line for line in caption(table))


def test_the_mean_over_test_domains_is_taken_within_each_split() -> None:
    right = {"art_painting": [60, 62, 70], "sketch": [50, 58, 51]}
    studies = [a_study(*splits("vanilla", Selection.BEST, values), domain=name) for name, values in right.items()]
    (table,) = tables(studies)
    (row,) = table.rows
    per_split = np.mean([right["art_painting"], right["sketch"]], axis=0) / 100
    assert row.average is not None
    assert row.average.ood.mean == pytest.approx(per_split.mean())
    assert row.average.ood.standard_deviation == pytest.approx(per_split.std(ddof=1))
    assert table.domains == ("art_painting", "sketch")
    assert titles(table) == (
        *("strategy", "selection", "art_painting ID", "art_painting OOD", "sketch ID", "sketch OOD"),
        *("average ID", "average OOD", "runs", "paths"),
    )
    assert cells(table, row)[7] == f"{100 * per_split.mean():.1f} ± {100 * per_split.std(ddof=1):.1f} (54.5)"


def test_the_mean_over_test_domains_takes_the_splits_that_all_have() -> None:
    studies = [
        a_study(*splits("soup", Selection.UNIFORM, values), domain=name)
        for name, values in {"a": [60, 62, 70], "b": [50, 58]}.items()
    ]
    (row,) = tables(studies)[0].rows
    assert row.average is not None
    assert list(row.average.ood.by_trial.values()) == pytest.approx([0.55, 0.60])


def test_what_was_not_run_is_a_dash_and_has_no_average() -> None:
    studies = [
        a_study(*splits("soup", Selection.UNIFORM, [60]), *splits("vanilla", Selection.BEST, [50]), domain="a"),
        a_study(*splits("vanilla", Selection.BEST, [40]), domain="b"),
    ]
    (table,) = tables(studies)
    vanilla, soup = table.rows
    assert cells(table, soup)[2:8] == ("30.0", "60.0", "-", "-", "-", "-")
    assert vanilla.average is not None


def test_the_most_runs_stand_in_the_table_unless_a_number_is_asked_for() -> None:
    few, many = splits("soup", Selection.UNIFORM, [60], runs=2), splits("soup", Selection.UNIFORM, [65], runs=5)
    probe = an_outcome("probe", Selection.BEST, 40)
    assert [row.runs for row in only(*few, *many, probe).rows] == [None, 5]
    assert [row.runs for row in only(*few, *many, probe, runs=2).rows] == [None, 2]
    assert [row.runs for row in only(*few, *many, probe, runs=3).rows] == [None]
    assert tables([a_study(*few)], runs=3) == ()


def test_numbers_of_runs_are_not_mixed_within_a_row() -> None:
    few, many = splits("soup", Selection.UNIFORM, [60, 61], runs=2), splits("soup", Selection.UNIFORM, [65], runs=5)
    (row,) = only(*few, *many).rows
    assert row.cells[0] is not None
    assert row.cells[0].accuracies.ood.by_trial == {0: 0.65}


def test_an_average_over_all_splits_has_a_dagger_and_no_deviation() -> None:
    of_two = [a_run(n, 60, trial=trial) for trial in range(2) for n in range(4)]
    of_three = [a_run(n, 60, trial=trial) for trial in range(3) for n in range(4)]
    table = only(
        an_outcome("soup", Selection.ALL_SPLITS, 70, trial=None, runs=of_three, id_accuracy=None),
        an_outcome("soup", Selection.ALL_SPLITS, 69, trial=None, runs=of_two, id_accuracy=None),
    )
    (row,) = table.rows
    assert cells(table, row) == ("Model soups †", "all-splits", "-", "70.0", "4", "-")
    assert sum(line.startswith("†") for line in caption(table)) == 1


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (["holds", "holds"], "holds"),
        (["holds", "undecided"], "undecided"),
        (["violated", "undecided"], "violated"),
        (["unchecked", "holds"], "unchecked"),
        (["unchecked", "undecided"], "undecided"),
        ([None, None], "-"),
    ],
)
def test_the_worst_verdict_on_the_paths_counts(found: list[str | None], shown: str) -> None:
    table = only(
        *(
            an_outcome("soup", Selection.UNIFORM, 60, trial=t, runs=RUNS, connectivity=each)
            for t, each in enumerate(found)
        )
    )
    assert cells(table, table.rows[0])[-1] == shown


def test_the_caption_says_how_sure_an_accuracy_is() -> None:
    table = only(an_outcome("soup", Selection.UNIFORM, 2700, runs=RUNS, examples=3929))
    share = 2700 / 3929
    error = 100 * np.sqrt(share * (1 - share) / 3929)
    assert any(f"sketch {error:.2f} (3,929 examples)" in line for line in caption(table))


def test_tasks_and_studies_have_tables_of_their_own() -> None:
    outcome = an_outcome("soup", Selection.UNIFORM, 60, runs=RUNS)
    found = tables(
        [a_study(outcome, task="VLCS"), a_study(outcome, name="other"), a_study(outcome), a_study(name="empty")]
    )
    assert [(table.task, table.name) for table in found] == [("PACS", "main"), ("PACS", "other"), ("VLCS", "main")]


def test_markdown_has_as_many_cells_in_each_line_and_escapes_names() -> None:
    (table,) = tables([a_study(*splits("soup", Selection.ALL_SPLITS, [60]), task="a|b_c", domain="x|y_z")])
    lines = [line for line in markdown(table).splitlines() if line.startswith("|")]
    bare = [line.replace("\\|", "") for line in lines]
    assert {line.count("|") for line in bare} == {len(titles(table)) + 1}
    assert "x\\|y\\_z ID" in lines[0]
    assert lines[1] == "| --- | --- | ---: | ---: | ---: | --- |"


OUTCOMES = st.lists(
    st.builds(
        lambda recipe, selection, trial, runs, right, verdict: an_outcome(
            recipe,
            selection,
            right,
            trial=trial,
            runs=[a_run(n, (right + 3 * n) % 100, trial=trial) for n in range(runs)],
            id_accuracy=right / 100,
            connectivity=verdict,
        ),
        st.sampled_from(["vanilla", "soup", "ratatouille", "foreign"]),
        st.sampled_from([Selection.BEST, Selection.UNIFORM, Selection.GREEDY]),
        st.integers(0, 3),
        st.integers(0, 3),
        st.integers(0, 100),
        st.sampled_from([None, "holds", "undecided", "violated"]),
    ),
    unique_by=lambda each: (each.recipe, each.selection, each.trial, each.runs),
    max_size=12,
)


@given(st.lists(OUTCOMES, min_size=1, max_size=3), st.randoms(use_true_random=False), st.sampled_from([None, 1, 2]))
def test_the_order_of_outcomes_and_studies_does_not_matter(
    found: list[list[Outcome]], order: random.Random, runs: int | None
) -> None:
    studies = [a_study(*outcomes, domain=f"d{number}") for number, outcomes in enumerate(found)]
    shuffled = [a_study(*order.sample(each.outcomes, len(each.outcomes)), domain=each.domain) for each in studies]
    order.shuffle(shuffled)
    first, second = (tables(each, runs=runs) for each in (studies, shuffled))
    assert json.dumps([table.to_json() for table in first]) == json.dumps([table.to_json() for table in second])
    assert [markdown(table) for table in first] == [markdown(table) for table in second]
