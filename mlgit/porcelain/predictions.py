"""The predictions a repository remembers, so that no verb computes what another one has computed."""

from __future__ import annotations

import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from blake3 import blake3

from mlgit.errors import InvalidInputError
from mlgit.evaluation.cache import MAX_BYTES, PredictionCache, Remembered
from mlgit.models.network import Network
from mlgit.objects import JsonValue, Manifest
from mlgit.porcelain.model_code import code_of
from mlgit.repository import Repository

SETTING = "evaluation.cache"
"""How large the remembered predictions may be together: ``2GB``, ``500MB``, or ``off``."""
_SIZE = re.compile(r"(\d{1,9})\s*([kMGT]?)B?")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SCHEMES = ("mlgit", "torchvision", "timm", "transformers", "python")


def prediction_cache(repository: Repository) -> PredictionCache | None:
    """Return the repository's predictions, or None when none are to be remembered.

    Raises:
        InvalidInputError: The setting is no size.
    """
    text = repository.settings.text(SETTING)
    folder = predictions_folder(repository)
    if text is None:
        return PredictionCache(folder, MAX_BYTES)
    if text == "off":
        return None
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InvalidInputError(
            f"setting '{SETTING}' is '{text[:80]}', which is no size",
            kind="bad-setting",
            hint=f"run `mlgit config {SETTING} 1GB`, or `off` to remember nothing",
        )
    return PredictionCache(folder, int(match[1]) * _UNITS[match[2]])


def predictions_folder(repository: Repository) -> Path:
    """Return where predictions are remembered."""
    return repository.folder / "cache" / "predictions"


def forget_predictions(repository: Repository, *, dry_run: bool = False) -> int:
    """Forget everything, whatever the setting says; return how many bytes that frees, or would.

    Args:
        repository: Where.
        dry_run: Only count.
    """
    cache = PredictionCache(predictions_folder(repository))
    return cache.size_bytes() if dry_run else cache.clear()


def remembered(repository: Repository, manifest: Manifest, network: Network) -> Remembered | None:
    """Return what is remembered of a module, or None: nobody can say which code it runs; see ``code_of``.

    Args:
        repository: Where.
        manifest: Names the factory.
        network: The module it built.

    Raises:
        InvalidInputError: The setting is no size.
    """
    cache = prediction_cache(repository)
    scheme, _, rest = (manifest.factory or "").partition(":")
    if cache is None or scheme not in _SCHEMES:
        return None
    module: dict[str, JsonValue] = {"factory": manifest.factory, "head": network.head, "classes": network.num_classes}
    if scheme == "python":
        code = code_of(rest, network.module, repository.root)
        return None if code is None else Remembered(cache, module | {"code": code})
    if scheme != "mlgit":
        with suppress(PackageNotFoundError):
            module["package"] = version(scheme)
    if scheme == "transformers":
        module["configuration"] = _configuration(repository.root / rest)
    return Remembered(cache, module)


def _configuration(path: Path) -> str | None:
    """Return the digest of a model's configuration in the working directory, if it has one."""
    for each in (path, path / "config.json"):
        with suppress(OSError, ValueError):
            return blake3(each.read_bytes()).hexdigest()
    return None
