"""Calls of modules: what one did, as a tree, and one that has not returned yet. Modules are told by numbers."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_modelbudget.profiling.memory import Account
from pytest_modelbudget.profiling.shapes import shape_of, tensors_of
from pytest_modelbudget.profiling.traffic import NO_TRAFFIC, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import CodeType, FrameType

    import torch

    from pytest_modelbudget.profiling.costs import Cost
    from pytest_modelbudget.profiling.parameters import Parts
    from pytest_modelbudget.profiling.profile import Shape
    from pytest_modelbudget.profiling.stretch import Chain

Path = tuple[int, ...]
"""A chain of module numbers, from the outermost module called to the innermost."""


class Work(NamedTuple):
    """What one operator did. Booked interned: equal work is the same object."""

    operator: str
    cost: Cost | None
    """None: unknown."""
    traffic: Traffic = NO_TRAFFIC

    def interned(self) -> Work:
        """The one object in the process that stands for this work."""
        if len(_works) >= _LIMIT:
            _works.clear()  # calls before and after this are told apart, which costs a row in a table
        return _works.setdefault(self, self)


_works: dict[Work, Work] = {}
_LIMIT = 1 << 17


@dataclass(eq=False, slots=True)  # a frozen one takes three times as long to make
class CallTree:
    """One finished call of a module. Interned: equal calls are the same object, so loops cost no memory."""

    module: int
    work: tuple[Work, ...]
    children: tuple[CallTree, ...]
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]

    def walk(self) -> Iterator[CallTree]:
        """This call and every call below it."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(eq=False)
class _Given:
    """What a model was given."""

    inputs: tuple[Shape, ...] = field(default=(), init=False)
    batch: int | None = field(default=None, init=False)
    device: str = field(default="", init=False)

    def note_inputs(self, given: Any, others: Iterable[torch.Tensor] = ()) -> None:
        """Note it; `others` are tensors that tell the device where it has none."""
        tensors = list(tensors_of(given))
        self.inputs = tuple(map(shape_of, tensors))
        self.batch = self.inputs[0][0] if self.inputs and self.inputs[0] else None
        self.device = next((tensor.device.type for tensor in (*tensors, *others)), "")


@dataclass(eq=False)
class Call(_Given):
    """A call from outside every other module call, and what it was called with.

    Attributes:
        tree: what ran; `selves`: modules whose methods were on the call stack around it, innermost first.
        inputs: shapes of all input tensors; `batch`: dimension 0 of the first one; `device`: where they live.
        backward: work of the backward pass, by the path of modules that it belongs to.
        memory: what was alive during the call and its backward.
        chain: that of it and of calls of the same module before it whose backward pass was still to come.
        went_back: whether a backward pass has come to it.
        specification: how to repeat the call; kept only when asked for.
    """

    module: int
    selves: Path
    path: Path = ()
    tree: CallTree | None = None
    backward: dict[Path, list[Work]] = field(default_factory=dict)
    memory: Account = field(default_factory=Account)
    chain: Chain | None = None
    went_back: bool = False
    specification: Any = None


@dataclass(eq=False)
class Outside(_Given):
    """What methods did outside every module call, and what the outermost one was given first.

    Attributes:
        selves: the modules whose methods were on the call stack, innermost first.
        backward: work of the backward pass through that.
    """

    selves: Path
    work: list[Work] = field(default_factory=list)
    backward: list[Work] = field(default_factory=list)


class Entry:
    """A module call that has not returned yet."""

    __slots__ = ("call", "children", "frame", "is_recomputed", "module", "number", "path", "returned", "work")

    def __init__(
        self, module: torch.nn.Module | None, number: int, frame: FrameType | None, call: Call, path: Path
    ) -> None:
        self.module = module
        self.number = number
        self.frame = frame
        self.call = call
        self.path = path
        self.work: list[Work] = []
        self.children: list[CallTree] = []
        self.is_recomputed = path[0] != call.module
        self.returned: Returned | None = None
        """Set when the module has returned and hooks of its own may follow."""

    def made(self, tensors: tuple[torch.Tensor, ...], operator: str, transient: int) -> None:
        """An operator in this module made these."""
        where = (self.path, operator)
        self.call.memory.made(tensors, where, backward=self.is_recomputed, transient=transient)


class Returned(NamedTuple):
    """A call that has returned, but for the forward hooks of its module: they run after the hooks of all modules.

    Its frame is told by its code and id. Held, it would keep what the module was given and returned. Another with the
    same id can only be that of a later call, which comes by `enter` first.
    """

    frame: int
    code: CodeType
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]

    def is_around(self, frame: FrameType | None) -> bool:
        """Whether that runs in one of the hooks."""
        while frame is not None:
            if id(frame) == self.frame and frame.f_code is self.code:
                return True
            frame = frame.f_back
        return False


class ModuleNumbers:
    """Numbers modules by identity without keeping them alive."""

    def __init__(self) -> None:
        self._references: list[weakref.ref[torch.nn.Module]] = []
        self._numbers: dict[int, int] = {}
        self.types: list[str] = []
        self._lock = threading.Lock()
        """Models may be called in several threads at once."""

    def __getitem__(self, module: torch.nn.Module) -> int:
        number = self._numbers.get(id(module))
        # An id is used again once its module is gone.
        if number is not None and self._references[number]() is module:
            return number
        return self.of([("", module)])[0]

    def of(self, parts: Parts) -> list[int]:
        """The numbers of many modules."""
        known, references, types = self._numbers, self._references, self.types
        numbers = []
        for _, module in parts:
            number = known.get(id(module))
            if number is None or references[number]() is not module:
                with self._lock:
                    number = len(references)
                    references.append(weakref.ref(module))
                    types.append(type(module).__name__)
                    known[id(module)] = number
            numbers.append(number)
        return numbers

    def module(self, number: int) -> torch.nn.Module | None:
        """The module with that number, or None once it is gone."""
        return self._references[number]()
