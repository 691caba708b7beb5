from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgit.errors import InvalidInputError, NotFoundError
from mlgit.models.factories import MODEL_FACTORIES, ModelScheme, build
from mlgit.models.seeding import draw_seed, seeded


@pytest.mark.parametrize("name", MODEL_FACTORIES.names())
def test_every_scheme_loads_is_final_and_describes_itself(name: str) -> None:
    scheme = MODEL_FACTORIES.get(name)
    assert issubclass(scheme, ModelScheme)
    assert getattr(scheme, "__final__", False)
    assert scheme.name == name
    assert scheme.summary


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**63 - 1))
def test_random_weights_are_a_function_of_the_seed_and_leave_the_global_generator_alone(seed: int) -> None:
    before = torch.get_rng_state()
    one = build("mlgit:digits-cnn", seed=seed).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    two = build("mlgit:digits-cnn", seed=seed).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_other_seeds_give_other_weights() -> None:
    one, two = (build("mlgit:digits-cnn", seed=seed).state_dict()["classifier.weight"] for seed in (0, 1))
    assert not torch.equal(one, two)


@pytest.mark.parametrize(
    ("factory", "kind", "hint"),
    [
        ("digits-cnn", "bad-factory", None),
        ("mlgit:", "bad-factory", "did you mean 'mlgit:'?"),
        ("a\x1b:b", "bad-name", None),
        ("mlgit:..", "bad-name", None),
        ("", "bad-name", None),
    ],
)
def test_a_text_that_is_no_factory_is_refused(factory: str, kind: str, hint: str | None) -> None:
    with pytest.raises(InvalidInputError) as caught:
        build(factory)
    assert caught.value.kind == kind
    assert hint is None or caught.value.hint == hint


@pytest.mark.parametrize(
    ("factory", "kind", "hint"),
    [
        ("torchvison:resnet18", "unknown-model-scheme", "did you mean 'torchvision'?"),
        ("mlgit:digit-cnn", "unknown-model", "did you mean 'digits-cnn'?"),
    ],
)
def test_unknown_schemes_and_models_are_not_found_with_a_hint(factory: str, kind: str, hint: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        build(factory)
    assert caught.value.kind == kind
    assert caught.value.hint == hint


@pytest.mark.parametrize("classes", [0, -1])
def test_no_classes_are_refused(classes: int) -> None:
    with pytest.raises(InvalidInputError) as caught:
        build("mlgit:digits-cnn", num_classes=classes)
    assert caught.value.kind == "bad-num-classes"


def test_built_in_models_have_no_published_weights() -> None:
    with pytest.raises(InvalidInputError) as caught:
        build("mlgit:digits-cnn", pretrained="default")
    assert caught.value.kind == "no-pretrained"


def test_a_seeded_block_equals_manual_seed_and_puts_the_generator_back_even_after_an_error() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(1)
    before = torch.get_rng_state()

    def fail() -> None:
        with seeded(7):
            assert torch.equal(torch.rand(3), expected)
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail()
    assert torch.equal(torch.get_rng_state(), before)


def test_drawn_seeds_follow_their_generator() -> None:
    one, two = (draw_seed(torch.Generator().manual_seed(5)) for _ in range(2))
    assert one == two
    assert 0 <= one < 2**63 - 1
