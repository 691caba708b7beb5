"""What fine-tuning and averaging need of a network holds for every family of networks, whichever library it is from."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from mlgit.errors import InvalidInputError, NotFoundError, RemoteError
from mlgit.models.factories import build
from mlgit.models.network import Network

_CONVNEXT = "hidden_sizes=[8,8,16,16]&depths=[1,1,1,1]"
_VIT = "hidden_size=16&num_hidden_layers=1&num_attention_heads=2&intermediate_size=32&image_size=32&patch_size=16"
_RESNET = "embedding_size=8&hidden_sizes=[8,8,16,16]&depths=[1,1,1,1]&layer_type=basic"


def small_vit() -> nn.Module:
    from torchvision.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        image_size=32, patch_size=16, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=5
    )


def small_convnext() -> nn.Module:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=5)


def made(factory: str) -> Callable[[], nn.Module]:
    return lambda: build(factory, num_classes=5)


# name -> how to build it, its head, the width of its features, whether it keeps batch statistics
FAMILIES: dict[str, tuple[Callable[[], nn.Module], str, int, bool]] = {
    "torchvision resnet": (made("torchvision:resnet18"), "fc", 512, True),
    "torchvision mobilenet v2": (made("torchvision:mobilenet_v2"), "classifier.1", 1280, True),
    "torchvision mobilenet v3": (made("torchvision:mobilenet_v3_small"), "classifier.3", 1024, True),
    "torchvision vit": (small_vit, "heads.head", 8, False),
    "torchvision convnext": (small_convnext, "classifier.2", 16, False),
    "timm resnet": (made("timm:test_resnet"), "fc", 96, True),
    "timm mobilenet v2": (made("timm:mobilenetv2_035"), "classifier", 1280, True),
    "timm mobilenet v3": (made("timm:mobilenetv3_small_050"), "classifier", 1024, True),
    "timm vit": (made("timm:test_vit?img_size=32"), "head", 64, False),
    "timm convnext": (made("timm:test_convnext"), "head.fc", 64, False),
    "transformers vit": (made(f"transformers:vit?{_VIT}"), "classifier", 16, False),
    "transformers resnet": (made(f"transformers:resnet?{_RESNET}"), "classifier.1", 16, True),
    "transformers convnext": (made(f"transformers:convnext?{_CONVNEXT}"), "classifier", 16, False),
    "transformers mobilenet v2": (made("transformers:mobilenet_v2?image_size=32"), "classifier", 1280, True),
    "digits": (made("mlgit:digits-cnn"), "classifier", 128, True),
}


def pictures(name: str, size: int = 3, seed: int = 0) -> torch.Tensor:
    shape = (1, 8, 8) if name == "digits" else (3, 32, 32)
    return torch.randn(size, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    library = str(request.param).partition(" ")[0]
    if library in ("timm", "transformers") and importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    return str(request.param)


def network_of(family: str) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network(FAMILIES[family][0]())
        nn.init.normal_(network.head_module.weight)  # some heads start with zeros
        return network


def statistics(network: Network) -> dict[str, torch.Tensor]:
    ends = ("running_mean", "running_var", "num_batches_tracked")
    return {name: tensor for name, tensor in network.weights().items() if name.endswith(ends)}


def test_every_family_splits_into_featurizer_and_head(family: str) -> None:
    _, head, width, _ = FAMILIES[family]
    network = network_of(family).eval()
    assert (network.head, network.num_classes) == (head, 5)
    assert {*network.featurizer_names, *network.head_names} == set(network.module.state_dict())
    assert set(network.head_names) == {f"{head}.weight", f"{head}.bias"}
    assert not set(network.featurizer_names) & set(network.head_names)
    images = pictures(family)
    with torch.no_grad():
        features, logits = network.features(images), network(images)
        assert features.shape == (3, width)
        assert logits.std() > 0
        torch.testing.assert_close(network.head_module(features), logits)


def test_every_family_takes_another_head_and_drops_what_the_head_is_given(family: str) -> None:
    network = network_of(family).eval()
    images = pictures(family)
    with torch.no_grad():
        before = network.features(images)
        network.replace_head(2, seed=0)
        assert network(images).shape == (3, 2)
        assert torch.equal(network.features(images), before), "the featurizer is the same"
        network.set_dropout(0.5)
        exact = network.head_module(before)  # called by itself, in evaluation mode
        torch.testing.assert_close(network(images), exact)
        network.head_module.train()  # the rest stays in evaluation mode: only the head's input can differ now
        given: list[torch.Tensor] = []
        network.head_module.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
        with torch.random.fork_rng():
            network(images)
    kept = given[0] != 0
    torch.testing.assert_close(given[0][kept], 2 * before[kept])
    assert 0.2 < kept.float().mean() < 0.8 or before.numel() < 50


def test_frozen_statistics_stay_while_every_parameter_learns(family: str) -> None:
    keeps = FAMILIES[family][3]
    network = network_of(family).freeze_statistics().train()
    before = statistics(network)
    assert bool(before) is keeps
    network(pictures(family)).square().sum().backward()
    after = statistics(network)
    assert all(torch.equal(before[name], after[name]) for name in before)
    untrained = [name for name, parameter in network.module.named_parameters() if parameter.grad is None]
    assert set(untrained) <= {"vit.embeddings.mask_token"}
    free = network_of(family).train()
    free(pictures(family))
    moved = statistics(free)
    assert keeps is any(not torch.equal(before[name], moved[name]) for name in before), "else nothing was shown"


def test_every_family_gives_the_same_weights_for_the_same_seed_and_takes_them_back(family: str) -> None:
    one = network_of(family).eval()
    other = Network(FAMILIES[family][0]()).eval().load(one.weights())
    with torch.no_grad():
        assert torch.equal(one(pictures(family)), other(pictures(family)))


def test_random_weights_of_timm_and_transformers_are_a_function_of_the_seed() -> None:
    pytest.importorskip("timm")
    pytest.importorskip("transformers")
    for factory in ("timm:test_vit?img_size=32", f"transformers:vit?{_VIT}"):
        one, two, other = (build(factory, num_classes=3, seed=seed).state_dict() for seed in (1, 1, 2))
        assert all(torch.equal(one[name], two[name]) for name in one)
        assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("torchvision:vit_b_16?image_size", "not one argument"),
        ("torchvision:vit_b_16?image_size=32&image_size=16", "not one argument"),
        ("torchvision:resnet18?weights=DEFAULT", "no argument for the text"),
        ("torchvision:resnet18?num_classes=3", "no argument for the text"),
        ("torchvision:resnet18?colour=3", "cannot be built so"),
        ("torchvision:resnet18?norm_layer={}", "no number, list of numbers or word"),
        ("torchvision:vit_b_16?image_size=33", "cannot be built so"),
    ],
)
def test_arguments_that_a_model_does_not_take_are_refused(factory: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        build(factory)


def test_an_argument_changes_the_model() -> None:
    with torch.device("meta"):
        module = build("torchvision:vit_b_16?image_size=32", num_classes=3)
        assert module(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 3)


@pytest.mark.parametrize("extra", ["timm", "transformers"])
def test_a_missing_library_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch, extra: str) -> None:
    monkeypatch.setitem(sys.modules, extra, None)  # as if it were not there
    with pytest.raises(NotFoundError) as caught:
        build(f"{extra}:vit")
    assert caught.value.kind == "missing-extra"
    assert caught.value.hint == f"install it with `pip install 'mlgit[{extra}]'`"


class OwnNorm(nn.Module):
    """Normalises by a running variance, and is no batch normalisation of torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("running_var", torch.ones(1))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.running_var.lerp_(values.detach().var(), 0.5)
        return self.scale * values / self.running_var


def test_statistics_of_other_norms_are_frozen_too() -> None:
    network = Network(nn.Sequential(OwnNorm(), nn.Linear(4, 2))).freeze_statistics().train()
    network(torch.randn(8, 4)).sum().backward()
    assert network.weights()["0.running_var"] == 1
    assert network.module[0].scale.grad is not None


def test_what_timm_does_not_have_is_not_found() -> None:
    pytest.importorskip("timm")
    for factory, pretrained, kind in (
        ("timm:resnet81", None, "unknown-model"),
        ("timm:hf-hub:someone/model", None, "unknown-model"),
        ("timm:resnet18", "a9_in1k", "unknown-weights"),
        ("timm:vit_giant_patch14_224", "default", "unknown-weights"),
    ):
        with pytest.raises(NotFoundError) as caught:
            build(factory, pretrained=pretrained)
        assert caught.value.kind == kind
    with pytest.raises(InvalidInputError, match="more than one"), torch.device("meta"):
        build("timm:deit_tiny_distilled_patch16_224")


def test_weights_that_timm_cannot_fetch_are_a_remote_error(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    asked: list[str] = []

    def create(name: str, **options: object) -> nn.Module:
        asked.append(name)
        assert options == {"pretrained": True, "num_classes": 3}
        raise OSError("no network\nat all")

    monkeypatch.setattr(timm, "create_model", create)
    for pretrained in ("default", "a1_in1k"):
        with pytest.raises(RemoteError, match="no network") as caught:
            build("timm:resnet18", pretrained=pretrained, num_classes=3)
        assert "mlgit import FILE --factory timm:resnet18" in (caught.value.hint or "")
    assert asked == ["resnet18", "resnet18.a1_in1k"]


def test_transformers_fetches_nothing_and_reads_no_file_elsewhere() -> None:
    pytest.importorskip("transformers")
    for factory, pretrained, kind in (
        ("transformers:vit", "default", "no-pretrained"),
        ("transformers:/etc/config.json", None, "bad-factory"),
        ("transformers:/etc", None, "bad-factory"),
        ("transformers:vit?attn_implementation=x", None, "bad-factory"),
        ("transformers:bert", None, "unknown-model"),
        ("transformers:timm_wrapper?architecture=resnet18", None, "unknown-model"),
        ("transformers:./nothing.json", None, "no-model-config"),
    ):
        with pytest.raises((InvalidInputError, NotFoundError)) as caught:
            build(factory, pretrained=pretrained)
        assert caught.value.kind == kind, factory


def test_a_configuration_is_used_without_what_leads_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    config = dict(pair.split("=") for pair in _VIT.split("&"))
    numbers: dict[str, object] = {key: int(value) for key, value in config.items()}
    elsewhere = {"_attn_implementation": "someone/kernel", "auto_map": {"AutoConfig": "someone/code--x.Y"}}
    inside = {"label2id": {"_attn_implementation": 1}}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", **numbers, **elsewhere, **inside}))
    module = build("transformers:.", num_classes=3, search=tmp_path)
    assert module.config._attn_implementation in ("sdpa", "eager")
    assert not hasattr(module.config, "auto_map")
    assert Network(module)(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    for text in ("[]", "{", "{}", '{"model_type": 3}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InvalidInputError) as caught:
            build("transformers:.", search=tmp_path)
        assert caught.value.kind == "bad-model-config"
