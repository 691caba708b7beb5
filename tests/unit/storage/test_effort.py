from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlgit.errors import InvalidInputError
from mlgit.porcelain.commit import commit
from mlgit.porcelain.init import init
from mlgit.repository import Repository
from mlgit.storage.effort import Effort
from mlgit.weights.header import build_header

COUNT = 1 << 17


def write(repository: Repository, values: np.ndarray) -> None:
    header = build_header({"weight": ("F32", values.shape)})
    (repository.root / "model.safetensors").write_bytes(header.prefix + values.astype("<f4").tobytes())


def drifting() -> list[np.ndarray]:
    """Checkpoints of one run: each is close to the one before, and ever further from the first."""
    rng = np.random.default_rng(0)
    states = [rng.normal(size=COUNT)]
    for _ in range(4):
        moved = rng.random(COUNT) < 0.02
        states.append(np.where(moved, states[-1] * 1.3, states[-1]))
    return states


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return init(tmp_path / "model").repository


def history(repository: Repository, effort: Effort | None) -> int:
    for number, values in enumerate(drifting()):
        write(repository, values)
        commit(repository, f"state {number}", effort=effort)
    return repository.objects.stored_bytes()


def test_more_effort_makes_a_smaller_history_of_the_same_content(tmp_path: Path) -> None:
    sizes, heads = {}, set()
    for effort in Effort:
        made = init(tmp_path / effort).repository
        sizes[effort] = history(made, effort)
        assert made.head is not None
        heads.add(made.manifest_of(made.head).id)
        (weight,) = made.manifest_of(made.head).tensors.values()
        assert made.objects.read(weight.id) == drifting()[-1].astype("<f4").tobytes()
    assert sizes[Effort.SMALL] < 0.9 * sizes[Effort.NORMAL]
    assert sizes[Effort.NORMAL] < 0.9 * sizes[Effort.FAST]
    assert len(heads) == 1


def test_whole_tensors_need_no_other(repository: Repository) -> None:
    history(repository, Effort.FAST)
    assert not any(repository.objects.bases(found) for found in repository.objects.ids("tensor"))


def test_the_setting_decides_where_nothing_is_said(repository: Repository) -> None:
    (repository.folder / "config.toml").write_text('[storage]\neffort = "fast"\n')
    history(repository, None)
    assert not any(repository.objects.bases(found) for found in repository.objects.ids("tensor"))
    write(repository, drifting()[0] * 1.01)
    commit(repository, "said", effort=Effort.SMALL)
    assert any(repository.objects.bases(found) for found in repository.objects.ids("tensor"))


def test_an_unknown_setting_is_refused_by_name(repository: Repository) -> None:
    write(repository, drifting()[0])
    (repository.folder / "config.toml").write_text('[storage]\neffort = "huge"\n')
    with pytest.raises(InvalidInputError, match=r"'storage\.effort' is 'huge'"):
        commit(repository, "never")
    assert repository.head is None
