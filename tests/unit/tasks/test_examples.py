from __future__ import annotations

import pytest
import torch
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from mlgit.errors import InvalidInputError
from mlgit.tasks.arrays import ArrayDomain
from mlgit.tasks.examples import Example, compare, decode_examples, duplicates, encode_examples, examples_of

EXAMPLES = st.lists(
    st.builds(
        Example,
        st.sampled_from(["art", "photo"]),
        st.text("ab/ ü#1.", min_size=1, max_size=5),
        st.integers(0, 3),
        st.sampled_from(["0" * 64, "1" * 64, "2" * 64]),
    ),
    max_size=8,
    unique_by=lambda each: (each.domain, each.name) if each.name.startswith("#") else each.name,
)


@given(EXAMPLES)
def test_a_list_of_examples_comes_back_from_its_file(examples: list[Example]) -> None:
    assert list(decode_examples(encode_examples(examples))) == examples


@pytest.mark.parametrize("data", [b"", b"other\n", b"\xff", encode_examples([])[:-3], b"mlgit examples 1\nx\ty\n"])
def test_another_file_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInputError):
        decode_examples(data)


@given(EXAMPLES, EXAMPLES)
def test_differences_divide_all_names(before: list[Example], after: list[Example]) -> None:
    found = compare(before, after)

    def names(of: list[Example]) -> set[str]:
        return {f"{each.domain}/{each.name}" if each.name.startswith("#") else each.name for each in of}

    assert set(found.missing) == names(before) - names(after)
    assert set(found.new) == names(after) - names(before)
    assert set(found.changed) == names(sorted(set(before) - set(after), key=str)) & names(after)
    assert bool(found) == (set(before) != set(after))


@given(EXAMPLES)
def test_duplicates_are_all_groups_of_equal_content(examples: list[Example]) -> None:
    groups = duplicates(examples)
    assert all(len(group) > 1 and len({each.digest for each in group}) == 1 for group in groups)
    alone = [each for each in examples if not any(each in group for group in groups)]
    assert len({each.digest for each in alone} | {group[0].digest for group in groups}) == len(alone) + len(groups)


def test_examples_without_names_are_numbered_and_hashed() -> None:
    pixels = torch.arange(3 * 4, dtype=torch.uint8).reshape(3, 1, 2, 2)
    domain = ArrayDomain("d", pixels, torch.tensor([1, 0, 1]), mean=0.0, std=1.0)
    digests = [blake3((image / 255).numpy().tobytes()).hexdigest() for image in pixels]
    assert list(examples_of(domain)) == [Example("d", f"#{i}", (1, 0, 1)[i], digests[i]) for i in range(3)]
