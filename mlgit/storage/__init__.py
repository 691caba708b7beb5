"""Where objects and refs are kept: packs, codecs, the object database, refs with their logs, locks.

Bytes and names only: nothing here knows what a commit is for, how tensors are named, or what torch is. Every write is
one new file, synced and renamed; nothing that exists is rewritten. Readers take no lock and verify what they read.
"""

from mlgit.storage.lock import FileLock
from mlgit.storage.objects import ObjectDatabase
from mlgit.storage.reflog import ReflogEntry
from mlgit.storage.refnames import check_ref_name
from mlgit.storage.refs import Head, RefStore

__all__ = ["FileLock", "Head", "ObjectDatabase", "RefStore", "ReflogEntry", "check_ref_name"]
