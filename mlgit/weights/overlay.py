"""Weights made of parts of others, without reading any."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mlgit.objects.ids import Buffer
from mlgit.weights.content import HeldWeights, tensor_content
from mlgit.weights.forms import TensorLike
from mlgit.weights.lazy_average import fill, parts_of
from mlgit.weights.stored import LazyWeights
from mlgit.weights.types import Weights, forms


class Overlay(LazyWeights):
    """The tensors of one model, with those of another in the place of the same names, or added.

    Args:
        below: The model. Not to be changed as long as this is used.
        above: What counts where both have a name; likewise.
        keep: Which names of ``below`` there are; by default all.
    """

    def __init__(self, below: Weights, above: Weights, keep: Callable[[str], bool] = lambda _: True) -> None:
        known = {name: (below, form) for name, form in forms(below).items() if keep(name)}
        known |= {name: (above, form) for name, form in forms(above).items()}
        self._both = (below, above)
        self._sources = {name: known[name][0] for name in sorted(known)}
        self._entries = {name: known[name][1] for name in sorted(known)}

    @property
    def entries(self) -> Mapping[str, TensorLike]:
        """Name -> dtype and shape, and the id where it is known, sorted."""
        return self._entries

    def content(self, name: str) -> str | None:
        """Return what names a tensor's content; see ``tensor_content``."""
        return tensor_content(self._sources[name], name)

    @property
    def concurrent(self) -> bool:
        """Whether several threads may look up tensors at once."""
        return all(isinstance(each, dict) or (isinstance(each, LazyWeights) and each.concurrent) for each in self._both)

    def cost(self, name: str) -> int:
        """Return how much memory a look-up takes."""
        source = self._sources[name]
        return source.cost(name) if isinstance(source, LazyWeights) else super().cost(name)

    def parts(self, name: str) -> Iterator[Buffer]:
        """Yield a tensor's bytes in order, in parts where its model can be read so."""
        return parts_of(self._sources[name], name)

    def read_into(self, name: str, target: memoryview) -> None:
        """Fill a buffer with a tensor's bytes."""
        fill(self._sources[name], name, target)


def part(weights: Weights, keep: Callable[[str], bool]) -> Overlay:
    """Return the tensors of some names."""
    return Overlay(weights, {}, keep)


class _Named(Overlay):
    """Weights of which somebody else knows what they are."""

    def __init__(self, weights: Weights, contents: Mapping[str, str | None]) -> None:
        super().__init__(weights, {})
        self._contents = contents

    def content(self, name: str) -> str | None:
        """Return what names a tensor's content."""
        return self._contents.get(name)


def with_contents(weights: Weights, contents: Mapping[str, str | None]) -> Weights:
    """Return the same weights, which tell by ``tensor_content`` what they are.

    Args:
        weights: Which; not to be changed as long as the result is used.
        contents: Name -> what ``tensor_content`` is to return.
    """
    if isinstance(weights, LazyWeights):
        return _Named(weights, contents)
    return HeldWeights(weights.items(), contents)
