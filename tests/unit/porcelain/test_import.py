"""Bringing models in: what is kept to the byte, what is refused, and what the working directory keeps."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mlgit.errors import ConflictError, IncompatibleWeightsError, InvalidInputError, MlgitError, NotFoundError
from mlgit.models.factories import build
from mlgit.objects import Stage
from mlgit.porcelain.commit import commit
from mlgit.porcelain.import_ import ImportOptions, import_model
from mlgit.porcelain.init import init
from mlgit.porcelain.status import status
from mlgit.porcelain.task import add_task, list_tasks
from mlgit.repository import Repository
from mlgit.weights.stored import load

Fingerprint = Callable[[Path], dict[str, str]]
CNN = "mlgit:digits-cnn"


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return init(tmp_path / "repo").repository


def head_weights(repo: Repository) -> dict[str, torch.Tensor]:
    return load(repo.objects, repo.manifest_of(repo.resolve("HEAD")))


def test_a_factory_gives_the_weights_of_its_seed(repo: Repository) -> None:
    made = import_model(repo, CNN, options=ImportOptions(seed=3))
    expected = build(CNN, seed=3).state_dict()
    found = head_weights(repo)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert made.commit.stage is Stage.PRETRAIN
    assert (made.commit.made["seed"], made.commit.made["source"], made.commit.made["weights"]) == (3, CNN, "none")
    assert repo.manifest_of(made.id).factory == CNN
    assert status(repo).clean


def test_a_safetensors_file_is_kept_to_the_byte(repo: Repository, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"z": torch.randn(3).bfloat16(), "a": torch.zeros(0, 4)}, path, metadata={"note": "ours"})
    import_model(repo, str(path))
    assert (repo.root / "model.safetensors").read_bytes() == path.read_bytes()


def test_a_pickle_of_tensors_becomes_safetensors(repo: Repository, tmp_path: Path) -> None:
    weights = {"a": torch.randn(2, 3), "b": torch.arange(4)}
    torch.save({"state_dict": weights}, tmp_path / "w.pt")
    import_model(repo, str(tmp_path / "w.pt"))
    found = load_file(repo.root / "model.safetensors")
    assert all(torch.equal(found[name], value) for name, value in weights.items())


class Harm:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return exec, ("raise SystemExit('it ran')",)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt"])
def test_a_pickle_that_carries_code_is_refused_and_nothing_runs(
    repo: Repository, tmp_path: Path, fingerprint: Fingerprint, suffix: str
) -> None:
    import_model(repo, CNN)
    torch.save({"a": torch.zeros(1), "b": Harm()}, tmp_path / f"zip{suffix}")
    (tmp_path / f"plain{suffix}").write_bytes(pickle.dumps({"a": Harm()}))
    before = fingerprint(repo.root)
    for name in ("zip", "plain"):
        with pytest.raises(InvalidInputError):
            import_model(repo, str(tmp_path / f"{name}{suffix}"))
    assert fingerprint(repo.root) == before


def test_a_hugging_face_directory_comes_with_its_small_files(repo: Repository, tmp_path: Path) -> None:
    root = tmp_path / "hf"
    root.mkdir()
    parts = {
        "model-00001-of-00002.safetensors": {"a": torch.randn(3)},
        "model-00002-of-00002.safetensors": {"b": torch.ones(2)},
    }
    for name, tensors in parts.items():
        save_file(tensors, root / name)
    index = {"metadata": {"total_size": 20}, "weight_map": {"a": next(iter(parts)), "b": list(parts)[1]}}
    (root / "model.safetensors.index.json").write_text(json.dumps(index))
    (root / "config.json").write_text('{"x": 1}')
    import_model(repo, str(root))
    for path in root.iterdir():
        assert (repo.root / path.name).read_bytes() == path.read_bytes()
    assert status(repo).clean


def test_weights_without_a_classifier_get_the_one_of_the_factory(repo: Repository, tmp_path: Path) -> None:
    weights = build(CNN, seed=9).state_dict()
    body = {name: value for name, value in weights.items() if not name.startswith("classifier.")}
    save_file(body, tmp_path / "body.safetensors")
    made = import_model(repo, str(tmp_path / "body.safetensors"), options=ImportOptions(factory=CNN, num_classes=3))
    found = head_weights(repo)
    assert made.new_head
    assert found["classifier.weight"].shape[0] == 3
    assert all(torch.equal(found[name], value) for name, value in body.items())
    assert repo.manifest_of(made.id).head == "classifier"


def test_the_number_of_classes_is_that_of_the_weights(repo: Repository, tmp_path: Path) -> None:
    save_file(build(CNN, num_classes=4).state_dict(), tmp_path / "w.safetensors")
    made = import_model(repo, str(tmp_path / "w.safetensors"), options=ImportOptions(factory=CNN))
    assert not made.new_head
    assert (repo.root / "model.safetensors").read_bytes() == (tmp_path / "w.safetensors").read_bytes()


def test_weights_that_do_not_fit_the_factory_are_refused(
    repo: Repository, tmp_path: Path, fingerprint: Fingerprint
) -> None:
    save_file({"a": torch.zeros(3)}, tmp_path / "w.safetensors")
    before = fingerprint(repo.root)
    with pytest.raises(IncompatibleWeightsError, match="do not fit"):
        import_model(repo, str(tmp_path / "w.safetensors"), options=ImportOptions(factory=CNN))
    assert fingerprint(repo.root) == before


def test_another_model_without_a_factory_does_not_keep_the_old_one(repo: Repository, tmp_path: Path) -> None:
    import_model(repo, CNN)
    (repo.root / "mlgit.toml").write_text("# ours\n" + (repo.root / "mlgit.toml").read_text())
    save_file({"a": torch.zeros(3)}, tmp_path / "w.safetensors")
    made = import_model(repo, str(tmp_path / "w.safetensors"))
    manifest = repo.manifest_of(made.id)
    assert (manifest.factory, manifest.head) == (None, None)
    assert "digits-cnn" not in (repo.root / "mlgit.toml").read_text()
    assert "# ours" in (repo.root / "mlgit.toml").read_text()
    assert status(repo).clean


def test_new_weights_of_the_same_model_keep_its_factory(repo: Repository, tmp_path: Path) -> None:
    import_model(repo, CNN)
    save_file(build(CNN, seed=5).state_dict(), tmp_path / "w.safetensors")
    made = import_model(repo, str(tmp_path / "w.safetensors"))
    assert repo.manifest_of(made.id).factory == CNN


def test_tasks_that_are_not_committed_yet_survive_every_import(repo: Repository, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    save_file({"a": torch.zeros(3)}, tmp_path / "w.safetensors")
    add_task(repo, "one", kind="digits")
    for number, source in enumerate((str(tmp_path / "w.safetensors"), CNN, str(tmp_path / "w.safetensors"), CNN)):
        import_model(repo, source, f"import {number}")
        add_task(repo, f"more{number}", kind="digits")
    assert [each.name for each in list_tasks(repo)] == ["more0", "more1", "more2", "more3", "one"]


def test_weights_that_are_not_committed_are_not_overwritten(repo: Repository, tmp_path: Path) -> None:
    import_model(repo, CNN)
    save_file({"mine": torch.ones(3)}, repo.root / "model.safetensors")
    precious = (repo.root / "model.safetensors").read_bytes()
    head = repo.head
    with pytest.raises(ConflictError, match=r"model\.safetensors"):
        import_model(repo, CNN, options=ImportOptions(seed=1))
    assert (repo.root / "model.safetensors").read_bytes() == precious
    assert repo.head == head


def test_a_file_that_lies_in_the_directory_already_is_imported_in_place(repo: Repository) -> None:
    save_file({"mine": torch.ones(3)}, repo.root / "model.safetensors")
    import_model(repo, str(repo.root / "model.safetensors"))
    assert status(repo).clean


@pytest.mark.parametrize(
    ("source", "options", "error"),
    [
        ("nowhere.safetensors", ImportOptions(), NotFoundError),
        ("torchvision:resnot18", ImportOptions(weights="none"), NotFoundError),
        ("mlgit:nothing", ImportOptions(), NotFoundError),
        (CNN, ImportOptions(num_classes=0), InvalidInputError),
        (CNN, ImportOptions(weights="default"), MlgitError),
        ("python:os:getcwd", ImportOptions(), InvalidInputError),
        ("python:os:getcwd", ImportOptions(trust_code=True), InvalidInputError),
        ("python:no_such_module:f", ImportOptions(trust_code=True), NotFoundError),
    ],
)
def test_what_cannot_be_imported_leaves_everything_as_it_was(
    repo: Repository,
    fingerprint: Fingerprint,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    options: ImportOptions,
    error: type[MlgitError],
) -> None:
    monkeypatch.chdir(repo.root)
    import_model(repo, CNN, options=ImportOptions(seed=8))
    before = fingerprint(repo.root)
    with pytest.raises(error) as caught:
        import_model(repo, source, options=options)
    assert caught.value.exit_code != MlgitError.exit_code
    assert fingerprint(repo.root) == before


def test_code_is_trusted_once_and_not_by_what_comes_after(repo: Repository) -> None:
    (repo.root / "net.py").write_text(
        "from torch import nn\ndef create(num_classes=2):\n    return nn.Sequential(nn.Linear(4, num_classes))\n"
    )
    with pytest.raises(InvalidInputError, match="not mlgit's") as caught:
        import_model(repo, "python:net:create")
    assert caught.value.kind == "untrusted-code"
    import_model(repo, "python:net:create", options=ImportOptions(trust_code=True))
    save_file({"0.weight": torch.zeros(2, 4), "0.bias": torch.zeros(2)}, repo.root / "x.safetensors")
    with pytest.raises(InvalidInputError, match="not mlgit's"):
        import_model(repo, str(repo.root / "x.safetensors"), options=ImportOptions(factory="python:net:create"))


def test_the_directory_of_a_repository_is_not_imported(repo: Repository, tmp_path: Path) -> None:
    other = init(tmp_path / "other").repository
    import_model(other, CNN)
    with pytest.raises(InvalidInputError, match=r"mlgit\.toml") as caught:
        import_model(repo, str(other.root))
    assert caught.value.hint == "use `mlgit clone`"


def test_other_files_of_the_directory_stay(repo: Repository) -> None:
    (repo.root / "README.md").write_text("ours")
    import_model(repo, CNN)
    commit(repo, "readme")
    import_model(repo, CNN, options=ImportOptions(seed=2))
    assert (repo.root / "README.md").read_text() == "ours"
    assert status(repo).clean
