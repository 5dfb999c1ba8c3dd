"""Folded networks that are kept, and never outlive what they were folded from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from dsta.folded.network import FoldedNetworks
from dsta.model import DSTA


@dataclass(frozen=True)
class _Kept:
    """Networks as they were when they were folded.

    tensors: aliases of theirs, so that no other tensor can come to lie in the same place. versions: torch's counts of
    how often each was written into.
    """

    tensors: tuple[Tensor, ...]
    versions: tuple[int, ...]
    folded: FoldedNetworks

    def is_of(self, tensors: Sequence[Tensor]) -> bool:
        """Whether these are the same tensors, as they were."""
        return len(tensors) == len(self.tensors) and all(
            now.data_ptr() == alias.data_ptr() and now._version == version and now.dtype == alias.dtype
            for now, alias, version in zip(tensors, self.tensors, self.versions, strict=True)
        )


_KEPT: "WeakKeyDictionary[DSTA, dict[Any, _Kept]]" = WeakKeyDictionary()


def folded(models: Sequence[DSTA], frames: int, half: bool = False) -> FoldedNetworks:
    """The networks as they are now, folded for inputs of so many frames.

    What was folded is kept as long as the first of the networks lives, and is folded anew once a tensor of theirs was
    replaced, moved or written into. Only writing behind torch's back (`tensor.data`, numpy) goes unnoticed.
    """
    tensors = [tensor for model in models for tensor in _tensors(model)]
    if any(tensor.is_inference() for tensor in tensors):  # of which torch does not count the changes
        return FoldedNetworks(models, frames, half)
    those, key = _KEPT.setdefault(models[0], {}), (frames, half, len(models))
    if key not in those or not those[key].is_of(tensors):
        aliases, versions = tuple(tensor.detach() for tensor in tensors), tuple(tensor._version for tensor in tensors)
        those[key] = _Kept(aliases, versions, FoldedNetworks(models, frames, half))
    return those[key].folded


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers; quicker than torch's own way, for this is done at each call."""
    for module in model.modules():
        for own in (module._parameters, module._buffers):
            yield from (tensor for tensor in own.values() if tensor is not None)
