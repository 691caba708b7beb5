from __future__ import annotations

import urllib.error
from pathlib import Path

import pytest
import torch
import torchvision

from mlgit.errors import InvalidInputError, NotFoundError, RemoteError
from mlgit.models.factories import build
from mlgit.models.network import Network

HEADS = {
    "alexnet": "classifier.6",
    "convnext_tiny": "classifier.2",
    "densenet121": "classifier",
    "efficientnet_b0": "classifier.1",
    "efficientnet_v2_s": "classifier.1",
    "googlenet": "fc",
    "inception_v3": "fc",
    "maxvit_t": "classifier.5",
    "mnasnet0_5": "classifier.1",
    "mobilenet_v2": "classifier.1",
    "mobilenet_v3_large": "classifier.3",
    "mobilenet_v3_small": "classifier.3",
    "resnet18": "fc",
    "resnet50": "fc",
    "resnext50_32x4d": "fc",
    "shufflenet_v2_x0_5": "fc",
    "swin_t": "head",
    "swin_v2_t": "head",
    "vgg11": "classifier.6",
    "vit_b_16": "heads.head",
    "wide_resnet50_2": "fc",
}
TINY = [
    ("resnet18", 32),
    ("mobilenet_v3_small", 32),
    ("mobilenet_v2", 32),
    ("efficientnet_b0", 32),
    ("shufflenet_v2_x0_5", 64),
    ("regnet_y_400mf", 32),
]


@pytest.mark.parametrize(("name", "head"), HEADS.items())
def test_the_head_is_found_in_every_family(name: str, head: str) -> None:
    with torch.device("meta"):
        network = Network(build(f"torchvision:{name}", num_classes=7)).eval()
    assert network.head == head
    assert network.num_classes == 7
    images = torch.empty(
        2, 3, 299 if name == "inception_v3" else 224, 299 if name == "inception_v3" else 224, device="meta"
    )
    assert network.features(images).shape == (2, network.num_features)


@pytest.mark.parametrize(("name", "size"), TINY)
def test_features_through_the_head_are_the_logits(name: str, size: int) -> None:
    network = Network(build(f"torchvision:{name}", num_classes=5)).eval()
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(network.head_module(network.features(images)), network(images))


def test_features_through_the_head_are_the_logits_of_a_small_transformer_and_a_small_convnext() -> None:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt
    from torchvision.models.vision_transformer import VisionTransformer

    vit = VisionTransformer(
        image_size=16, patch_size=8, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=5
    )
    convnext = ConvNeXt([CNBlockConfig(8, None, 2)], num_classes=5)
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for module, head in ((vit, "heads.head"), (convnext, "classifier.2")):
        torch.nn.init.normal_(module.get_submodule(head).weight)  # a transformer's head starts with zeros
        network = Network(module).eval()
        assert network.head == head
        with torch.no_grad():
            logits = network(images)
            assert logits.abs().max() > 0
            torch.testing.assert_close(network.head_module(network.features(images)), logits)


def test_random_weights_are_a_function_of_the_seed() -> None:
    one, two, other = (build("torchvision:mobilenet_v3_small", seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["classifier.3.weight"], other["classifier.3.weight"])


def test_a_network_is_rebuilt_from_weights_of_another_number_of_classes() -> None:
    original = Network(build("torchvision:resnet18", num_classes=4, seed=2)).eval()
    rebuilt = Network.from_weights("torchvision:resnet18", None, original.weights()).eval()
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(rebuilt(images), original(images))


@pytest.mark.parametrize(
    ("name", "pretrained", "kind", "hint"),
    [
        ("resnet81", None, "unknown-model", "did you mean 'resnet18'?"),
        ("fcn_resnet50", None, "unknown-model", None),
        ("resnet18", "imagenet1k_v9", "unknown-weights", "did you mean 'IMAGENET1K_V1'?"),
    ],
)
def test_unknown_models_and_weights_are_not_found(
    name: str, pretrained: str | None, kind: str, hint: str | None
) -> None:
    with pytest.raises(NotFoundError) as caught:
        build(f"torchvision:{name}", pretrained=pretrained)
    assert caught.value.kind == kind
    assert hint is None or caught.value.hint == hint


@pytest.mark.parametrize(
    "failure", [urllib.error.URLError("no network"), ConnectionResetError("reset"), RuntimeError("invalid hash value")]
)
def test_weights_that_cannot_be_fetched_are_a_remote_error(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(RemoteError) as caught:
        build("torchvision:mobilenet_v3_small", pretrained="default")
    assert caught.value.kind == "download-failed"
    assert "mlgit import" in (caught.value.hint or "")
    assert "IMAGENET1K_V1" in caught.value.message


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, torch.Tensor]:
    """Stand in for the network: the 'published' weights of mobilenet_v3_small are random ones made here."""
    model = torchvision.models.mobilenet_v3_small()
    content = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def serve(url: str, destination: str, hash_prefix: str | None = None, progress: bool = True) -> None:
        assert not progress
        torch.save(content, destination)

    monkeypatch.setattr(torch.hub, "download_url_to_file", serve)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return content


@pytest.mark.parametrize("pretrained", ["default", "DEFAULT", "IMAGENET1K_V1", "imagenet1k_v1"])
def test_published_weights_are_loaded(published: dict[str, torch.Tensor], pretrained: str) -> None:
    weights = build("torchvision:mobilenet_v3_small", pretrained=pretrained).state_dict()
    assert list(weights) == list(published)
    assert all(torch.equal(weights[name], published[name]) for name in weights)


def test_published_weights_with_other_classes_get_a_seeded_new_head(published: dict[str, torch.Tensor]) -> None:
    one, two, other = (
        build("torchvision:mobilenet_v3_small", pretrained="default", num_classes=7, seed=seed).state_dict()
        for seed in (1, 1, 2)
    )
    assert one["classifier.3.weight"].shape == (7, 1024)
    assert torch.equal(one["classifier.3.weight"], two["classifier.3.weight"])
    assert not torch.equal(one["classifier.3.weight"], other["classifier.3.weight"])
    assert torch.equal(one["classifier.0.weight"], published["classifier.0.weight"])


def test_a_classifier_that_is_a_convolution_cannot_be_a_head() -> None:
    with pytest.raises(InvalidInputError, match="no linear layer"):
        Network(build("torchvision:squeezenet1_1"))


def test_auxiliary_classifiers_are_left_out_so_that_training_sees_logits_only() -> None:
    network = Network(build("torchvision:googlenet", num_classes=3)).train()
    assert not [name for name in network.weights() if "aux" in name.lower()]
    assert network(torch.randn(2, 3, 64, 64)).shape == (2, 3)
