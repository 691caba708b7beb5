from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mlgit.errors import NotFoundError
from mlgit.history import resolve

STEPS = st.lists(
    st.sampled_from(["~", "~0", "~1", "~2", "~5", "^", "^0", "^1", "^2", "^3", "^{}", "^{commit}"]), max_size=4
)


class Source:
    """The history's commits, commit n as branch cn."""

    def __init__(self, built):
        self.built = built

    def read(self, name):
        number = name.removeprefix("refs/heads/c")
        return self.built.ids[int(number)] if number.isdigit() else None

    def names(self, prefix="refs/"):
        return []

    def with_prefix(self, prefix, kind=None):
        return []

    def read_record(self, object_id):
        return self.built.read(object_id)


@settings(max_examples=60, deadline=None)
@given(
    parents=st.lists(st.lists(st.integers(1, 5), max_size=4, unique=True), min_size=3, max_size=12),
    suffixes=st.lists(STEPS.map("".join), min_size=20, max_size=20),
)
def test_steps_lead_where_git_goes(git, history, parents, suffixes):
    shape = [(number, [number - back for back in backs if back <= number]) for number, backs in enumerate(parents)]
    built, theirs = history(shape), git.load(shape)
    revisions = [f"c{number % len(shape)}{suffix}" for number, suffix in enumerate(suffixes)]
    answers = git.run("cat-file", "--batch-check=%(objectname)", stdin="\n".join(revisions) + "\n").splitlines()
    source = Source(built)
    for revision, answer in zip(revisions, answers, strict=True):
        try:
            found = theirs[built.ids.index(resolve(revision, source, source))]
        except NotFoundError:
            found = f"{revision} missing"
        assert found == answer
