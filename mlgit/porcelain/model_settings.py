"""What a built module was set to, besides its weights: numbers, names and tables, wherever its code takes them from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from functools import partial

import torch
from blake3 import blake3
from torch import nn

_DEPTH = 4
_KEPT_APART = frozenset({"_parameters", "_buffers", "_modules", "training"})
_PLAIN = (bool, int, float, complex, str, bytes, range, slice, torch.dtype, type(None))


def settings_digest(module: nn.Module) -> str:
    """Return the BLAKE3, hexadecimal, of classes, attributes and tables of a module and all its submodules.

    Parameters and the buffers that are stored with them are left out. Objects that say nothing of themselves count by
    their class.
    """
    hasher, stored = blake3(), module.state_dict().keys()
    tables = (f"{name}={_told(each, 1)}" for name, each in module.named_buffers() if name not in stored)
    parts = (line for name, part in module.named_modules() for line in (name, _name(type(part)), *_attributes(part)))
    for line in (*parts, *tables):
        hasher.update(line.encode("utf-8", "surrogatepass") + b"\0")
    return hasher.hexdigest()


def _attributes(part: nn.Module) -> Iterator[str]:
    for key, value in sorted(vars(part).items()):
        if key not in _KEPT_APART:
            counted = "_hooks" in key and isinstance(value, Mapping)  # torch counts hooks on, from module to module
            yield f"{key}={_told(list(value.values()) if counted else value, _DEPTH)}"


def _told(value: object, depth: int) -> str:
    """Return a text that is the same in each process and another one for another value."""
    if isinstance(value, _PLAIN):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    if depth == 0 or isinstance(value, nn.Module):
        return _name(type(value))
    if hasattr(value, "__qualname__"):  # a function or class
        return _name(value)
    return _name(type(value)) + "(" + ",".join(_items(value, depth - 1)) + ")"


def _items(value: object, depth: int) -> Iterator[str]:
    """Yield what an object is made of."""
    if isinstance(value, Mapping):
        yield from (f"{_told(key, depth)}:{_told(each, depth)}" for key, each in value.items())
    elif isinstance(value, Set):
        yield from sorted(_told(each, depth) for each in value)
    elif isinstance(value, (list, tuple)):
        yield from (_told(each, depth) for each in value)
    elif isinstance(value, partial):
        yield from (_told(each, depth) for each in (value.func, value.args, value.keywords))
    elif hasattr(value, "__dict__"):
        yield _told(vars(value), depth)


def _tensor(value: torch.Tensor) -> str:
    shown = f"{value.layout} {value.dtype} {tuple(value.shape)}"
    if value.layout is not torch.strided or value.is_meta:
        return shown
    data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return f"{shown} {blake3(data).hexdigest()}"


def _name(thing: object) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"
