"""What a run writes into tensors that it did not make: abstract data marks them as abstract, real data is undone."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, UntypedStorage


class Journal:
    """Of one run."""

    def __init__(self) -> None:
        self.tainted: dict[int, UntypedStorage] = {}
        """Storages of real tensors into which abstract data was written: all tensors on them are abstract now.

        Kept alive, so that no other gets their address.
        """
        self._written: dict[int, tuple[weakref.ref[UntypedStorage], UntypedStorage]] = {}
        self._reshaped: dict[int, tuple[Tensor, Tensor]] = {}
        self._generators: dict[int, tuple[torch.Generator, Tensor]] = {}

    def is_abstract(self, tensor: Tensor) -> bool:
        """Whether the tensor has no data, or data that means nothing."""
        if tensor.is_meta:
            return True
        return bool(self.tainted) and _has_storage(tensor) and tensor.untyped_storage()._cdata in self.tainted

    def taint(self, tensor: Tensor) -> None:
        """Abstract data is written into a real tensor. Its bytes stay as they are."""
        if _has_storage(tensor):
            storage = tensor.untyped_storage()
            self.tainted[storage._cdata] = storage

    def before_write(self, tensor: Tensor) -> None:
        """Real data is about to be written into a real tensor, perhaps the user's."""
        if not _has_storage(tensor):
            return
        storage = tensor.untyped_storage()
        known = self._written.get(storage._cdata)
        if known is None or known[0]() is None:  # or one that is gone had the same address
            self._written[storage._cdata] = weakref.ref(storage), storage.clone()

    def before_reshape(self, tensor: Tensor) -> None:
        """A tensor, perhaps the user's, is about to change its shape in place."""
        if id(tensor) not in self._reshaped:
            self._reshaped[id(tensor)] = tensor, tensor.detach()

    def before_drawing(self, generator: torch.Generator) -> None:
        """Random numbers are about to be drawn from a generator that was passed."""
        if id(generator) not in self._generators:
            self._generators[id(generator)] = generator, generator.get_state()

    def undo(self) -> None:
        """Restore what was written."""
        for tensor, as_it_was in self._reshaped.values():
            tensor.data = as_it_was
        for reference, content in self._written.values():
            storage = reference()
            if storage is None:  # the run's own
                continue
            if storage.nbytes() != content.nbytes():
                storage.resize_(content.nbytes())
            storage.copy_(content)
        for generator, state in self._generators.values():
            generator.set_state(state)
        self.tainted.clear()
        self._written.clear()
        self._reshaped.clear()
        self._generators.clear()


def _has_storage(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_nested
