from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgit.errors import InvalidInputError
from mlgit.executors.job import Job, Resources
from mlgit.objects import CommitId

ONE, OTHER = CommitId("1" * 64), CommitId("2" * 64)
arguments = st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4).map(tuple)


@given(arguments, arguments)
def test_jobs_are_the_same_exactly_when_arguments_and_start_are(a: tuple[str, ...], b: tuple[str, ...]) -> None:
    assert (Job(a, ONE).identity == Job(b, ONE).identity) == (a == b)
    assert Job(a, ONE).identity != Job(a, OTHER).identity


def test_what_a_job_needs_is_no_part_of_its_identity() -> None:
    assert Job(("x",), ONE, Resources(threads=3, gpus=1, memory=5)).identity == Job(("x",), ONE).identity


def test_the_identity_is_the_same_on_every_machine() -> None:
    assert Job(("train", "--task", "digit"), ONE).identity == "e8e4fbd51cb559222e2c5b7ad861d4e8"


@pytest.mark.parametrize("resources", [{"threads": 0}, {"gpus": -1}, {"memory": -1}])
def test_nothing_can_be_asked_for_less_than_nothing(resources: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError):
        Resources(**resources)
