"""Images that stay decoded and on the device while weights change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from mlgit.errors import InvalidInputError
from mlgit.evaluation.score import Predictions
from mlgit.tasks.split import DomainData

BATCH_SIZE = 512
"""Images in one forward pass, unless they are large."""
MAX_LOADED_BYTES = 2 << 30
"""Decoded images that are kept; what does not fit is decoded again each time."""
_MAX_BATCH_ELEMENTS = 1 << 25


class LoadedDomain:
    """The inputs of one domain in batches on a device.

    Args:
        name: The domain.
        labels: int64 (N,), on the CPU.
        batches: Gives float32 batches on the device, in order, each time it is called.
        kept: Whether the batches lie in memory.
    """

    def __init__(
        self, name: str, labels: torch.Tensor, batches: Callable[[], Iterator[torch.Tensor]], *, kept: bool
    ) -> None:
        self.name = name
        self.labels = labels
        self.batches = batches
        self.kept = kept

    def mapped(self, function: Callable[[torch.Tensor], torch.Tensor]) -> LoadedDomain:
        """Return what ``function``, applied once without gradients, makes of the inputs; it is kept in memory."""
        with torch.no_grad():
            results = [function(batch).detach() for batch in self.batches()]
        return LoadedDomain(self.name, self.labels, lambda: iter(results), kept=True)


def load_domains(
    domains: Sequence[DomainData],
    device: torch.device,
    *,
    batch_size: int = BATCH_SIZE,
    max_bytes: int = MAX_LOADED_BYTES,
) -> tuple[LoadedDomain, ...]:
    """Decode un-augmented images once and keep them on the device, domain by domain, as long as they fit.

    Args:
        domains: What to load.
        device: Where to.
        batch_size: Images per batch, at least 1; fewer when images are large. It never changes for given domains, so
            that kernels that depend on it give the same bits each time.
        max_bytes: Bound of what is kept; domains beyond it are decoded whenever they are needed.

    Returns:
        One entry per domain.

    Raises:
        InvalidInputError: There is no domain or an empty one, or ``batch_size`` is below 1.
    """
    check_domains(domains, batch_size)
    loaded, left = [], max_bytes
    for domain in domains:
        image = domain.images(torch.zeros(1, dtype=torch.int64))
        size_bytes = image.numel() * image.element_size() * len(domain)
        batch = min(batch_size, max(1, _MAX_BATCH_ELEMENTS // max(1, image.numel())))
        keep = size_bytes <= left
        left -= size_bytes if keep else 0
        loaded.append(_load(domain, device, batch, keep=keep))
    return tuple(loaded)


def check_domains(domains: Sequence[DomainData], batch_size: int) -> None:
    """Refuse what cannot be evaluated on.

    Raises:
        InvalidInputError: There is no domain or an empty one, or ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise InvalidInputError(f"batch size {batch_size} is below 1", kind="bad-batch-size", hint="use 1 or more")
    empty = [domain.name for domain in domains if not len(domain)]
    if empty or not domains:
        raise InvalidInputError(
            f"domain '{empty[0]}' has no examples" if empty else "the split has no domains",
            kind="empty-split",
            hint="add data or leave the domain out of the task",
        )


def _load(domain: DomainData, device: torch.device, batch_size: int, *, keep: bool) -> LoadedDomain:
    def decode() -> Iterator[torch.Tensor]:
        for indices in torch.split(torch.arange(len(domain)), batch_size):
            yield domain.images(indices).to(device)

    if not keep:
        return LoadedDomain(domain.name, domain.labels, decode, kept=False)
    batches = list(decode())
    return LoadedDomain(domain.name, domain.labels, lambda: iter(batches), kept=True)


@torch.no_grad()
def predict(
    forward: Callable[[torch.Tensor], torch.Tensor], domains: Sequence[LoadedDomain]
) -> tuple[Predictions, ...]:
    """Return the probabilities that a module in evaluation mode gives to every example.

    Args:
        forward: From a batch to logits (B, C).
        domains: What to predict.

    Returns:
        One entry per domain, on the CPU; probabilities are the float32 softmax of the logits.

    Raises:
        InvalidInputError: A label is not one of the C classes.
    """
    return tuple(
        Predictions(
            domain.name,
            torch.cat([torch.softmax(forward(batch).to(torch.float32), dim=1).cpu() for batch in domain.batches()]),
            domain.labels,
        )
        for domain in domains
    )
