"""The Python library: a repository whose methods are the verbs of the command line.

::

    from mlgit import Repository, clone

    repo = Repository.init("soup")
    repo.import_model("mlgit:digits-cnn")
    repo.add_task("digit", kind="digits", test_domain="rotate")
    repo.train("digit")
    repo.commit(task="digit", message="fine-tune on digit")
    weights = repo.load("main")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self, overload

from mlgit import repository as core
from mlgit.errors import InvalidInputError
from mlgit.objects import CommitId, JsonValue, Manifest, Stage
from mlgit.porcelain import branch
from mlgit.porcelain import clone as cloning
from mlgit.porcelain import commit as committing
from mlgit.porcelain import fsck as checking
from mlgit.porcelain import init as creating
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
from mlgit.progress import Progress

if TYPE_CHECKING:  # these import torch, which a library user who only reads history should not wait for
    import networkx as nx
    import torch

    from mlgit.merging.curve import Curve
    from mlgit.merging.diversity import Diversity
    from mlgit.porcelain.certify import CertifyResult
    from mlgit.porcelain.diff import DiffResult
    from mlgit.porcelain.du import Usage
    from mlgit.porcelain.evaluate import EvaluateResult
    from mlgit.porcelain.gc import GcResult
    from mlgit.porcelain.import_ import ImportOptions, ImportResult
    from mlgit.porcelain.merge import MergeOptions, MergeResult
    from mlgit.porcelain.open_model import Runtime
    from mlgit.porcelain.probe import ProbeResult
    from mlgit.porcelain.recipe import RecipeOptions, RecipeResult
    from mlgit.porcelain.recipe_figures import RecipeFigures
    from mlgit.porcelain.recipe_table import RecipeTable
    from mlgit.porcelain.repack import RepackResult
    from mlgit.porcelain.reset import ResetResult
    from mlgit.porcelain.run import RunOptions, RunOutcome
    from mlgit.porcelain.sweep import Place, SweepOptions, SweepResult
    from mlgit.porcelain.task import TaskSummary
    from mlgit.porcelain.train import TrainOptions, TrainResult
    from mlgit.porcelain.undo import UndoResult
    from mlgit.weights.export import Format
    from mlgit.weights.types import Weights


class Repository(core.Repository):
    """A model directory with its history, and every verb as a method.

    The constructor opens ``root`` itself; ``discover`` looks upwards from any directory, ``init`` makes a new one.
    Each method documents only what differs from the function of ``mlgit.porcelain`` it calls.

    Args:
        root: The model directory.
        user_settings: The user's own settings file, which the repository's override; None for none.

    Raises:
        NotFoundError: ``root`` is not a repository.
    """

    @classmethod
    def init(cls, directory: Path | str, *, branch: str = core.DEFAULT_BRANCH) -> Self:
        """Make a directory a repository; see ``mlgit.porcelain.init``."""
        return cls(creating.init(Path(directory), branch=branch).repository.root)

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

    def fsck(self, *, repair_from: Path | str | None = None) -> checking.FsckResult:
        """Verify everything, and fetch what is hurt from another repository; see ``mlgit.porcelain.fsck``."""
        return checking.fsck(self, repair_from=None if repair_from is None else Path(repair_from))

    def gc(self, *, dry_run: bool = False, grace_days: float = 14.0, reflog_days: float = 90.0) -> GcResult:
        """Free the disk of what nothing leads to; see ``mlgit.porcelain.gc``."""
        from mlgit.porcelain.gc import gc  # noqa: PLC0415 - few need it

        return gc(self, dry_run=dry_run, grace_days=grace_days, reflog_days=reflog_days)

    def repack(self, *, depth: int = 1, dry_run: bool = False) -> RepackResult:
        """Store the same in fewer packs and fewer bytes; see ``mlgit.porcelain.repack``."""
        from mlgit.porcelain.repack import repack  # noqa: PLC0415 - few need it

        return repack(self, depth=depth, dry_run=dry_run)

    def du(self) -> Usage:
        """Measure what each commit takes on disk; see ``mlgit.porcelain.du``."""
        from mlgit.porcelain.du import du  # noqa: PLC0415 - few need it

        return du(self)

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

    def add_task(
        self,
        name: str,
        *,
        kind: str | None = None,
        preset: str | None = None,
        data: Path | str | None = None,
        test_domain: str | None = None,
        options: Mapping[str, JsonValue] | None = None,
        runtime: Runtime | None = None,
    ) -> TaskSummary:
        """Define a task; see ``mlgit.porcelain.task``."""
        from mlgit.porcelain.task import add_task  # noqa: PLC0415 - imports torch

        return add_task(
            self,
            name,
            kind=kind,
            preset=preset,
            data=None if data is None else Path(data),
            test_domain=test_domain,
            options=options,
            runtime=_runtime(runtime),
        )

    def probe(self, task: str, *, start: str = "HEAD", trial: int = 0, runtime: Runtime | None = None) -> ProbeResult:
        """Train, or find, the linear probe of a task; see ``mlgit.porcelain.probe``."""
        from mlgit.porcelain.probe import probe  # noqa: PLC0415 - imports torch

        return probe(self, task, start=start, trial=trial, runtime=_runtime(runtime))

    def train(
        self,
        task: str,
        *,
        start: str = "HEAD",
        options: TrainOptions | None = None,
        runtime: Runtime | None = None,
        progress: Progress | None = None,
    ) -> TrainResult:
        """Fine-tune on a task and leave the weights in the working directory; see ``mlgit.porcelain.train``."""
        from mlgit.porcelain.train import train  # noqa: PLC0415 - imports torch

        return train(self, task, start=start, options=options, runtime=_runtime(runtime), progress=progress)

    def sweep(
        self,
        task: str,
        *revisions: str,
        options: SweepOptions,
        place: Place | None = None,
        dry_run: bool = False,
        runtime: Runtime | None = None,
        progress: Progress | None = None,
    ) -> SweepResult:
        """Make many runs on a task, each a commit on a branch of its own; see ``mlgit.porcelain.sweep``."""
        from mlgit.porcelain.sweep import sweep  # noqa: PLC0415 - imports torch

        return sweep(
            self,
            task,
            revisions or ("HEAD",),
            options,
            place=place,
            dry_run=dry_run,
            runtime=_runtime(runtime),
            progress=progress,
        )

    def recipe(
        self,
        *names: str,
        task: str,
        options: RecipeOptions,
        place: Place | None = None,
        dry_run: bool = False,
        runtime: Runtime | None = None,
        progress: Progress | None = None,
    ) -> RecipeResult:
        """Make strategies of the paper by name; see ``mlgit.porcelain.recipe``."""
        from mlgit.porcelain.recipe import recipe  # noqa: PLC0415 - imports torch

        return recipe(
            self,
            names,
            task,
            options,
            place=place,
            dry_run=dry_run,
            runtime=_runtime(runtime),
            progress=progress,
        )

    def recipe_table(self, *, task: str | None = None, name: str | None = None, runs: int | None = None) -> RecipeTable:
        """Return what recipes came to, side by side; see ``mlgit.porcelain.recipe_table``."""
        from mlgit.porcelain.recipe_table import recipe_table  # noqa: PLC0415 - few want it

        return recipe_table(self, task=task, name=name, runs=runs)

    def recipe_figures(
        self,
        folder: Path,
        *,
        task: str,
        name: str | None = None,
        image_format: str = "svg",
        trial: int = 0,
        most_paths: int = 3,
        only: Sequence[str] = (),
        runtime: Runtime | None = None,
        progress: Progress | None = None,
    ) -> RecipeFigures:
        """Draw the figures of the paper from runs that are there; see ``mlgit.porcelain.recipe_figures``."""
        from mlgit.porcelain.recipe_figures import recipe_figures  # noqa: PLC0415 - imports torch

        return recipe_figures(
            self,
            task=task,
            folder=folder,
            name=name,
            image_format=image_format,
            trial=trial,
            most_paths=most_paths,
            only=only,
            runtime=_runtime(runtime),
            progress=progress,
        )

    def run(
        self,
        command: Sequence[str],
        message: str | None = None,
        *,
        options: RunOptions | None = None,
        environment: Mapping[str, str] | None = None,
        runtime: Runtime | None = None,
    ) -> RunOutcome:
        """Let any program train and commit the weights it leaves; see ``mlgit.porcelain.run``.

        What it prints goes to its log only. ``environment`` is all that it gets beside ``MLGIT_*``: most programs want
        ``os.environ``.
        """
        from mlgit.porcelain.run import run  # noqa: PLC0415 - imports torch

        return run(self, command, message, options=options, environment=environment, runtime=_runtime(runtime))

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
            runtime=_runtime(runtime),
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

        return lmc(self, revisions, task=task, grid=grid, split=split, trial=trial, runtime=_runtime(runtime))

    def diversity(
        self, *revisions: str, task: str, split: str = "validation", trial: int = 0, runtime: Runtime | None = None
    ) -> Diversity:
        """Measure how differently commits err; see ``mlgit.porcelain.diversity``."""
        from mlgit.porcelain.diversity import diversity  # noqa: PLC0415 - imports torch

        return diversity(self, revisions, task=task, split=split, trial=trial, runtime=_runtime(runtime))

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
            runtime=_runtime(runtime),
        )

    def certify(self, revision: str, certificate: Path | str, *, runtime: Runtime | None = None) -> CertifyResult:
        """Judge a commit by a certificate and keep the result; see ``mlgit.porcelain.certify``."""
        from mlgit.porcelain.certify import certify  # noqa: PLC0415 - imports torch

        return certify(self, revision, Path(certificate), runtime=_runtime(runtime))

    def ls_tree(self, revision: str = "HEAD") -> Manifest:
        """Return the manifest of a commit."""
        return self.manifest_of(self.resolve(revision))


def clone(source: Path | str, directory: Path | str | None = None) -> Repository:
    """Copy a repository with its history; see ``mlgit.porcelain.clone``."""
    place = None if directory is None else Path(directory)
    return Repository(cloning.clone(Path(source), place).repository.root)


def _runtime(given: Runtime | None) -> Runtime:
    from mlgit.porcelain.open_model import DEFAULT_RUNTIME  # noqa: PLC0415 - imports torch

    return given or DEFAULT_RUNTIME
