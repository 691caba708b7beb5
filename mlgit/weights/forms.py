"""Dtype and shape of a tensor, in the words of safetensors; without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class TensorLike(Protocol):
    """What is known of a tensor without its bytes; ``mlgit.objects.TensorEntry`` is one."""

    @property
    def dtype(self) -> str:
        """The dtype, by its name in safetensors."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents, in elements."""


@dataclass(frozen=True, slots=True)
class TensorForm:
    """Dtype and shape of a tensor.

    Attributes:
        dtype: The dtype, by its name in safetensors.
        shape: Extents, in elements.
    """

    dtype: str
    shape: tuple[int, ...]


def form_text(form: TensorLike) -> str:
    """Return a form as people read it: ``F32[512, 10]``."""
    return f"{form.dtype}{list(form.shape)}"
