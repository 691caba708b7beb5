"""``mlgit import``: bring a model in from outside, as a pretrained commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mlgit.errors import IncompatibleWeightsError, InvalidInputError
from mlgit.fileio import read_file
from mlgit.models.extras import library_versions
from mlgit.models.factories import MODEL_FACTORIES, build
from mlgit.models.network import Network
from mlgit.models.seeding import seeded
from mlgit.models.transformers_models import read_directory
from mlgit.objects import BlobFile, Commit, CommitId, JsonValue, Manifest, Parent, Role, Stage, TensorEntry, TensorFile
from mlgit.porcelain.actor import ANYONE, Actor, check_text
from mlgit.porcelain.model_layout import place_weights
from mlgit.porcelain.switch import replace_working_files
from mlgit.progress import Progress
from mlgit.repository import Repository
from mlgit.storage.transaction import Transaction
from mlgit.tomledit import edited
from mlgit.training.record import package_versions
from mlgit.weights.directory import SAFETENSORS
from mlgit.weights.pickles import SUFFIXES as PICKLES
from mlgit.weights.sources import Source, SourceFile, read_source
from mlgit.worktree.model_file import MODEL_FILE
from mlgit.worktree.snapshot import opened


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """How a model is brought in.

    Attributes:
        factory: How to build the module of weights that come from a file; None: unknown.
        head: Name of the classifier's linear layer in the factory's module; None: the last linear layer.
        weights: For a factory as source: ``none`` for random weights, ``default``, the name of published ones, or a
            file or directory with weights. None: ``default`` for torchvision, ``none`` for others.
        seed: Of random weights.
        num_classes: Outputs of a factory's classifier; None for its own.
        trust_code: Whether ``python:`` may run code.
    """

    factory: str | None = None
    head: str | None = None
    weights: str | None = None
    seed: int = 0
    num_classes: int | None = None
    trust_code: bool = False


@dataclass(frozen=True, slots=True)
class ImportResult:
    """A model brought in.

    Attributes:
        id: The new commit.
        commit: It.
        tensors: How many tensors it has.
        skipped: Files of the source that were left out, and why.
        new_head: Whether the source had no classifier, and got the factory's random one.
    """

    id: CommitId
    commit: Commit
    tensors: int
    skipped: tuple[str, ...]
    new_head: bool = False


def import_model(
    repository: Repository,
    source: str,
    message: str | None = None,
    *,
    options: ImportOptions | None = None,
    actor: Actor = ANYONE,
    progress: Progress | None = None,
) -> ImportResult:
    """Commit a model from outside on the current branch; its files replace those of the model there.

    Args:
        repository: Where.
        source: A path (``.safetensors``, ``.pt`` with tensors only, a model directory) or a factory
            (``torchvision:resnet50``, ``timm:vit_tiny_patch16_224?img_size=64``).
        message: Why; by default ``import SOURCE``.
        options: How.
        actor: Who and when.
        progress: Is told of files.

    Raises:
        NotFoundError: Nothing is there.
        InvalidInputError: Not a model, or one that cannot be read safely.
        IncompatibleWeightsError: The weights do not fit the factory.
        RemoteError: Published weights could not be fetched.
        ConflictError: Uncommitted changes are in the way.
    """
    how = options or ImportOptions()
    check_text(message or source, "the message" if message else "the source's name")
    is_factory = source.partition(":")[0] in MODEL_FACTORIES and not Path(source).exists()
    if is_factory and how.weights is not None and _is_path(how.weights):
        message, source, how, is_factory = (
            message or f"import {source}",
            how.weights,
            replace(how, factory=source),
            False,
        )
    if how.head is not None and not is_factory and how.factory is None:
        raise InvalidInputError(
            "without a factory there is no module to name the classifier of",
            kind="usage",
            hint="add `--factory`, or leave out `--head`",
        )
    found = None if is_factory else read_source(Path(source))
    new_head = False
    with repository.lock():
        head = repository.head
        before = Manifest({}) if head is None else repository.manifest_of(head)
        kept = replace(before, tensors={}, files=tuple(file for file in before.files if isinstance(file, BlobFile)))
        with repository.transaction() as transaction:
            if found is None:
                network = _network(repository, source, how)
                manifest = place_weights(repository, transaction, network.weights(), kept)
                manifest = _with_model(repository, transaction, manifest, source, network.head)
            else:
                manifest = _from_files(repository, transaction, found, kept)
                if how.factory is not None:
                    network, new_head, renamed = _fit(repository, found, manifest, how)
                    if new_head or renamed:
                        manifest = place_weights(
                            repository, transaction, network.weights(), replace(manifest, tensors={})
                        )
                    manifest = _with_model(repository, transaction, manifest, how.factory, network.head)
                elif _forms(manifest) != _forms(before):  # not the model that the factory here builds
                    manifest = _with_model(repository, transaction, manifest, None, None)
            commit = Commit(
                manifest=transaction.put_record(manifest),
                parents=() if head is None else (Parent(head, Role.BASE),),
                stage=Stage.PRETRAIN,
                made=_made(source, how, is_factory=is_factory, new_head=new_head),
                author=actor.who(repository),
                time=actor.when(),
                message=message or f"import {source}",
            )
            commit_id = transaction.put_record(commit)

        def advance() -> None:
            repository.advance(
                commit_id, expected=head, who=commit.author, when=commit.time, reason=f"import: {commit.subject}"
            )

        edited_here = (manifest.factory, manifest.head) != (before.factory, before.head)
        taken = (MODEL_FILE,) if edited_here or is_factory or how.factory else ()  # it was read from the working file
        replace_working_files(repository, commit_id, overwrite=taken, then=advance, progress=progress)
    skipped = () if found is None else found.skipped
    return ImportResult(commit_id, commit, len(manifest.tensors), skipped, new_head)


def _is_path(weights: str) -> bool:
    """Say whether ``--weights`` names a file or directory rather than published weights."""
    if weights in ("none", "default"):
        return False
    return Path(weights).exists() or "/" in weights or weights.endswith((SAFETENSORS, *PICKLES))


def _made(source: str, how: ImportOptions, *, is_factory: bool, new_head: bool) -> dict[str, JsonValue]:
    library = library_versions(source if is_factory else how.factory)
    made: dict[str, JsonValue] = {"command": "import", "packages": {**package_versions(), **library}}
    if is_factory:
        return {**made, "source": source, "weights": _weights(source, how), "seed": how.seed}
    return {**made, "source": Path(source).name} | ({"new_head": True, "seed": how.seed} if new_head else {})


def _weights(factory: str, how: ImportOptions) -> str:
    """Return which weights a factory is asked for."""
    return how.weights or ("default" if factory.startswith("torchvision:") else "none")


def _network(repository: Repository, factory: str, how: ImportOptions) -> Network:
    weights = _weights(factory, how)
    module = build(
        factory,
        num_classes=how.num_classes,
        pretrained=None if weights == "none" else weights,
        trust_code=how.trust_code,
        search=repository.root,
        seed=how.seed,
    )
    return Network(module, how.head)


def _fit(repository: Repository, source: Source, manifest: Manifest, how: ImportOptions) -> tuple[Network, bool, bool]:
    """Return the factory's network with the source's weights.

    Also whether its head is new because there was none, and whether the weights got other names.
    """
    factory = how.factory or ""
    own_config = factory.startswith("transformers:") and source.location.is_dir()

    def make(classes: int | None) -> Network:
        search = source.location if own_config else repository.root  # its configuration comes with it
        module = build(factory, num_classes=classes, trust_code=how.trust_code, search=search, seed=how.seed)
        network = Network(module, how.head)
        if classes is not None and network.num_classes != classes:
            network.replace_head(classes, seed=how.seed)
        return network

    network = make(how.num_classes)
    if own_config and set(network.featurizer_names) - set(manifest.tensors):
        with seeded(how.seed):
            module, missing = read_directory(factory.partition(":")[2], source.location)
        network = Network(module, how.head)
        if missing - set(network.head_names):
            raise IncompatibleWeightsError(
                f"the weights do not fit the model: {', '.join(sorted(missing)[:10])} are missing",
                hint="check the model's configuration, `config.json`",
            )
        return network, bool(missing), True
    entry = manifest.tensors.get(network.head + ".weight")
    if entry is not None and len(entry.shape) == 2 and entry.shape[0] != network.num_classes:
        network = make(entry.shape[0])
    new_head = not any(name in manifest.tensors for name in network.head_names)
    own = network.weights() if new_head else {}
    network.load({**source.weights, **{name: own[name] for name in network.head_names if name in own}})
    return network, new_head, False


def _with_model(
    repository: Repository, transaction: Transaction, manifest: Manifest, factory: str | None, head: str | None
) -> Manifest:
    """Return the manifest with factory and head, or without, also in its ``mlgit.toml``."""
    if (factory, head) == (None, None) == (manifest.factory, manifest.head):
        return manifest
    path = repository.root / MODEL_FILE
    try:
        text = read_file(path)
    except FileNotFoundError:
        text = b""
    for key, value in (("factory", factory), ("head", head)):
        text = edited(text, ["model", key], value, str(path))
    blob = BlobFile(MODEL_FILE, transaction.put_blob([text]), len(text))
    files = tuple(file for file in manifest.files if file.path != MODEL_FILE)
    return replace(manifest, files=(*files, blob), factory=factory, head=head)


def _forms(manifest: Manifest) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (entry.dtype, entry.shape) for name, entry in manifest.tensors.items()}


def _from_files(repository: Repository, transaction: Transaction, source: Source, kept: Manifest) -> Manifest:
    """Store a source's files; those of the same path replace the kept ones."""
    files: dict[str, TensorFile | BlobFile] = {file.path: file for file in kept.files}
    tensors: dict[str, TensorEntry] = {}
    for item in source.files:
        if item.path == MODEL_FILE:
            raise InvalidInputError(
                f"'{source.location}' holds {MODEL_FILE}: it is a repository's directory", hint="use `mlgit clone`"
            )
        file, found = _store_file(transaction, item)
        files[item.path] = file
        for name, entry in found.items():
            if tensors.setdefault(name, entry) != entry:
                raise InvalidInputError(
                    f"tensor '{name}' stands in two files of '{source.location}'", kind="tensor-twice"
                )
    layout = replace(kept, tensors=tensors, files=tuple(files.values()))
    if source.loose is None:
        return layout
    loose = place_weights(repository, transaction, source.loose, replace(layout, tensors={}))
    renamed = tuple(
        replace(file, path=source.loose_path) if isinstance(file, TensorFile) else file for file in loose.files
    )
    return replace(loose, files=renamed)


def _store_file(transaction: Transaction, item: SourceFile) -> tuple[TensorFile | BlobFile, Mapping[str, TensorEntry]]:
    with opened(item.location) as data:
        if item.header is None:
            return BlobFile(item.path, transaction.put_blob([data]), data.nbytes), {}
        start = item.header.data_offset
        tensors = {
            entry.name: TensorEntry(
                transaction.put_tensor(entry.dtype, entry.shape, [data[start + entry.start : start + entry.end]]),
                entry.dtype,
                entry.shape,
            )
            for entry in item.header.entries
        }
        return TensorFile(item.path, transaction.put_blob([item.header.raw])), tensors
