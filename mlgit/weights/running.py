"""The average of models that come one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import torch

from mlgit.errors import InvalidInputError, MlgitError
from mlgit.objects.ids import Buffer
from mlgit.weights.accumulate import Accumulator, Rule
from mlgit.weights.compatibility import check_compatible
from mlgit.weights.content import average_content, tensor_content
from mlgit.weights.forms import TensorForm, TensorLike
from mlgit.weights.stored import LazyWeights, tensor_bytes
from mlgit.weights.sums import (
    Average,
    Statistics,
    accumulators,
    add_to,
    check_equal,
    check_statistics,
    finish,
    identity,
)
from mlgit.weights.types import Weights, forms


class RunningAverage:
    """The uniform average of models that come one by one, as in a greedy soup.

    ``value()`` has the bits of ``average`` over the same models in the order in which they were added. To try a model
    and then add it with one reading, load it into a dict first.

    Args:
        statistics: As in ``average``.
    """

    def __init__(self, *, statistics: Statistics = "require-equal") -> None:
        check_statistics(statistics)
        self._statistics = statistics
        self._forms: Mapping[str, TensorLike] = {}
        self._sums: dict[str, Accumulator] = {}
        self._contents: dict[str, tuple[str | None, ...]] = {}
        self._count = 0
        self._complete = True

    @property
    def count(self) -> int:
        """How many models were added."""
        return self._count

    def add(self, weights: Weights) -> None:
        """Add a model.

        Args:
            weights: The same names, shapes and dtypes as the models before. Not changed, and not to be changed later:
                tensors that are equal in all models are held, not copied.

        Raises:
            IncompatibleWeightsError: The model does not fit to those before; the average stays as it is. After
                any other error the average cannot be used any more.
        """
        known = forms(weights)
        sums = self._fitting(known)
        equal = {name: add_to(total.fork(), weights, name) for name, total in sums.items() if total.rule is Rule.EQUAL}
        check_equal(name for name, total in equal.items() if total.differs)
        self._complete = False
        for name, total in sums.items():
            if name not in equal:
                add_to(total, weights, name)
        self._sums, self._forms, self._count, self._complete = sums | equal, known, self._count + 1, True
        self._contents = self._contents_with(weights)

    def mean_with(self, weights: Weights) -> Average:
        """Return what ``value`` would return after ``add(weights)``, and add nothing.

        Raises:
            IncompatibleWeightsError: The model does not fit to those before.
        """
        sums = self._fitting(forms(weights))
        return finish(sums, lambda name: add_to(sums[name].fork(), weights, name), self._count + 1)

    def lazy_mean_with(self, weights: Weights) -> Average:
        """Return what ``mean_with`` returns, but compute each tensor when it is asked for.

        Args:
            weights: The model, not to be changed as long as the result is used. The result is to be used before
                anything is added here.

        Raises:
            IncompatibleWeightsError: The model does not fit to those before.
        """
        known = forms(weights)
        sums = self._fitting(known)
        fixed = [name for name, total in sums.items() if total.rule is not Rule.MEAN]
        notes = finish(fixed, lambda name: add_to(sums[name].fork(), weights, name), self._count + 1).notes
        return Average(_Mean(sums, self._count + 1, self._contents_with(weights), weights), notes)

    def lazy_value(self) -> Average:
        """Return what ``value`` returns, but compute each tensor when it is asked for; nothing may be added any more.

        Raises:
            InvalidInputError: None was added.
        """
        if not self._count:
            raise InvalidInputError("an average needs at least one model", kind="bad-coefficients")
        sums = self._fitting(self._forms)
        fixed = [name for name, total in sums.items() if total.rule is not Rule.MEAN]
        return Average(_Mean(sums, self._count, self._contents), finish(fixed, sums.__getitem__, self._count).notes)

    def value(self) -> Average:
        """Return the average of the models that were added.

        Raises:
            InvalidInputError: None was added.
        """
        if not self._count:
            raise InvalidInputError("an average needs at least one model", kind="bad-coefficients")
        sums = self._fitting(self._forms)
        return finish(sums, sums.__getitem__, self._count)

    def _contents_with(self, weights: Weights) -> dict[str, tuple[str | None, ...]]:
        """Return what names the tensors that were added, and those of one more model, in this order."""
        return {name: (*self._contents.get(name, ()), tensor_content(weights, name)) for name in weights}

    def _fitting(self, known: Mapping[str, TensorLike]) -> dict[str, Accumulator]:
        """Return the sums so far, if a model of this form fits to them."""
        if not self._complete:
            raise MlgitError("a running average cannot be used after an error while a model was added")
        if not self._count:
            return accumulators(known, self._statistics)
        check_compatible({"the models before": self._forms, "the new model": known})
        return self._sums


class _Mean(LazyWeights):
    """The mean of sums, with one more model or without.

    Args:
        sums: Name -> sum.
        count: Models in the mean.
        contents: Name -> what names the tensor of each of them.
        more: A model that the sums do not hold, or None.
    """

    def __init__(
        self,
        sums: Mapping[str, Accumulator],
        count: int,
        contents: Mapping[str, tuple[str | None, ...]],
        more: Weights | None = None,
    ) -> None:
        self._sums = sums
        self._count = count
        self._contents = contents
        self._more = more
        self._entries = {name: TensorForm(sums[name].form.dtype, tuple(sums[name].form.shape)) for name in sorted(sums)}

    @property
    def entries(self) -> Mapping[str, TensorLike]:
        """Name -> dtype and shape, sorted."""
        return self._entries

    def content(self, name: str) -> str | None:
        """Return what names a tensor's content: the same as for ``lazy_average`` of the same models in this order."""
        contents = self._contents[name]
        if self._sums[name].rule is not Rule.MEAN or len(set(contents)) == 1:
            return contents[0]
        return average_content(contents, [1.0] * self._count, self._count, dtype=self._entries[name].dtype)

    def parts(self, name: str) -> Iterator[Buffer]:
        """Yield the bytes of a tensor: all at once, since its sum is in memory too."""
        yield tensor_bytes(self[name])

    def __getitem__(self, name: str) -> torch.Tensor:
        total = self._sums[name]
        if self._more is None:
            return total.value(self._count)
        read = partial(self._more.__getitem__, name)
        return total.value_with(read, 1.0, self._count, identity(self._more, name))
