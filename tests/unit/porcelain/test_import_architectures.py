"""Networks of other libraries come in from factories, local files and model directories."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mlgit.errors import IncompatibleWeightsError, InvalidInputError, NotFoundError
from mlgit.models.factories import build
from mlgit.porcelain.import_ import ImportOptions, import_model
from mlgit.porcelain.init import init
from mlgit.porcelain.open_model import open_network
from mlgit.repository import Repository
from mlgit.weights.stored import load

SMALL = "torchvision:shufflenet_v2_x0_5"


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return init(tmp_path / "repo").repository


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_of_a_factory_come_from_a_local_file(repo: Repository, tmp_path: Path, suffix: str) -> None:
    weights = build(SMALL, num_classes=4, seed=7).state_dict()
    path = tmp_path / f"published{suffix}"
    torch.save(weights, path) if suffix == ".pth" else save_file(weights, path)
    found = import_model(repo, SMALL, options=ImportOptions(weights=str(path)))
    manifest = repo.manifest_of(found.id)
    stored = load(repo.objects, manifest)
    assert (manifest.factory, manifest.head, found.new_head) == (SMALL, "fc", False)
    assert stored.keys() == weights.keys()
    assert all(torch.equal(stored[name], weights[name]) for name in weights)
    assert found.commit.made["source"] == path.name
    assert found.commit.subject == f"import {SMALL}"


def test_a_local_file_that_is_missing_or_of_another_model_is_named(repo: Repository, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"missing\.pth"):
        import_model(repo, SMALL, options=ImportOptions(weights=str(tmp_path / "missing.pth")))
    torch.save(build("mlgit:digits-cnn").state_dict(), tmp_path / "digits.pth")
    with pytest.raises(IncompatibleWeightsError):
        import_model(repo, SMALL, options=ImportOptions(weights=str(tmp_path / "digits.pth")))


def test_a_named_head_is_recorded_and_gets_the_number_of_classes(repo: Repository) -> None:
    (repo.root / "two.py").write_text(
        "from torch import nn\n"
        "class Two(nn.Module):\n"
        "    def __init__(self, num_classes=3):\n"
        "        super().__init__()\n"
        "        self.body, self.out = nn.Linear(4, 5), nn.Linear(5, num_classes)\n"
        "        self.unused = nn.Linear(5, 2)\n"
        "    def forward(self, x):\n"
        "        return self.out(self.body(x.flatten(1)))\n"
    )
    found = import_model(repo, "python:two:Two", options=ImportOptions(head="out", trust_code=True))
    manifest = repo.manifest_of(found.id)
    assert manifest.head == "out"
    from mlgit.porcelain.open_model import Runtime

    network = open_network(repo, manifest, runtime=Runtime(trust_code=True), num_classes=7)
    assert network(torch.randn(2, 1, 2, 2)).shape == (2, 7)
    with pytest.raises(InvalidInputError, match="no linear layer 'body2'"):
        import_model(repo, "python:two:Two", options=ImportOptions(head="body2", trust_code=True))


def test_a_head_without_a_factory_is_refused(repo: Repository, tmp_path: Path) -> None:
    save_file({"fc.weight": torch.zeros(2, 2)}, tmp_path / "w.safetensors")
    with pytest.raises(InvalidInputError, match="no module to name the classifier of"):
        import_model(repo, str(tmp_path / "w.safetensors"), options=ImportOptions(head="fc"))


def test_a_model_directory_of_transformers_is_built_from_its_own_configuration(
    repo: Repository, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=16
    )
    config.num_labels = 3
    model = transformers.ViTForImageClassification(config).eval()
    model.save_pretrained(tmp_path / "vit")
    found = import_model(repo, str(tmp_path / "vit"), options=ImportOptions(factory="transformers:."))
    manifest = repo.manifest_of(found.id)
    assert (repo.root / "config.json").exists()
    assert (manifest.factory, manifest.head) == ("transformers:.", "classifier")
    network = open_network(repo, manifest).load(load(repo.objects, manifest)).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(images), model(images).logits)
    assert found.commit.made["packages"]["transformers"] == transformers.__version__
    assert open_network(repo, manifest, num_classes=9).num_classes == 9
