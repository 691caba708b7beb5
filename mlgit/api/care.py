"""Verbs that look after the store: what is sound, what is used, what can go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlgit import repository as core
from mlgit.porcelain import fsck as checking

if TYPE_CHECKING:  # imported by the methods that need them: who only reads history should not wait for torch
    from mlgit.porcelain.du import Usage
    from mlgit.porcelain.gc import GcResult
    from mlgit.porcelain.repack import RepackResult


class CareVerbs(core.Repository):
    """Verbs that look after the store: what is sound, what is used, what can go."""

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
