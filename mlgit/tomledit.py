"""Change one value of a TOML file and keep everything else, comments included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from mlgit.errors import InvalidInputError
from mlgit.fileio import read_file, write_file
from mlgit.objects.encoding import JsonValue


def set_value(path: Path, keys: Sequence[str], value: JsonValue) -> bool:
    """Set, or remove with None, the value at ``keys``; the file appears when it was missing.

    Args:
        path: The TOML file.
        keys: Table names from the outside in, then the key.
        value: What to write; a mapping becomes a table of its own. None removes it.

    Returns:
        Whether the file changed.

    Raises:
        InvalidInputError: The file is not TOML, or a key on the way is no table.
        FileSystemError: The operating system refused; the file is as it was.
    """
    try:
        before = read_file(path)
    except FileNotFoundError:
        before = b""
    after = edited(before, keys, value, str(path))
    if after == before:
        return False
    write_file(path, after)
    return True


def edited(data: bytes, keys: Sequence[str], value: JsonValue, source: str) -> bytes:
    """Return TOML with the value at ``keys`` set, or removed with None.

    Args:
        data: The document; may be empty.
        keys: Table names from the outside in, then the key.
        value: What to write.
        source: What to call the document in errors.

    Raises:
        InvalidInputError: Not TOML, or a key on the way is no table.
    """
    try:
        document = tomlkit.parse(data.decode("utf-8"))
        _change(document, keys, value)
        return tomlkit.dumps(document).encode("utf-8")
    except (TOMLKitError, UnicodeError) as error:
        raise InvalidInputError(f"'{source}' is not valid TOML: {error}", kind="bad-toml") from error


def _change(document: tomlkit.TOMLDocument, keys: Sequence[str], value: JsonValue) -> None:
    *outer, last = keys
    table: tomlkit.TOMLDocument | Table = document
    for key in outer:
        if key not in table:
            if value is None:
                return
            table.add(key, tomlkit.table(is_super_table=key != outer[-1]))
        inner = table[key]
        if not isinstance(inner, Table):
            raise InvalidInputError(f"'{key}' of '{'.'.join(keys)}' is not a table", kind="bad-key")
        table = inner
    if value is None:
        table.pop(last, None)
    elif isinstance(value, Mapping):
        made = tomlkit.table()
        for key, item in value.items():
            made.add(key, tomlkit.item(item))
        table[last] = made
    else:
        table[last] = tomlkit.item(value)
