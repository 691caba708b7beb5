"""Fuzz the readers with atheris (the extra ``fuzz``); coverage leads the way.

``python tests/fuzz/fuzz_readers.py TARGET [options of libFuzzer] FOLDER…`` fuzzes one target, from the inputs in the
folders; new ones are kept in the first. ``python tests/fuzz/fuzz_readers.py seeds`` writes the inputs that fuzzing
starts from into ``tests/fuzz/corpus``. Everything kept there is replayed by ``test_fuzz_corpus.py``, without atheris.
"""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path

HERE = Path(__file__).parent
MAX_BYTES = 4096
sys.path.insert(0, str(HERE.parent / "support"))


def write_seeds() -> None:
    """Write the inputs that fuzzing starts from."""
    from fuzz_targets import TARGETS, seeds

    for name in TARGETS:
        folder = HERE / "corpus" / name
        folder.mkdir(parents=True, exist_ok=True)
        for data in filter(lambda data: len(data) < MAX_BYTES, seeds(name)):
            (folder / sha256(data).hexdigest()[:16]).write_bytes(data)


def fuzz(arguments: list[str]) -> None:
    """Fuzz one target until libFuzzer ends."""
    import atheris

    name = arguments.pop(1)
    with atheris.instrument_imports(include=["mlgit", "rfc8785"]):
        from fuzz_targets import TARGETS
    target = TARGETS[name]
    atheris.Setup([*arguments, f"-max_len={MAX_BYTES - 1}", "-timeout=10", "-rss_limit_mb=1024"], target)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:] == ["seeds"]:
        write_seeds()
    else:
        fuzz(sys.argv)
