"""Predictions on disk: the bits that were computed, only for what they were computed for, in a bounded folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlgit.errors import IncompatibleWeightsError
from mlgit.evaluation.cache import PredictionCache, Remembered
from mlgit.evaluation.evaluator import Evaluator, selection_evaluator
from mlgit.evaluation.score import Predictions
from mlgit.models.factories import build
from mlgit.models.network import Network
from mlgit.tasks.split import TestSplit, ValidationSplit

CPU = torch.device("cpu")
MODULE = {"factory": "mlgit:digits-cnn", "classes": 3}
SIZE = len(b"mlgit predictions 1\n") + 80
WRITER = """
import sys, torch
from pathlib import Path
from mlgit.evaluation.cache import PredictionCache
from mlgit.evaluation.score import Predictions
from mlgit.tasks.arrays import ArrayDomain

folder, seed = Path(sys.argv[1]), int(sys.argv[2])
domain = ArrayDomain("a", torch.zeros(40, 1, 8, 8, dtype=torch.uint8), torch.arange(40) % 3, mean=0.5, std=0.25)
cache = PredictionCache(folder, 6 * 1500)
order = torch.randperm(12, generator=torch.Generator().manual_seed(seed)).tolist()
for turn in range(20):
    for number in order:
        key = bytes([number]) * 32
        expected = torch.full((40, 3), number / 16)
        found = cache.find(key, domain)
        assert found is None or torch.equal(found.probabilities, expected)
        if found is None:
            cache.keep(key, Predictions("a", expected, domain.labels))
"""


def weights(seed: int) -> dict[str, torch.Tensor]:
    return Network(build("mlgit:digits-cnn", num_classes=3, seed=seed)).weights()


def new_network() -> Network:
    return Network(build("mlgit:digits-cnn", num_classes=3, seed=0))


@pytest.fixture
def cache(tmp_path: Path) -> PredictionCache:
    return PredictionCache(tmp_path / "predictions")


@pytest.fixture
def split(make_domain):
    return ValidationSplit((make_domain("a", 37, seed=1), make_domain("b", 20, seed=2)))


def evaluator(cache: PredictionCache, split, module=MODULE, **options) -> Evaluator:
    return Evaluator(new_network(), split, CPU, remembered=Remembered(cache, module), **options)


def files(cache: PredictionCache) -> list[Path]:
    return sorted(cache.folder.glob("*"))


def same(left, right) -> bool:
    return all(
        torch.equal(a.probabilities, b.probabilities) and torch.equal(a.labels, b.labels)
        for a, b in zip(left, right, strict=True)
    )


def test_another_evaluator_reads_the_bits_that_were_computed_and_computes_nothing(cache, split):
    first, second = evaluator(cache, split), evaluator(cache, split)
    computed = first.predict(weights(1), key="one")
    read = second.predict(lambda: pytest.fail("the weights were asked for"), key="one")
    assert same(computed, read)
    assert [part.domain for part in read] == ["a", "b"]
    assert (first.computed, second.computed) == (1, 0)


@given(n=st.integers(1, 30), classes=st.integers(1, 7), seed=st.integers(0, 2**30))
def test_any_floats_come_back_bit_for_bit(tmp_path_factory, make_domain, n, classes, seed):
    cache = PredictionCache(tmp_path_factory.mktemp("any"))
    domain = make_domain("a", n, classes=classes)
    bits = torch.randint(-(2**31), 2**31, (n, classes), generator=torch.Generator().manual_seed(seed))
    probabilities = bits.to(torch.int32).view(torch.float32)
    cache.keep(b"k" * 32, Predictions("a", probabilities, domain.labels))
    found = cache.find(b"k" * 32, domain)
    assert torch.equal(found.probabilities.view(torch.int32), probabilities.view(torch.int32))


def test_weights_that_nobody_can_name_are_not_remembered(cache, split):
    one = evaluator(cache, split)
    one.predict(weights(1))
    one.predict(weights(1))
    assert one.computed == 2
    assert not files(cache)


@pytest.mark.parametrize(
    "change",
    [
        {"key": "two"},
        {"module": {**MODULE, "classes": 4}},
        {"module": {**MODULE, "package": "9"}},
        {"batch_size": 7},
        {"threads": 2},
    ],
    ids=str,
)
def test_whatever_may_change_the_bits_is_part_of_the_key(cache, split, change):
    evaluator(cache, split).predict(weights(1), key="one")
    options = {name: value for name, value in change.items() if name in ("module", "batch_size")}
    torch.set_num_threads(change.get("threads", 1))
    other = evaluator(cache, split, **options)
    other.predict(weights(1), key=change.get("key", "one"))
    assert other.computed == 1


@pytest.mark.parametrize("changed", ["pixels", "labels", "name", "order"])
def test_nothing_is_taken_for_other_data(cache, make_domain, changed):
    domain = make_domain("a", 12, seed=1)
    evaluator(cache, ValidationSplit((domain,))).predict(weights(1), key="one")
    other = {
        "pixels": lambda: make_domain("a", 12, seed=2),
        "labels": lambda: make_domain("a", 12, seed=1, classes=2),
        "name": lambda: make_domain("b", 12, seed=1),
        "order": lambda: domain.subset(torch.arange(12).flip(0)),
    }[changed]()
    again = evaluator(cache, ValidationSplit((other,)))
    found = again.predict(weights(1), key="one")
    assert again.computed == 1
    assert same(found, Evaluator(new_network(), ValidationSplit((other,)), CPU).predict(weights(1)))


def test_labels_are_compared_even_when_a_dataset_lies_about_its_digest(cache, make_domain):
    honest, liar = make_domain("a", 12), make_domain("a", 12, classes=2)
    evaluator(cache, ValidationSplit((honest,))).predict(weights(1), key="one")
    liar.digest = honest.digest
    again = evaluator(cache, ValidationSplit((liar,)))
    assert torch.equal(again.predict(weights(1), key="one")[0].labels, liar.labels)
    assert again.computed == 1


def test_splits_share_the_domains_they_have_in_common(cache, split):
    evaluator(cache, ValidationSplit(split.domains[:1])).predict(weights(1), key="one")
    both = evaluator(cache, split)
    expected = Evaluator(new_network(), split, CPU).predict(weights(1))
    assert same(both.predict(weights(1), key="one"), expected)
    alone = evaluator(cache, ValidationSplit(split.domains[1:]))
    alone.predict(lambda: pytest.fail("the weights were asked for"), key="one")
    assert both.computed == 1


def test_selection_is_refused_test_data_with_a_cache_too(cache, split):
    with pytest.raises(Exception, match="TestSplit"):
        selection_evaluator(new_network(), TestSplit(split.domains), CPU, remembered=Remembered(cache, MODULE))


@pytest.mark.parametrize("damage", ["every byte", "cut", "longer", "empty", "another key"])
def test_a_damaged_file_counts_as_missing_and_is_written_anew(cache, make_domain, damage):
    domain = make_domain("a", 5)
    one = ValidationSplit((domain,))
    expected = evaluator(cache, one).predict(weights(1), key="one")
    (path,) = files(cache)
    whole = path.read_bytes()
    if damage == "another key":
        evaluator(cache, one).predict(weights(2), key="two")
        (other,) = set(files(cache)) - {path}
        broken = [other.read_bytes()]
    else:
        flips = (bytes([*whole[:i], whole[i] ^ 1, *whole[i + 1 :]]) for i in range(len(whole)))
        cuts = (whole[:length] for length in range(len(whole)))
        broken = {"every byte": flips, "cut": cuts, "longer": [whole + b"\0"], "empty": [b""]}[damage]
    for data in broken:
        path.write_bytes(data)
        assert cache.find(bytes.fromhex(path.stem), domain) is None
    again = evaluator(cache, one)
    assert same(again.predict(weights(1), key="one"), expected)
    assert (again.computed, path.read_bytes()) == (1, whole)


def test_what_was_not_used_for_longest_goes_first(tmp_path, make_domain):
    domain = make_domain("a", 10)
    size_bytes = SIZE + 10 * (8 + 4 * 3) + 4
    cache = PredictionCache(tmp_path / "c", 3 * size_bytes)
    parts = Predictions("a", torch.rand(10, 3), domain.labels)
    keys = [bytes([number]) * 32 for number in range(4)]
    for age, key in enumerate(keys[:3]):
        cache.keep(key, parts)
        os.utime(cache.folder / f"{key.hex()}.predictions", ns=(age, age))
    assert cache.find(keys[0], domain) is not None  # used just now
    cache.keep(keys[3], parts)
    assert [cache.find(key, domain) is not None for key in keys] == [True, False, True, True]
    assert cache.size_bytes() <= cache.max_bytes


def test_what_was_forgotten_is_computed_again(tmp_path, make_domain):
    one = ValidationSplit((make_domain("a", 10),))
    cache = PredictionCache(tmp_path / "c", SIZE + 10 * 20 + 4)
    for key, seed in (("one", 1), ("two", 2)):
        evaluator(cache, one).predict(weights(seed), key=key)
        for path in files(cache):
            os.utime(path, ns=(1, 1))
    assert len(files(cache)) == 1
    again = evaluator(cache, one)
    assert same(again.predict(weights(1), key="one"), Evaluator(new_network(), one, CPU).predict(weights(1)))
    assert again.computed == 1


def test_predictions_larger_than_the_cache_are_not_kept_and_push_nothing_out(tmp_path, make_domain):
    cache = PredictionCache(tmp_path / "c", 1000)
    small, large = make_domain("a", 10), make_domain("a", 200)
    cache.keep(b"s" * 32, Predictions("a", torch.rand(10, 3), small.labels))
    cache.keep(b"l" * 32, Predictions("a", torch.rand(200, 3), large.labels))
    assert cache.find(b"s" * 32, small) is not None
    assert cache.find(b"l" * 32, large) is None


def test_what_a_killed_writer_left_is_counted_and_cleared(cache, make_domain):
    domain = make_domain("a", 10)
    cache.keep(b"s" * 32, Predictions("a", torch.rand(10, 3), domain.labels))
    whole = cache.size_bytes()
    (cache.folder / f".{'0' * 64}.predictions.0123456789ab.tmp").write_bytes(b"x" * 100)
    assert cache.size_bytes() == whole + 100
    assert cache.clear() == whole + 100
    assert files(cache) == []


def test_a_folder_that_cannot_be_written_costs_no_evaluation(tmp_path, split):
    (tmp_path / "file").write_text("in the way")
    one = evaluator(PredictionCache(tmp_path / "file"), split)
    assert same(one.predict(weights(1), key="one"), Evaluator(new_network(), split, CPU).predict(weights(1)))


def test_a_failed_evaluation_leaves_nothing(cache, split):
    with pytest.raises(IncompatibleWeightsError):
        evaluator(cache, split).predict({"x": torch.zeros(1)}, key="bad")
    assert not files(cache)


def test_a_second_name_for_the_same_weights_finds_what_was_computed(cache, split):
    from mlgit.weights.content import HeldWeights

    first = HeldWeights(weights(1).items(), dict.fromkeys(weights(1), "recipe"))
    stored = HeldWeights(weights(1).items(), dict.fromkeys(weights(1), "id"))
    one = evaluator(cache, split)
    expected = one.predict(first)
    one.also_known_as(first, stored)
    other = evaluator(cache, split)
    assert same(other.predict(stored), expected)
    assert (one.computed, other.computed) == (1, 0)


def test_processes_that_write_read_and_forget_at_once_never_see_wrong_predictions(tmp_path):
    folder = tmp_path / "shared"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(seed)], env=environment) for seed in range(2)
    ]
    assert [process.wait() for process in running] == [0, 0]
    found = [path for path in folder.iterdir() if path.suffix == ".predictions"]
    assert found
    assert PredictionCache(folder).size_bytes() <= 6 * 1500


LEAVE = """
import os, sys, torch
from pathlib import Path
from mlgit.evaluation.cache import PredictionCache
from mlgit.evaluation.score import Predictions
Path.replace = lambda *_: os._exit(9)
predictions = Predictions("a", torch.rand(3, 2), torch.zeros(3, dtype=torch.int64))
PredictionCache(Path(sys.argv[1])).keep(bytes(32), predictions)
"""


def test_what_a_killed_process_left_half_written_goes_with_the_next_one(cache, split):
    cache.folder.mkdir(parents=True, exist_ok=True)
    killed = subprocess.run([sys.executable, "-c", LEAVE, str(cache.folder)], check=False)
    assert killed.returncode == 9
    (left,) = files(cache)
    evaluator(cache, split).predict(weights(1), key="one")
    assert len(files(cache)) == 2
    assert left not in files(cache)
