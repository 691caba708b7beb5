"""The IDX format of the MNIST files.

Reference:
    LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlgit.errors import InvalidInputError
from mlgit.fileio import file_system_error

MAX_BYTES = 2**28
"""The most that a file may unpack to."""


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an array of bytes.

    Args:
        path: A file, packed with gzip if its name ends with ``.gz``.

    Raises:
        InvalidInputError: It is no such file, or a damaged one.
        FileSystemError: It cannot be read.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InvalidInputError(f"'{path}' cannot be unpacked: {error}", kind="bad-idx") from error
    except OSError as error:
        raise file_system_error(error, "read", path) from error
    if len(data) < 4 or data[:3] != b"\0\0\x08" or len(data) < 4 + 4 * data[3]:
        raise InvalidInputError(f"'{path}' is not an IDX file of bytes", kind="bad-idx")
    shape = np.frombuffer(data, ">u4", data[3], 4).tolist()
    start = 4 + 4 * len(shape)
    expected = 1
    for length in shape:
        expected *= length  # whole numbers of Python: nothing overflows
    if len(data) - start != expected:
        raise InvalidInputError(
            f"'{path}' has {len(data) - start} bytes of data where its header says {expected}", kind="bad-idx"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
