"""Verbs of version control: files, commits, names, and what comes in and goes out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, overload

from mlgit import repository as core
from mlgit.objects import CommitId, JsonValue, Manifest, Stage
from mlgit.porcelain import branch
from mlgit.porcelain import commit as committing
from mlgit.porcelain import log as logging
from mlgit.porcelain import merge_base as parting
from mlgit.porcelain import restore as restoring
from mlgit.porcelain import show as showing
from mlgit.porcelain import status as comparing
from mlgit.porcelain import switch as switching
from mlgit.porcelain import tag as tagging
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.branch import EVERY_BRANCH, Branch, BranchFilter
from mlgit.porcelain.branch import branches as list_branches

if TYPE_CHECKING:  # imported by the methods that need them: who only reads history should not wait for torch
    import networkx as nx
    import torch

    from mlgit.porcelain.diff import DiffResult
    from mlgit.porcelain.import_ import ImportOptions, ImportResult
    from mlgit.porcelain.reset import ResetResult
    from mlgit.porcelain.undo import UndoResult
    from mlgit.weights.export import Format
    from mlgit.weights.types import Weights


class HistoryVerbs(core.Repository):
    """Verbs of version control: files, commits, names, and what comes in and goes out."""

    def status(self) -> comparing.StatusResult:
        """Compare the working files with HEAD; see ``mlgit.porcelain.status``."""
        return comparing.status(self)

    def commit(
        self,
        weights: Mapping[str, torch.Tensor] | None = None,
        *,
        message: str,
        task: str | None = None,
        stage: Stage | None = None,
        metrics: Mapping[str, float] | None = None,
        made: Mapping[str, JsonValue] | None = None,
        actor: Actor = ANYONE,
    ) -> CommitId:
        """Commit the working files, or a state dict in the place of their weights.

        Args:
            weights: A state dict; written to the working directory first. None: the files as they are.
            message: Why.
            task: With ``weights``: the task they were trained on. Without: demand that a run on it waits.
            stage: Place in the lineage; see ``mlgit.porcelain.commit``.
            metrics: Measured values of ``weights``.
            made: How ``weights`` were made: hyper-parameters, seed; plain JSON.
            actor: Who and when.

        Returns:
            The new commit's id.
        """
        if weights is None:
            return committing.commit(self, message, task=task, stage=stage, made=made, actor=actor).id
        from mlgit.porcelain.commit_weights import commit_weights  # noqa: PLC0415 - imports torch

        return commit_weights(
            self, weights, message, task=task, stage=stage, metrics=metrics, made=made, actor=actor
        ).id

    @overload
    def load(self, revision: str = "HEAD") -> dict[str, torch.Tensor]: ...
    @overload
    def load(self, revision: str = "HEAD", *, into: torch.nn.Module | Weights) -> None: ...
    def load(
        self, revision: str = "HEAD", *, into: torch.nn.Module | Weights | None = None
    ) -> dict[str, torch.Tensor] | None:
        """Return the state dict of a commit, or fill a module with it.

        Args:
            revision: Which commit.
            into: A module, or tensors by name, of exactly the commit's names, dtypes and shapes. Tensors that lie
                contiguous in main memory are decoded straight into it, without any copy.

        Returns:
            Name -> CPU tensor; None with ``into``.

        Raises:
            NotFoundError: ``revision`` names nothing.
            CorruptObjectError: A stored tensor is damaged; ``into`` then holds rubbish.
            IncompatibleWeightsError: ``into`` has other names, dtypes or shapes; it is as it was.
        """
        from mlgit.weights.stored import load, load_into  # noqa: PLC0415 - imports torch

        manifest = self.manifest_of(self.resolve(revision))
        if into is None:
            return load(self.objects, manifest)
        load_into(self.objects, manifest, into if isinstance(into, Mapping) else into.state_dict())
        return None

    def log(self, *revisions: str, limit: int | None = None, everything: bool = False) -> tuple[logging.LogEntry, ...]:
        """Return the history, newest first; see ``mlgit.porcelain.log``."""
        return logging.log(self, revisions or ("HEAD",), limit=limit, everything=everything).entries

    def show(self, revision: str = "HEAD") -> showing.ShowResult:
        """Return everything a commit records; see ``mlgit.porcelain.show``."""
        return showing.show(self, revision)

    def lineage(self, *revisions: str) -> nx.MultiDiGraph[CommitId]:
        """Return the history as a networkx graph; see ``mlgit.history.lineage.lineage_graph``."""
        from mlgit.history.lineage import lineage_graph  # noqa: PLC0415 - imports networkx

        return lineage_graph(self.commit_of, self.resolve_many(revisions or ("HEAD",)))

    def diff(self, old: str = "HEAD", new: str | None = None) -> DiffResult:
        """Compare two commits tensor by tensor, or one with the working files; see ``mlgit.porcelain.diff``."""
        from mlgit.porcelain.diff import diff  # noqa: PLC0415 - imports torch

        return diff(self, old, new)

    def branch(self, name: str, start: str = "HEAD") -> branch.Branch:
        """Create a branch; see ``mlgit.porcelain.branch``."""
        return branch.create_branch(self, name, start)

    def list_branches(self, *, remotes: bool = False, only: BranchFilter = EVERY_BRANCH) -> list[Branch]:
        """Return branches, sorted by name; see ``mlgit.porcelain.branch``."""
        return list_branches(self, remotes=remotes, only=only)

    def merge_base(self, *revisions: str) -> list[CommitId]:
        """Return the best common ancestors of the first revision and the others; see ``mlgit.porcelain.merge_base``."""
        return parting.merge_base(self, revisions)

    def is_ancestor(self, old: str, new: str) -> bool:
        """Return whether ``old`` is an ancestor of ``new``, or the same commit."""
        return parting.is_ancestor(self, old, new)

    def switch(self, name: str, *, create: bool = False, start: str | None = None) -> switching.SwitchResult:
        """Go to a branch; see ``mlgit.porcelain.switch``."""
        return switching.switch(self, name, create=create, start=start)

    def tag(self, name: str, revision: str = "HEAD", *, message: str | None = None) -> tagging.TagResult:
        """Create a tag; see ``mlgit.porcelain.tag``."""
        return tagging.create_tag(self, name, revision, message=message)

    def restore(self, *paths: str, source: str = "HEAD") -> restoring.RestoreResult:
        """Give up uncommitted changes; see ``mlgit.porcelain.restore``."""
        return restoring.restore(self, paths or (".",), source=source)

    def reset(self, revision: str, *, hard: bool = False) -> ResetResult:
        """Move the current branch and the working files; see ``mlgit.porcelain.reset``."""
        from mlgit.porcelain.reset import reset  # noqa: PLC0415 - few need it

        return reset(self, revision, hard=hard)

    def undo(self) -> UndoResult:
        """Take back the last change of the current branch; see ``mlgit.porcelain.undo``."""
        from mlgit.porcelain.undo import undo  # noqa: PLC0415 - few need it

        return undo(self)

    def import_model(
        self, source: str, message: str | None = None, *, options: ImportOptions | None = None
    ) -> ImportResult:
        """Bring a model in from outside; see ``mlgit.porcelain.import_``."""
        from mlgit.porcelain.import_ import import_model  # noqa: PLC0415 - imports torch

        return import_model(self, source, message, options=options)

    def export(
        self, revision: str, destination: Path | str, *, form: Format = "safetensors", force: bool = False
    ) -> CommitId:
        """Write a commit's weights for other tools; see ``mlgit.porcelain.export``."""
        from mlgit.porcelain.export import export  # noqa: PLC0415 - imports torch

        return export(self, revision, Path(destination), form=form, force=force)

    def ls_tree(self, revision: str = "HEAD") -> Manifest:
        """Return the manifest of a commit."""
        return self.manifest_of(self.resolve(revision))
