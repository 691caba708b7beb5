from __future__ import annotations

import pytest
import torch

from mlgit.errors import InvalidInputError
from mlgit.models.device import resolve_device


def machine(monkeypatch: pytest.MonkeyPatch, *, cuda: int, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(("cuda", "mps", "best"), [(2, True, "cuda"), (0, True, "mps"), (0, False, "cpu")])
def test_auto_takes_the_best_there_is(monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, best: str) -> None:
    machine(monkeypatch, cuda=cuda, mps=mps)
    assert resolve_device("auto") == torch.device(best)


def test_named_devices_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, cuda=2, mps=True)
    assert [str(resolve_device(name)) for name in ("cpu", "cuda", "cuda:1", "mps")] == ["cpu", "cuda", "cuda:1", "mps"]


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_a_device_this_machine_lacks_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    machine(monkeypatch, cuda=0, mps=False)
    with pytest.raises(InvalidInputError) as caught:
        resolve_device(name)
    assert caught.value.kind == "no-device"


def test_a_number_beyond_the_last_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, cuda=2, mps=False)
    with pytest.raises(InvalidInputError, match="'cuda:2'"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["", "gpu", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "auto:0", "cuda:0:1", "a\x1b"])
def test_what_is_no_device_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        resolve_device(name)
    assert caught.value.kind == "unknown-device"
    assert "\x1b" not in caught.value.message
