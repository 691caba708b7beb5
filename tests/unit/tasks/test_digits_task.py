from __future__ import annotations

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from mlgit.errors import InvalidInputError, MlgitError, NotFoundError
from mlgit.objects.encoding import JsonValue
from mlgit.tasks import TaskDefinition
from mlgit.tasks.arrays import ArrayDomain
from mlgit.tasks.kinds import digits, open_task
from mlgit.tasks.kinds.shifts import SHIFTS
from mlgit.tasks.task import Task

DOMAINS = ("blur", "bold", "noise", "plain", "rotate", "shift")


def task(test_domain: str | None = None, **options: JsonValue) -> Task:
    return open_task(TaskDefinition(name="t", kind="digits", test_domain=test_domain, options=options))


def pixels(of: Task) -> torch.Tensor:
    domains = [domain for domain in of.data.domains if isinstance(domain, ArrayDomain)]
    return torch.cat([domain.pixels for domain in domains])


def test_the_data_never_change() -> None:
    assert task("rotate").data_digest == "f2d0afca9aa8a64c47baf94fbed4b74e21d59e0c3fe7e946b2f64404e89219a2"
    assert task("rotate").digest == "444223b18c2287d37c977a424b0e8d20bf4ac716a3753f45d6217980e706765b"
    assert (
        task(part="pretrain", domains=["plain"]).digest
        == "07b95141fc5f9a3c37ec96879b343365a699e0829391a0c4d6af3b52d36c89fc"
    )
    assert task(labels="parity").digest == "ea97f56c5f740e392ec9bc312d2a0f7b03b73e51685e7d32ad635952b732885d"


def test_the_raw_bytes_of_all_domains_never_change() -> None:
    everything = b"".join(
        pixels(task(part=part, domains=[name])).numpy().tobytes() for part in digits.PARTS for name in SHIFTS
    )
    assert blake3(everything).hexdigest() == "327b7ff4675877c12a600cc7127041e7e1395c33042a3757117d30e58ceb697e"


def test_another_process_sees_the_same_digest() -> None:
    code = (
        "from mlgit.tasks import TaskDefinition; from mlgit.tasks.kinds import open_task;"
        "print(open_task(TaskDefinition(name='x', kind='digits', test_domain='rotate')).digest)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == task("rotate").digest


def test_the_digest_depends_on_what_matters_and_not_on_the_name_or_the_order_of_options() -> None:
    base = task("rotate")
    others = [
        task("shift"),
        task(part="target"),
        task("rotate", labels="parity"),
        task("rotate", part="pretrain"),
        task("rotate", domains=["plain", "rotate"]),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == 6
    renamed = open_task(TaskDefinition(name="another", kind="digits", test_domain="rotate"))
    assert renamed.digest == base.digest
    assert task("rotate", part="target", labels="digit").digest == base.digest
    assert task("rotate", domains=["rotate", "blur"]).digest == task("rotate", domains=["blur", "rotate"]).digest
    assert task("shift").data_digest == base.data_digest


def test_parts_share_no_image_and_together_are_all_of_them() -> None:
    shown = [pixels(task(part=part, domains=["plain"])) for part in ("pretrain", "auxiliary", "target")]
    assert [len(part) for part in shown] == [500, 297, 1000]
    as_bytes = sorted(bytes(image.numpy().tobytes()) for image in torch.cat(shown))
    raw = load_digits().images.astype(np.int64)
    assert as_bytes == sorted(
        ((raw * 255 + 8) // 16).astype(np.uint8).reshape(1797, 64)[i].tobytes() for i in range(1797)
    )


def test_within_a_part_no_image_stands_in_two_domains(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, tuple[int, ...]] = {}

    def spy(name: str) -> object:
        return lambda images, members: seen.setdefault(name, tuple(members)) and images

    monkeypatch.setattr(digits, "SHIFTS", {name: spy(name) for name in DOMAINS})
    task("rotate")
    assert {name: len(members) for name, members in seen.items()} == {
        "blur": 167, "bold": 167, "noise": 167, "plain": 167, "rotate": 166, "shift": 166
    }  # fmt: skip
    assert len(set().union(*seen.values())) == 1000


def test_labels_belong_to_their_images() -> None:
    raw = ((load_digits().images.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)
    by_bytes = {image.tobytes(): int(digit) for image, digit in zip(raw, load_digits().target, strict=True)}
    truth = {
        "digit": lambda d: d,
        "parity": lambda d: d % 2,
        "large": lambda d: d > 4,
        "prime": lambda d: d in (2, 3, 5, 7),
    }
    for labels, answer in truth.items():
        opened = task(labels=labels, part="target", domains=["plain"])
        (domain,) = opened.data.domains
        expected = [int(answer(by_bytes[image.numpy().tobytes()])) for image in pixels(opened)]
        assert domain.labels.tolist() == expected
        assert opened.num_classes == len(set(expected))


def test_the_default_part_is_target_with_a_test_domain_and_auxiliary_without() -> None:
    assert sum(len(domain) for domain in task("rotate").data.domains) == 1000
    assert sum(len(domain) for domain in task().data.domains) == 297


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(DOMAINS), st.integers(0, 3), st.sampled_from(["target", "auxiliary"]))
def test_training_validation_and_test_share_nothing(test_domain: str, trial: int, part: str) -> None:
    opened = task(test_domain, part=part)
    training, validation, test = opened.training(trial), opened.validation(trial), opened.test()
    assert test_domain not in training.names + validation.names
    assert test.names == (test_domain,)
    assert training.names == validation.names == tuple(name for name in DOMAINS if name != test_domain)
    assert len(training) + len(validation) + len(test) == (1000 if part == "target" else 297)
    for inside, outside in zip(training.domains, validation.domains, strict=True):
        assert isinstance(inside, ArrayDomain)
        assert isinstance(outside, ArrayDomain)
        both = [image.numpy().tobytes() for image in torch.cat([inside.pixels, outside.pixels])]
        whole = opened.domain(inside.name)
        assert isinstance(whole, ArrayDomain)
        assert sorted(both) == sorted(image.numpy().tobytes() for image in whole.pixels)
        assert len(outside) == len(whole) // 5


def test_without_a_test_domain_all_domains_train_and_there_is_no_test_split() -> None:
    opened = task()
    assert opened.training().names == DOMAINS
    assert opened.test_domain is None
    with pytest.raises(InvalidInputError) as caught:
        opened.test()
    assert caught.value.kind == "no-test-domain"


def test_trials_differ_and_a_trial_repeats() -> None:
    opened = task("rotate")
    assert opened.validation(0).digest == opened.validation().digest != opened.validation(1).digest


def test_certificates_see_the_whole_test_domain_and_the_validation_part_of_the_others() -> None:
    opened = task("rotate")
    split = opened.evaluation_split("shift", "rotate", "blur", trial=2)
    assert split.names == ("blur", "rotate", "shift")
    validation = {domain.name: domain.digest for domain in opened.validation(2).domains}
    digests = {domain.name: domain.digest for domain in split.domains}
    assert digests == {
        "blur": validation["blur"],
        "rotate": opened.domain("rotate").digest,
        "shift": validation["shift"],
    }
    assert opened.evaluation_split().names == DOMAINS
    with pytest.raises(NotFoundError, match="no domain 'blurr'"):
        opened.evaluation_split("blurr")


def test_images_are_about_normal_and_of_the_declared_shape() -> None:
    opened = task(part="target", domains=["plain"])
    images = opened.data.domains[0].images(torch.arange(1000))
    assert images.dtype == torch.float32
    assert tuple(images.shape[1:]) == opened.input_shape == (1, 8, 8)
    assert abs(images.mean().item()) < 0.02
    assert images.std().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("options", "test_domain", "error", "kind", "hint"),
    [
        ({"label": "digit"}, None, InvalidInputError, "unknown-option", "did you mean 'labels'?"),
        ({"labels": "digits"}, None, InvalidInputError, "bad-option", "did you mean 'digit'?"),
        ({"labels": 3}, None, InvalidInputError, "bad-option", None),
        ({"labels": ["digit"]}, None, InvalidInputError, "bad-option", None),
        ({"part": "pretrian"}, None, InvalidInputError, "bad-option", "did you mean 'pretrain'?"),
        ({"domains": ["blurr"]}, None, NotFoundError, "unknown-domain", "did you mean 'blur'?"),
        ({"domains": []}, None, InvalidInputError, "bad-option", None),
        ({"domains": ["blur", "blur"]}, None, InvalidInputError, "bad-option", None),
        ({"domains": "blur"}, None, InvalidInputError, "bad-option", None),
        ({"domains": [1]}, None, InvalidInputError, "bad-option", None),
        ({"domains": [["blur"]]}, None, InvalidInputError, "bad-option", None),
        ({}, "rotat", NotFoundError, "unknown-domain", "did you mean 'rotate'?"),
        ({"domains": ["blur"]}, "rotate", NotFoundError, "unknown-domain", None),
        ({"domains": ["blur"]}, "blur", InvalidInputError, "no-training-domain", None),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_hint(
    options: dict[str, JsonValue], test_domain: str | None, error: type[MlgitError], kind: str, hint: str | None
) -> None:
    with pytest.raises(error) as caught:
        task(test_domain, **options)
    assert caught.value.kind == kind
    assert hint is None or caught.value.hint == hint


def test_a_missing_scikit_learn_is_named_with_the_command_that_installs_it() -> None:
    code = """
import json, sys
sys.modules["sklearn"] = sys.modules["sklearn.datasets"] = None
from mlgit.errors import InvalidInputError
from mlgit.tasks import TaskDefinition
from mlgit.tasks.kinds import open_task
try:
    open_task(TaskDefinition(name="t", kind="digits"))
except InvalidInputError as error:
    print(json.dumps([error.kind, error.hint]))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == ["missing-extra", "pip install 'mlgit[demo]'"]


def test_other_digits_than_the_known_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data, target = load_digits(return_X_y=True)
    data = data.copy()
    data[0, 0] += 1
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda **_: (data, target))
    digits._source.cache_clear()
    try:
        with pytest.raises(InvalidInputError) as caught:
            task()
    finally:
        digits._source.cache_clear()
    assert caught.value.kind == "data-changed"


def test_every_pair_of_labellings_asks_a_different_question() -> None:
    answers = {name: [row.answer(digit) for digit in range(10)] for name, row in digits.LABELLINGS.items()}
    for one, two in itertools.combinations(answers.values(), 2):
        assert one != two
    for name, row in digits.LABELLINGS.items():
        assert sorted(set(answers[name])) == list(range(len(row.classes)))
