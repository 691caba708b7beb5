"""What a model of the user's own code says is remembered while the code is the same, and only then."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlgit.evaluation import evaluator
from mlgit.evaluation.score import Predictions
from mlgit.models.factories import build
from mlgit.models.network import Network
from mlgit.objects import JsonValue, Manifest
from mlgit.porcelain import model_code
from mlgit.porcelain.certify import certify
from mlgit.porcelain.commit import commit
from mlgit.porcelain.diversity import diversity
from mlgit.porcelain.evaluate import evaluate
from mlgit.porcelain.import_ import ImportOptions, import_model
from mlgit.porcelain.init import init
from mlgit.porcelain.lmc import lmc
from mlgit.porcelain.merge import MergeOptions, merge
from mlgit.porcelain.open_model import Runtime
from mlgit.porcelain.predictions import remembered
from mlgit.porcelain.switch import switch
from mlgit.porcelain.task import add_task
from mlgit.porcelain.train import TrainOptions, train
from mlgit.repository import Repository
from mlgit.training.hyper import HyperParameters

TRUSTED = Runtime(trust_code=True)
NET = """
import json
from pathlib import Path
from torch import nn
import torch
from parts import blocks

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.features, self.head = blocks.Block(), nn.Linear(4, classes)
        table = Path(__file__).with_name("table.json")
        given = json.loads(table.read_text()) if table.exists() else {}
        self.scale = given.get("scale", 1.0)
        self.register_buffer("mask", torch.full((4,), given.get("mask", 1.0)), persistent=False)

    def forward(self, images):
        return self.head(self.features(images) * self.scale * self.mask)

def create(num_classes=10):
    return Net(num_classes)
"""
BLOCKS = """
from torch import nn

class Block(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 4), nn.ReLU())
"""


def forget() -> None:
    """Let the next import read files again."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("net", "parts", "foreign", "inside")]:
        del sys.modules[name]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the code of a model; all of it counts as older than this process."""
    monkeypatch.setattr(model_code, "process_start_s", lambda: float("inf"))
    forget()
    found = tmp_path / "model"
    (found / "parts").mkdir(parents=True)
    (found / "net.py").write_text(NET)
    (found / "parts" / "__init__.py").write_text("")
    (found / "parts" / "blocks.py").write_text(BLOCKS)
    return found


def code(root: Path, factory: str = "net:create") -> dict[str, JsonValue] | None:
    module = build(f"python:{factory}", num_classes=3, trust_code=True, search=root)
    return model_code.code_of(factory, module, root)


def test_code_that_is_the_same_has_the_same_facts_wherever_it_lies(root: Path, tmp_path: Path) -> None:
    first = code(root)
    assert first is not None
    assert code(root) == first
    assert sorted(first["packages"]) == ["torch"]  # type: ignore[arg-type, type-var]
    assert str(tmp_path) not in json.dumps(first)
    moved = root.rename(tmp_path / "elsewhere")
    forget()
    assert code(moved) == first


@pytest.mark.parametrize("name", ["net.py", "parts/__init__.py", "parts/blocks.py", "other.py"])
def test_one_byte_of_any_source_file_makes_other_facts(root: Path, name: str) -> None:
    (root / "other.py").write_text("1")
    before = code(root)
    with (root / name).open("a") as file:
        file.write("#")
    after = code(root)
    assert None not in (before, after)
    assert before != after


def test_a_source_file_more_less_or_renamed_makes_other_facts(root: Path) -> None:
    found = [code(root)]
    (root / "b.py").write_text("1")
    found.append(code(root))
    (root / "b.py").rename(root / "c.py")
    found.append(code(root))
    assert None not in found
    assert len({json.dumps(each) for each in found}) == 3
    (root / "c.py").unlink()
    assert code(root) == found[0]


@pytest.mark.parametrize("table", [{"scale": 2.0}, {"mask": 0.5}])
def test_a_setting_that_is_read_from_another_file_makes_other_facts(root: Path, table: dict[str, float]) -> None:
    before = code(root)
    (root / "table.json").write_text(json.dumps(table))
    assert None not in (before, code(root))
    assert code(root) != before


def test_weights_and_the_mode_are_no_part_of_the_facts(root: Path) -> None:
    module = build("python:net:create", num_classes=3, trust_code=True, search=root)
    first = model_code.code_of("net:create", module, root)
    module.eval()
    for weights in module.parameters():
        weights.data += 1
    assert model_code.code_of("net:create", module, root) == first
    assert first is not None


def test_a_network_that_is_built_again_has_the_same_facts(root: Path) -> None:
    found = []
    for _ in range(2):
        network = Network(build("python:net:create", trust_code=True, search=root))
        network.replace_head(3, seed=0)
        network.module.register_forward_hook(print)
        found.append(model_code.code_of("net:create", network.module, root))
    assert found[0] is not None
    assert found[0] == found[1]


def test_files_that_are_no_part_of_the_code_do_not_count(root: Path) -> None:
    before = code(root)
    (root / "notes.txt").write_text("x")
    for folder, mark in ((".mlgit", "config"), (".hidden", "x"), ("env", "pyvenv.cfg")):
        (root / folder).mkdir()
        (root / folder / mark).write_text("")
        (root / folder / "x.py").write_text("x")
    assert before is not None
    assert code(root) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("from torch import nn", "from torch import nn\nimport foreign"),
        lambda text: text.replace("import json", "import json, foreign.deep"),
        lambda text: text.replace("return Net(num_classes)", "import foreign\n    return Net(num_classes)"),
        lambda text: text.replace("return Net(num_classes)", "return __import__('foreign').Foreign(num_classes)"),
        lambda text: text.replace("from torch import nn", "from torch import nn\nfrom foreign import Foreign as F"),
    ],
    ids=["import", "deep", "within", "class", "from"],
)
def test_code_from_a_foreign_package_has_no_facts(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str]
) -> None:
    foreign = tmp_path / "site" / "foreign"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text("from torch import nn\n\nclass Foreign(nn.Sequential):\n    pass\n")
    (foreign / "__init__.py").write_text(
        "from torch import nn\nclass Foreign(nn.Linear):\n    def __init__(self, classes):\n"
        "        super().__init__(64, classes)\ndef create(num_classes=3): return nn.Linear(64, num_classes)\n"
    )
    (foreign / "deep.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert code(root) is not None
    assert code(root, "foreign:create") is None
    forget()
    (root / "net.py").write_text(change(NET))
    assert code(root) is None


def test_code_that_loads_weights_with_safetensors_is_known(root: Path) -> None:
    source = root / "net.py"
    source.write_text(source.read_text() + "\n\ndef load(path):\n    from safetensors.torch import load_file\n")
    assert "safetensors" in str((code(root) or {}).get("packages"))


def test_an_environment_in_the_folder_is_foreign(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "env").mkdir()
    (root / "env" / "pyvenv.cfg").write_text("")
    (root / "env" / "inside.py").write_text("")
    monkeypatch.syspath_prepend(str(root / "env"))
    (root / "net.py").write_text(NET + "import inside\n")
    assert code(root) is None


def test_too_much_code_has_no_facts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_code, "MAX_FILES", 3)
    assert code(root) is not None
    (root / "more.py").write_text("")
    assert code(root) is None
    monkeypatch.undo()
    monkeypatch.setattr(model_code, "process_start_s", lambda: float("inf"))
    assert code(root) is not None
    (root / "more.py").write_bytes(b"#" * model_code.MAX_BYTES)
    assert code(root) is None


def test_a_file_that_changed_since_the_process_began_has_no_facts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert code(root) is None


def test_where_nothing_tells_when_the_process_began_files_from_before_count(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = max(path.stat().st_ctime for path in root.rglob("*.py"))
    for start, known in ((newest, False), (newest + 1, True)):
        monkeypatch.setattr(model_code, "process_start_s", lambda start=start: start)
        assert (code(root) is not None) == known


def test_the_facts_are_part_of_what_is_remembered(root: Path, tmp_path: Path) -> None:
    repo = init(root).repository
    module = build("python:net:create", num_classes=3, trust_code=True, search=root)
    manifest = replace(Manifest({}), factory="python:net:create")
    first = remembered(repo, manifest, Network(module))
    (root / "parts" / "blocks.py").write_text(BLOCKS + "\n")
    second = remembered(repo, manifest, Network(module))
    assert first is not None
    assert second is not None
    assert first.module["code"] != second.module["code"]
    (root / "parts" / "blocks.py").write_text(BLOCKS + "\nimport pytest\n")
    assert remembered(repo, manifest, Network(module)) is None


@pytest.fixture
def repo(root: Path) -> Repository:
    """Two models of own code, trained from the same start."""
    pytest.importorskip("sklearn")
    found = init(root).repository
    add_task(found, "digit", kind="digits", test_domain="rotate", options={"labels": "digit"})
    import_model(found, "python:net:create", "untrained", options=ImportOptions(trust_code=True))
    commit(found, "code", allow_empty=True)
    few = HyperParameters(lr=1e-3, steps=2, eval_every=2, freeze_steps=0)
    for seed in range(2):
        switch(found, f"digit/{seed}", create=True, start="main")
        how = TrainOptions(hyper=few, probe_hyper=few, seed=seed)
        train(found, "digit", options=how, runtime=TRUSTED)
        commit(found, "a run", task="digit")
    switch(found, "main")
    return found


def test_every_verb_looks_up_what_another_one_computed(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    real = evaluator.predict

    def counting(forward: Callable, domains: list) -> tuple[Predictions, ...]:
        passes.append(len(domains))
        return real(forward, domains)

    monkeypatch.setattr(evaluator, "predict", counting)
    certificate = repo.root.parent / "certificate.toml"
    certificate.write_text(
        'name = "x"\ntask = "digit"\nsplit = "validation"\njudge = "point"\n'
        '[[threshold]]\nmetric = "accuracy"\nat_least = 0.0\n'
    )
    models = ["digit/0", "digit/1"]
    assert evaluate(repo, models, task="digit", runtime=TRUSTED).computed == 2
    lmc(repo, models, task="digit", grid="chord", runtime=TRUSTED)
    merge(repo, models, "average", task="digit", options=MergeOptions(force=True, lmc="chord"), runtime=TRUSTED)
    assert len(passes) == 3, "both ends, and the middle of the path, which is the average"
    passes.clear()
    assert evaluate(repo, [*models, "main"], task="digit", runtime=TRUSTED).computed == 0
    lmc(repo, models, task="digit", grid="chord", runtime=TRUSTED)
    diversity(repo, models, task="digit", runtime=TRUSTED)
    certify(repo, "digit/0", certificate, runtime=TRUSTED)
    assert passes == []
    (repo.root / "helper.py").write_text("")
    assert evaluate(repo, models, task="digit", runtime=TRUSTED).computed == 2


def test_a_process_that_comes_later_finds_what_was_remembered(repo: Repository) -> None:
    def computed() -> object:
        command = [sys.executable, "-m", "mlgit", "evaluate", "digit/0", "--task", "digit", "--trust-code", "--json"]
        return json.loads(subprocess.run(command, cwd=repo.root, stdout=subprocess.PIPE, check=True).stdout)["computed"]

    assert [computed(), computed()] == [1, 0]
    (repo.root / "table.json").write_text('{"scale": 2}')
    assert [computed(), computed()] == [1, 0]
