"""What anybody can see of a repository, so that tests can say that it is as it was, or as it was to be."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mlgit.porcelain.fsck import fsck
from mlgit.repository import FOLDER, Repository
from mlgit.storage.refs import HEAD, RefStore

CACHES = {"index.json"}
"""Files of a repository that may change at any time: what they say is checked before it is believed."""


def everything(root: Path) -> dict[str, str]:
    """Return a digest of every file and link below a directory, and the directories; caches are left out."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = f"link {path.readlink()}"
        elif path.is_dir():
            found[name] = "directory"
        elif path.name not in CACHES:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "special"
    return found


def visible(root: Path) -> dict[str, object]:
    """Return what anybody can see of a repository: working files, refs, HEAD, their logs, and settings.

    Left out: packs of objects that nothing reaches (a pack is published before the ref that needs it moves, so that a
    ref never names what is not there), the logs of refs that no longer exist, empty folders of refs, and caches.
    """
    folder = root / FOLDER
    if not folder.exists():
        return {"files": everything(root)} if root.exists() else {}
    refs = RefStore(folder)
    names = list(refs.names())
    config = folder / "config.toml"
    return {
        "files": {name: digest for name, digest in everything(root).items() if not name.startswith(FOLDER)},
        "head": (folder / HEAD).read_text(),
        "refs": {name: refs.read(name) for name in names},
        "logs": {name: [entry.new for entry in refs.reflog(name)] for name in names},
        "config": config.read_text() if config.exists() else None,
        "leftovers": [str(path) for path in folder.rglob("*") if path.name.startswith("staging-")],
    }


def check_sound(root: Path) -> None:
    """Check with a fresh look that nothing is damaged and that nothing was left half written.

    A lock file may be left by a process that was stopped just when it made it; the next one sees that it is stale.
    """
    found = fsck(Repository(root))
    assert found.sound, found.hurt
    assert [path for path in root.rglob("*") if path.suffix == ".tmp"] == []
