from __future__ import annotations

import subprocess
import sys

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgit.history.lineage import carries_weights, lineage_graph, nearest, trained_on, weight_ancestors
from mlgit.objects import Commit, CommitId, Identity, ManifestId, Parent, Role, Stage, TaskRef, Timestamp

PACS = TaskRef("PACS", "a" * 64)
OFFICE = TaskRef("OfficeHome", "b" * 64)


class Family:
    """Commits in memory by label."""

    def __init__(self):
        self.commits: dict[CommitId, Commit] = {}
        self.reads: list[CommitId] = []

    def add(self, label: str, stage: Stage, *parents: Parent, task: TaskRef | None = None) -> CommitId:
        commit = Commit(
            manifest=ManifestId("0" * 64),
            parents=parents,
            stage=stage,
            task=task,
            author=Identity("Ada", "ada@example.org"),
            time=Timestamp(len(self.commits)),
            message=label,
        )
        self.commits[commit.id] = commit
        return commit.id

    def read(self, commit_id: CommitId) -> Commit:
        self.reads.append(commit_id)
        return self.commits[commit_id]

    def labels(self, ids) -> list[str]:
        return [self.commits[one].message for one in ids]

    def weights_of(self, commit_id: CommitId) -> list[str]:
        return self.labels(one for one, _ in weight_ancestors(self.read, commit_id))


def init(parent):
    return Parent(parent, Role.INIT)


def head(parent):
    return Parent(parent, Role.HEAD)


def base(parent):
    return Parent(parent, Role.BASE)


def member(parent, coefficient):
    return Parent(parent, Role.MERGE, coefficient)


@pytest.fixture
def family():
    return Family()


@pytest.fixture
def recipe(family):
    """Return the ids of a small ratatouille by label: two auxiliaries, three targets, a soup of two of them."""
    ids = {}
    ids["pt"] = family.add("pt", Stage.PRETRAIN)
    ids["lp-office"] = family.add("lp-office", Stage.PROBE, init(ids["pt"]), task=OFFICE)
    ids["aux"] = family.add("aux", Stage.AUXILIARY, init(ids["pt"]), head(ids["lp-office"]), task=OFFICE)
    ids["lp"] = family.add("lp", Stage.PROBE, init(ids["pt"]), task=PACS)
    ids["t1"] = family.add("t1", Stage.TARGET, init(ids["pt"]), head(ids["lp"]), task=PACS)
    ids["t2"] = family.add("t2", Stage.TARGET, init(ids["aux"]), head(ids["lp"]), task=PACS)
    ids["t3"] = family.add("t3", Stage.TARGET, init(ids["aux"]), head(ids["lp"]), task=PACS)
    ids["soup"] = family.add(
        "soup", Stage.MERGE, base(ids["t3"]), member(ids["t1"], 1.0), member(ids["t3"], 0.0), task=PACS
    )
    return ids


def test_weights_come_from_members_starting_points_and_heads_nearest_first(family, recipe):
    assert family.weights_of(recipe["t2"]) == ["t2", "aux", "lp", "pt", "lp-office"]


def test_neither_the_branch_before_nor_a_member_with_coefficient_zero_gave_weights(family, recipe):
    assert family.weights_of(recipe["soup"]) == ["soup", "t1", "pt", "lp"]


def test_a_parent_that_is_base_and_member_gave_weights(family, recipe):
    both = family.add("both", Stage.MERGE, base(recipe["t2"]), member(recipe["t2"], 0.5), member(recipe["t1"], 0.5))
    assert "t2" in family.weights_of(both)


@pytest.mark.parametrize(
    ("coefficient", "carried"), [(0.5, True), (-0.2, True), (0.0, False), (-0.0, False), (None, True)]
)
def test_only_a_coefficient_of_zero_takes_a_member_out(coefficient, carried):
    assert carries_weights(member(CommitId("0" * 64), coefficient)) is carried


def test_training_on_a_task_is_found_by_digest_under_any_name_and_by_name_with_any_data(family, recipe):
    assert trained_on(family.read, recipe["aux"], OFFICE.digest) == recipe["aux"]
    assert trained_on(family.read, recipe["aux"], "OfficeHome") == recipe["aux"]
    assert trained_on(family.read, recipe["t2"], OFFICE.digest) == recipe["aux"]
    assert trained_on(family.read, recipe["t1"], OFFICE.digest) is None
    assert trained_on(family.read, recipe["pt"], PACS.digest) is None
    renamed = family.add("x", Stage.AUXILIARY, init(recipe["pt"]), task=TaskRef("harmless", PACS.digest))
    assert trained_on(family.read, renamed, PACS.digest) == renamed
    assert trained_on(family.read, renamed, "PACS") is None


def test_training_is_found_through_any_number_of_merges(family, recipe):
    current = recipe["aux"]
    for depth in range(300):
        current = family.add(
            f"m{depth}", Stage.MERGE, base(recipe["lp"]), member(recipe["pt"], 0.5), member(current, 0.5)
        )
    assert trained_on(family.read, current, OFFICE.digest) == recipe["aux"]
    assert trained_on(family.read, current, PACS.digest) is None


def test_a_merge_selected_on_a_task_is_not_trained_on_it(family, recipe):
    fused = family.add("fused", Stage.MERGE, member(recipe["pt"], 0.4), member(recipe["aux"], 0.6), task=PACS)
    assert trained_on(family.read, fused, PACS.digest) is None
    assert trained_on(family.read, fused, OFFICE.digest) == recipe["aux"]


def test_the_task_of_a_commit_that_gave_no_weights_does_not_count(family, recipe):
    left_out = family.add(
        "left", Stage.MERGE, base(recipe["aux"]), member(recipe["pt"], 1.0), member(recipe["aux"], 0.0)
    )
    assert trained_on(family.read, left_out, OFFICE.digest) is None


def test_the_nearest_commit_of_a_stage_is_found(family, recipe):
    assert nearest(family.read, recipe["soup"], Stage.TARGET) == recipe["t1"]
    assert nearest(family.read, recipe["t3"], Stage.AUXILIARY) == recipe["aux"]
    assert nearest(family.read, recipe["t3"], Stage.PRETRAIN) == recipe["pt"]
    assert nearest(family.read, recipe["pt"], Stage.PRETRAIN) == recipe["pt"]
    assert nearest(family.read, recipe["t1"], Stage.AUXILIARY) is None


def test_what_is_near_is_found_without_reading_the_rest(family, recipe):
    family.reads.clear()
    nearest(family.read, recipe["t3"], Stage.AUXILIARY)
    assert len(family.reads) == 2


def test_the_graph_has_every_commit_and_every_edge_with_its_role(family, recipe):
    both = family.add("both", Stage.MERGE, base(recipe["t2"]), member(recipe["t2"], 0.5), member(recipe["t1"], 0.5))
    graph = lineage_graph(family.read, [both, recipe["soup"]])
    assert set(graph) == set(family.commits)
    assert all(data["commit"] is family.commits[one] for one, data in graph.nodes(data=True))
    assert graph.number_of_edges() == sum(len(commit.parents) for commit in family.commits.values())
    assert sorted(graph.get_edge_data(recipe["t2"], both).values(), key=lambda edge: edge["index"]) == [
        {"role": Role.BASE, "coefficient": None, "index": 0},
        {"role": Role.MERGE, "coefficient": 0.5, "index": 1},
    ]
    assert nx.is_directed_acyclic_graph(graph)


EDGES = st.tuples(
    st.integers(1, 6), st.sampled_from([Role.BASE, Role.INIT, Role.HEAD, Role.MERGE]), st.sampled_from([0.0, 0.5])
)


@given(st.lists(st.lists(EDGES, max_size=4), min_size=1, max_size=15))
def test_weight_ancestors_are_what_networkx_reaches_over_edges_that_carry_weights(shape):
    family, ids = Family(), []
    for number, edges in enumerate(shape):
        parents = [
            Parent(ids[number - back], role, coefficient if role is Role.MERGE else None)
            for back, role, coefficient in edges
            if back <= number
        ]
        ids.append(family.add(str(number), Stage.TARGET, *parents))
    graph = lineage_graph(family.read, ids)
    kept = [
        edge
        for *edge, data in graph.edges(keys=True, data=True)
        if data["role"] in {Role.INIT, Role.HEAD} or (data["role"] is Role.MERGE and data["coefficient"] == 0.5)
    ]
    carrying = nx.MultiDiGraph(kept)
    carrying.add_nodes_from(ids)
    distances = nx.single_source_shortest_path_length(carrying.reverse(), ids[-1])
    found = [one for one, _ in weight_ancestors(family.read, ids[-1])]
    assert sorted(found) == sorted(distances)
    assert [distances[one] for one in found] == sorted(distances.values())


def test_only_lineage_costs_networkx_and_nothing_here_needs_torch_or_numpy():
    code = (
        "import sys, mlgit.history;"
        "print([name for name in ('networkx', 'numpy', 'torch', 'rich') if name in sys.modules]);"
        "import mlgit.history.lineage;"
        "print('networkx' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True False"]
