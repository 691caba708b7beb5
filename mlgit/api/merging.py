"""Verbs that merge and judge."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlgit import repository as core
from mlgit.api.runtime import runtime_or_default
from mlgit.errors import InvalidInputError

if TYPE_CHECKING:  # imported by the methods that need them: who only reads history should not wait for torch
    from mlgit.merging.curve import Curve
    from mlgit.merging.diversity import Diversity
    from mlgit.porcelain.certify import CertifyResult
    from mlgit.porcelain.evaluate import EvaluateResult
    from mlgit.porcelain.merge import MergeOptions, MergeResult
    from mlgit.porcelain.open_model import Runtime


class MergingVerbs(core.Repository):
    """Verbs that merge and judge."""

    def merge(
        self,
        revisions: Sequence[str],
        message: str,
        *,
        task: str | None = None,
        options: MergeOptions | None = None,
        onto: str | None = None,
        start: str | None = None,
        dry_run: bool = False,
        runtime: Runtime | None = None,
    ) -> MergeResult:
        """Average commits after checking the paths between them; see ``mlgit.porcelain.merge``.

        With ``onto`` the result goes onto a new branch of that name, which goes on from ``start`` if that is given;
        HEAD and the working directory are left alone (see ``mlgit.porcelain.merge_onto``).
        """
        from mlgit.porcelain.merge import merge  # noqa: PLC0415 - imports torch
        from mlgit.porcelain.merge_onto import merge_onto  # noqa: PLC0415 - imports torch

        if onto is None and start is not None:
            raise InvalidInputError("`start` belongs to `onto`", kind="usage", hint="a merge goes on from HEAD")
        run = merge if onto is None else partial(merge_onto, branch=onto, start=start)
        return run(
            self,
            revisions,
            message=message,
            task=task,
            options=options,
            dry_run=dry_run,
            runtime=runtime_or_default(runtime),
        )

    def lmc(
        self,
        *revisions: str,
        task: str,
        grid: str = "full",
        split: str = "validation",
        trial: int = 0,
        runtime: Runtime | None = None,
    ) -> Curve:
        """Measure the path between two or three commits; see ``mlgit.porcelain.lmc``."""
        from mlgit.porcelain.lmc import lmc  # noqa: PLC0415 - imports torch

        return lmc(self, revisions, task=task, grid=grid, split=split, trial=trial, runtime=runtime_or_default(runtime))

    def diversity(
        self, *revisions: str, task: str, split: str = "validation", trial: int = 0, runtime: Runtime | None = None
    ) -> Diversity:
        """Measure how differently commits err; see ``mlgit.porcelain.diversity``."""
        from mlgit.porcelain.diversity import diversity  # noqa: PLC0415 - imports torch

        return diversity(self, revisions, task=task, split=split, trial=trial, runtime=runtime_or_default(runtime))

    def evaluate(
        self,
        *revisions: str,
        task: str,
        split: str = "validation",
        domains: Sequence[str] = (),
        together: bool = False,
        trial: int = 0,
        runtime: Runtime | None = None,
    ) -> EvaluateResult:
        """Score commits on a task; see ``mlgit.porcelain.evaluate``."""
        from mlgit.porcelain.evaluate import evaluate  # noqa: PLC0415 - imports torch

        return evaluate(
            self,
            revisions,
            task=task,
            split=split,
            domains=domains,
            together=together,
            trial=trial,
            runtime=runtime_or_default(runtime),
        )

    def certify(self, revision: str, certificate: Path | str, *, runtime: Runtime | None = None) -> CertifyResult:
        """Judge a commit by a certificate and keep the result; see ``mlgit.porcelain.certify``."""
        from mlgit.porcelain.certify import certify  # noqa: PLC0415 - imports torch

        return certify(self, revision, Path(certificate), runtime=runtime_or_default(runtime))
