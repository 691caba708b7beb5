"""The main claim on real digits: fine-tunings of one network may be averaged, those of strangers may not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mlgit.merging.criterion import Verdict
from mlgit.merging.curve import Curve
from mlgit.objects import CommitId, Stage
from mlgit.porcelain.commit import commit
from mlgit.porcelain.import_ import ImportOptions, import_model
from mlgit.porcelain.init import init
from mlgit.porcelain.lmc import lmc
from mlgit.porcelain.switch import switch
from mlgit.porcelain.task import add_task
from mlgit.porcelain.train import TrainOptions, train
from mlgit.repository import Repository
from mlgit.training.hyper import HyperParameters

SEEDS = range(20)
PRETRAINING = HyperParameters(lr=3e-3, batch_per_domain=16, steps=60, eval_every=60, freeze_steps=0)
FINE_TUNING = HyperParameters(lr=1e-3, batch_per_domain=16, steps=25, eval_every=25, freeze_steps=0)
PROBE = HyperParameters(lr=1e-2, steps=40, eval_every=40)


def fine_tuned(repository: Repository, network: int, seed: int) -> CommitId:
    """Return a fine-tuning of a pretrained network on its own branch."""
    switch(repository, f"digit/{network}/{seed}", create=True, start=f"pretrained/{network}")
    options = TrainOptions(hyper=FINE_TUNING, probe_hyper=PROBE, seed=seed)
    train(repository, "digit", options=options)
    return commit(repository, f"fine-tuning {seed} of network {network}", task="digit").id


@pytest.mark.slow
def test_siblings_are_never_refused_and_strangers_always(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        siblings, strangers = curves(init(tmp_path / "repo").repository)
    finally:
        torch.set_num_threads(threads)
    assert len(siblings) == len(strangers) == len(SEEDS)
    refused = [str(curve.describe_worst()) for curve in siblings if curve.verdict is Verdict.VIOLATED]
    assert not refused
    accepted = [str(curve.describe_worst()) for curve in strangers if curve.verdict is not Verdict.VIOLATED]
    assert not accepted


def curves(repository: Repository) -> tuple[list[Curve], list[Curve]]:
    """Return one path per seed between fine-tunings of one network, and one between those of two networks."""
    add_task(repository, "basics", kind="digits", options={"labels": "digit", "part": "pretrain"})
    add_task(repository, "digit", kind="digits", test_domain="rotate", options={"labels": "digit"})
    import_model(repository, "mlgit:digits-cnn", "untrained")
    for seed in SEEDS:
        switch(repository, f"pretrained/{seed}", create=True, start="main")
        import_model(repository, "mlgit:digits-cnn", f"random weights {seed}", options=ImportOptions(seed=seed))
        train(repository, "basics", options=TrainOptions(hyper=PRETRAINING, seed=seed, stage=Stage.PRETRAIN))
        commit(repository, f"pretrained {seed}", task="basics")
    tuned = [[fine_tuned(repository, network, 2 * network + which) for which in (0, 1)] for network in SEEDS]
    siblings = [lmc(repository, pair, task="digit", grid="chord") for pair in tuned]
    following = tuned[1:] + tuned[:1]
    strangers = [
        lmc(repository, [pair[0], other[0]], task="digit", grid="chord")
        for pair, other in zip(tuned, following, strict=True)
    ]
    return siblings, strangers
