"""The mode of an abstract run: computes what is constant, works out shapes of what is not, and books what it costs.

An operator is *abstract* when an operand is: a meta tensor, or a real tensor into which abstract data was written.
Everything else does not depend on weights or floating inputs, is small, and is computed for real, on the CPU; so masks,
position ids and `.item()` on them work as ever.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pytest_modelbudget.profiling import internals
from pytest_modelbudget.profiling.abstract import constants, indexing, rules
from pytest_modelbudget.profiling.abstract.errors import needs_data
from pytest_modelbudget.profiling.abstract.log import Did
from pytest_modelbudget.profiling.abstract.memo import Answer, memo
from pytest_modelbudget.profiling.abstract.replay import handed_on, recipe
from pytest_modelbudget.profiling.abstract.verification import check_cost, check_output
from pytest_modelbudget.profiling.calls import Work
from pytest_modelbudget.profiling.compilation import only_optimises
from pytest_modelbudget.profiling.costs import total
from pytest_modelbudget.profiling.made import made_by, picker
from pytest_modelbudget.profiling.memory import NOWHERE, Account, Storage
from pytest_modelbudget.profiling.operands import (
    CPU,
    META,
    argument,
    as_meta,
    on_device,
    replaced,
    tensors,
    traits,
)
from pytest_modelbudget.profiling.recorder import dispatches_itself, work_of
from pytest_modelbudget.profiling.signature import signature
from pytest_modelbudget.profiling.storages import storages_bytes
from pytest_modelbudget.profiling.traffic import effects_of, stored_bytes, total_traffic

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_modelbudget.profiling.abstract.journal import Journal
    from pytest_modelbudget.profiling.abstract.replay import Make
    from pytest_modelbudget.profiling.abstract.tracking import RunTracker
    from pytest_modelbudget.profiling.signature import Key

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


class _Found(NamedTuple):
    """What was found out about one operator: its output, and the rest as in `Answer`.

    `depends`: on values, so that it must not be remembered for other operands of the same shape.
    """

    output: Any
    works: tuple[Work, ...]
    made: tuple[Tensor, ...]
    transient: int = 0
    depends: bool = False


class _Parts(NamedTuple):
    """What the parts of a composite operator cost, and what they have alive at once."""

    works: list[Work]
    memory: Account


class AbstractMode(TorchDispatchMode):
    """Runs every operator of its `with` block abstractly and books it to the modules that `tracker` follows.

    Args:
        tracker: has started already.
        journal: takes note of what is written.
        twin: the meta twin of a parameter that was reached past its module.
        is_foreign: whether a tensor is neither a twin nor the original of one.
        has_foreign: whether there are such tensors without data.
        autograd: whether autograd records above this mode.
        fuses_attention: whether scaled dot product attention is one operator.
        keeps_floats: whether floating constants on the CPU are real also where autograd records.
    """

    supports_higher_order_operators = True

    def __init__(
        self,
        tracker: RunTracker,
        journal: Journal,
        twin: Callable[[Tensor], Tensor],
        is_foreign: Callable[[Tensor], bool],
        *,
        has_foreign: bool,
        autograd: bool,
        fuses_attention: bool,
        keeps_floats: bool,
    ) -> None:
        super().__init__()
        internals.admit_higher_order_operators(type(self))
        self._tracker = tracker
        self._logged = tracker.logged
        self._log = tracker.log.append
        self._journal = journal
        self._tainted = journal.tainted
        self._twin = twin
        self._is_foreign = is_foreign
        self._has_foreign = has_foreign
        self._autograd = autograd
        self._floats_abstract = autograd
        """Whether floating tensors are abstract also where they are made: for autograd, and inside of composites."""
        self._fuses_attention = fuses_attention
        self._keeps_floats = keeps_floats
        self._levels = tuple((kept, fuses_attention, keeps_floats, has_foreign) for kept in (False, True))
        """By `_floats_abstract`: answers of one level do not hold at another."""
        self._parts: list[_Parts] = []
        """Of the composite operators that are being taken apart, innermost last."""
        self._did = False
        """Whether the latest operator did anything."""
        self._depends_on_values = False
        """Set when an operator runs whose result must not be remembered for other values of the same shape."""

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """A plain mode makes Dynamo give up on every frame that it meets, for the rest of the process."""
        return True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch would wrap `__torch_dispatch__` in `torch._disable_dynamo`: 2 us for each operator."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: tuple[type, ...], args: Args = (), kwargs: Kwargs | None = None
    ) -> Any:
        """Answer from memory, or find the answer out and remember it."""
        if types and any(map(dispatches_itself, types)):
            return NotImplemented  # let the subclass say what it is made of: those operators come by here
        key = signature(func, args, kwargs, self._levels[self._floats_abstract], self._tainted)
        if key is not None:
            try:
                answer = _recall(key)
            except TypeError:  # a symbol among the numbers
                answer = key = None
            if answer is not None:
                _, make, did, is_alone, made, writes, reads = answer
                if writes:
                    self._before_writes(writes, args, kwargs or {})
                output = make(args, kwargs)
                if did is not None:
                    if not self._logged or self._parts or self._tracker.paused:
                        self._book(did.operator, did.works, () if made is None else made(output), did.transient)
                    elif is_alone:
                        log = self._log
                        log(did)
                        log(Storage(output.untyped_storage(), log))
                    elif made is None:
                        self._log(did)
                    else:
                        self._tracker.book_running(did.works, made(output), did.operator, did.transient)
                    if reads and not self._parts:
                        self._read(args, kwargs or {})
                if memo.verify:
                    self._check(func, args, kwargs or {}, output, () if did is None else did.works)
                return output
        if isinstance(func, internals.HigherOrderOperator):
            return self._higher_order(func, args, kwargs or {})
        self._did = False
        output = self._work_out(func, args, kwargs or {}, key)
        if self._did and not self._parts:
            self._read(args, kwargs or {})
        if func in _RESIZE and not self._parts:
            self._tracker.book_resizing(args[0])
        return output

    def _read(self, args: Args, kwargs: Kwargs) -> None:
        """Tell of operands that were there before the run, in a closure or a plain attribute, unless single numbers."""
        for tensor in tensors(args, kwargs):
            if (
                (not tensor.is_meta or self._has_foreign)
                and tensor.dim()
                and not self._tracker.knows(tensor)
                and self._is_foreign(tensor)
            ):
                self._tracker.book_reading(tensor)

    def _may_read_foreign(self, key: Key) -> bool:
        """Whether there are real tensors among the operands, which a signature names by their class."""
        return self._has_foreign or Tensor in key or torch.nn.Parameter in key

    # -- the kinds of operators ---------------------------------------------------------------------------------

    def _work_out(self, func: Any, args: Args, kwargs: Kwargs, key: Key | None) -> Any:
        args, kwargs = self._known(args, kwargs)
        everywhere = self._autograd and not self._keeps_floats
        if constants.makes_constant(func, args, kwargs, floats_abstract=self._floats_abstract, everywhere=everywhere):
            return self._real(func, args, kwargs, key)
        operands = list(tensors(args, kwargs))
        if operands and not any(map(self._journal.is_abstract, operands)):
            args, kwargs = constants.gathered(args, kwargs)
            if not constants.is_large(func, args, kwargs):
                return self._real(func, args, kwargs, key)
        elif not operands and not constants.returns_tensors(func):
            return func(*args, **kwargs)
        return self._abstract(func, args, kwargs, key)

    def _known(self, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """The arguments with parameters that were reached past their modules as their twins, and generators noted."""
        for value in (*args, *kwargs.values()):
            if isinstance(value, torch.Generator):
                self._journal.before_drawing(value)
        if any(isinstance(tensor, torch.nn.Parameter) and not tensor.is_meta for tensor in tensors(args, kwargs)):
            return replaced(args, kwargs, lambda t: self._twin(t) if isinstance(t, torch.nn.Parameter) else t)
        return args, kwargs

    def _real(self, func: Any, args: Args, kwargs: Kwargs, key: Key | None) -> Any:
        """Compute it, on the CPU."""
        told = traits(func)
        if told.needs_values:
            self._depends_on_values = True
        if func is not _DETACH:  # of each literal, too, which the journal would keep
            self._before_writes(told.writes, args, kwargs, told.changes_shape)
        run = constants.computation(func)
        if internals.has_composite_kernel(func):
            found = self._take_apart(func, *on_device(func, args, kwargs, CPU))
        else:
            found = self._found(func, args, kwargs, run(args, kwargs), depends=told.needs_values)
        if func is _EQUAL and only_optimises(self._tracker.innermost):
            return found.output
        self._book(func._schema.name, found.works, found.made, found.transient)
        if key is not None and not told.changes_shape and not found.depends and _is_real(found.output):
            memo.remember(key, _answer(func, run, found, told.writes, reads=self._may_read_foreign(key)))
        return found.output

    def _before_writes(
        self, places: tuple[tuple[int, str], ...], args: Args, kwargs: Kwargs, changes_shape: bool = False
    ) -> None:
        for place in places:
            for tensor in tensors((argument(args, kwargs, place),), {}):
                if not tensor.is_meta:
                    self._journal.before_write(tensor)
                    if changes_shape:
                        self._journal.before_reshape(tensor)

    def _abstract(self, func: Any, args: Args, kwargs: Kwargs, key: Key | None) -> Any:
        """Work out the shape of the result."""
        told = traits(func)
        if func in _MAKES_SPARSE or any(map(_is_sparse, tensors(args, kwargs))):
            # What it costs depends on how many elements are not zero.
            raise needs_data(f"{func._schema.name} of a sparse tensor", sys._getframe(1))
        if indexing.has_masks(func, args):
            func, args = indexing.with_integers(func, args, self._journal.is_abstract)
            self._depends_on_values = True
            return self.__torch_dispatch__(func, (), args, kwargs)
        needs_values = told.needs_values and not indexing.is_indexing(func)
        if (needs_values and rules.answer(func, args, kwargs) is None) or self._is_leaving(func, args, kwargs):
            raise needs_data(func._schema.name, sys._getframe(1))
        if told.writes:
            if internals.has_composite_kernel(func):  # `dropout_`, an observer of quantization-aware training
                found = self._take_apart(func, args, kwargs)
                self._book(func._schema.name, found.works, found.made, found.transient)
                return found.output
            return self._write(func, args, kwargs, key)
        if told.is_view and not args[0].is_meta:
            return func(*args, **kwargs)  # of a real tensor with abstract content: shares its storage, thus its state
        found = self._answer(func, args, kwargs)
        self._book(func._schema.name, found.works, found.made, found.transient)
        if key is not None and not found.depends:
            self._remember(func, key, args, kwargs, found)
        return found.output

    def _remember(self, func: Any, key: Key, args: Args, kwargs: Kwargs, found: _Found) -> None:
        make = recipe(args, kwargs, found.output)
        if make is not None:
            memo.remember(key, _answer(func, make, found, reads=self._may_read_foreign(key)))

    def _is_leaving(self, func: Any, args: Args, kwargs: Kwargs) -> bool:
        """Whether data is about to be read without an operator: `tolist` and `numpy` come by here for the last time."""
        if self._parts:
            return False
        if self._autograd:
            device = kwargs.get("device")
            return func is torch.ops.aten._to_copy.default and device is not None and device.type == "cpu"
        return func in _BEFORE_READING and not args[0].is_complex()

    def _answer(self, func: Any, args: Args, kwargs: Kwargs) -> _Found:
        """The result of an operator that writes nothing, and what it did."""
        args, kwargs = on_device(func, args, kwargs, META, always=constants.makes_tensors(func))
        kwargs = _without_generator(kwargs)
        ruled = rules.answer(func, args, kwargs) if self._fuses_attention or func is not _ATTENTION else None
        if ruled is not None:
            output, counted, counted_args, beside, copies = ruled
            works = self._works(counted, counted_args, {}, (output, *beside) if beside else output)
            if copies:
                for original, copy in copies:
                    works += self._works(_COPY, (original,), {}, copy)
                works = tuple([work.interned() for work in _folded(func, [*works])])
            transient = sum(map(stored_bytes, (*beside, *(copy for _, copy in copies))))
            return _Found(output, works, made_by(args, kwargs, output), transient, depends=False)
        if internals.has_composite_kernel(func):
            if not constants.keeps_real_floats(func):
                args, kwargs = replaced(args, kwargs, _abstract_float)
            return self._take_apart(func, args, kwargs)
        depends = constants.reads_values(func)
        if not depends:
            args, kwargs = replaced(args, kwargs, as_meta)
        return self._found(func, args, kwargs, self._kernel(func, args, kwargs), depends=depends)

    def _write(self, func: Any, args: Args, kwargs: Kwargs, key: Key | None) -> Any:
        """Operators that write their operands: those become abstract, and their bytes stay as they are."""
        told = traits(func)
        written = [argument(args, kwargs, place) for place in told.writes]
        for tensor in tensors(written, {}):
            if not tensor.is_meta:
                self._journal.taint(tensor)
        if told.changes_shape:
            if func is _DETACH and key is not None and not self._floats_abstract:
                memo.remember(key, Answer(func, handed_on(0)))  # nothing is recorded
            return self._reshape(func, args, kwargs)
        meta_args, meta_kwargs = replaced(args, _without_generator(kwargs), as_meta)
        output = args[0] if rules.writes_itself(func, *args) else self._kernel(func, meta_args, meta_kwargs)
        for place in told.writes:
            self._grow(argument(args, kwargs, place), argument(meta_args, meta_kwargs, place))
        works = self._works(func, meta_args, meta_kwargs, output)
        returned = _as_written(
            output, [None if place is None else argument(args, kwargs, place) for place in told.returned]
        )
        found = _Found(returned, works, made_by(args, kwargs, returned))
        self._book(func._schema.name, works, found.made)
        if key is not None and all(tensor.is_meta for tensor in tensors(written, {})) and "out" not in kwargs:
            self._remember(func, key, args, kwargs, found)
        return returned

    def _reshape(self, func: Any, args: Args, kwargs: Kwargs) -> Any:
        """Operators that give a tensor another shape, or another tensor's storage, in place."""
        changed, *others = args
        if not changed.is_meta:
            self._journal.before_reshape(changed)
            return func(*args, **kwargs)
        return func(changed, *replaced(tuple(others), {}, as_meta)[0], **replaced((), kwargs, as_meta)[1])

    def _grow(self, written: Any, stand_in: Any) -> None:
        """`out=` of the wrong size takes the size of the result."""
        if isinstance(written, Tensor) and written.shape != stand_in.shape:
            if not written.is_meta:
                self._journal.before_reshape(written)
                self._journal.before_write(written)
            written.resize_(stand_in.shape)  # of what is never read, a CPU tensor takes no memory

    def _higher_order(self, func: Any, args: Args, kwargs: Kwargs) -> Any:
        output = internals.run_dense_kernel(func, self, *args, **kwargs)
        if output is NotImplemented:
            output = func(*args, **kwargs)
            self._book(func.name(), (Work(func.name(), None).interned(),))
        return output

    # -- kernels ------------------------------------------------------------------------------------------------

    def _take_apart(self, func: Any, args: Args, kwargs: Kwargs) -> _Found:
        """Run the operators that define a composite one, in this mode, and sum up what they did."""
        before, self._depends_on_values = self._depends_on_values, constants.reads_values(func)
        floats_before, self._floats_abstract = self._floats_abstract, True
        self._parts.append(_Parts([], Account()))
        try:
            with self:
                output = internals.run_composite_kernel(func, *args, **kwargs)
        finally:
            self._floats_abstract = floats_before
            parts = self._parts.pop()
            depends, self._depends_on_values = self._depends_on_values, self._depends_on_values or before
        made = made_by(args, kwargs, output)
        # What it returns may be there before or after the peak inside: beside it, only the rest is known to be.
        transient = max(0, parts.memory.peak().bytes - storages_bytes(made))
        works = tuple([work.interned() for work in _folded(func, parts.works)])
        return _Found(output, works, made, transient, depends)

    def _kernel(self, func: Any, args: Args, kwargs: Kwargs) -> Any:
        """Run the meta kernel; where there is none, learn the shapes from zeros."""
        dynamo_was_there = _DYNAMO in sys.modules
        try:
            return func(*args, **kwargs)
        except NotImplementedError:
            learned = constants.on_zeros(func, args, kwargs)
            if learned is NotImplemented:
                raise
            return learned
        finally:
            # The first kernel written in Python imports Dynamo, and an exception that is handled meanwhile leaves a
            # cycle of all frames down to the model's, with every tensor in them.
            if not dynamo_was_there and _DYNAMO in sys.modules:
                gc.collect()

    # -- figures ------------------------------------------------------------------------------------------------

    def _works(self, func: Any, args: Args, kwargs: Kwargs, output: Any) -> tuple[Work, ...]:
        work = work_of(func, args, kwargs, output, effects_of(func, args, kwargs, output).traffic)
        return () if work is None else (work,)

    def _found(self, func: Any, args: Args, kwargs: Kwargs, output: Any, *, depends: bool) -> _Found:
        effects = effects_of(func, args, kwargs, output)
        work = work_of(func, args, kwargs, output, effects.traffic)
        return _Found(output, () if work is None else (work,), effects.made, depends=depends)

    def _book(self, operator: str, works: tuple[Work, ...], made: tuple[Tensor, ...] = (), transient: int = 0) -> None:
        self._did = bool(works or made or transient)
        if self._parts:
            parts = self._parts[-1]
            parts.works.extend(works)
            parts.memory.made(made, NOWHERE, transient=transient)
        elif self._did:
            self._tracker.book_running(works, made, operator, transient)

    def _check(self, func: Any, args: Args, kwargs: Kwargs, output: Any, works: tuple[Work, ...]) -> None:
        check_output(func, args, kwargs, output)
        if not internals.has_composite_kernel(func):
            check_cost(func, self._works(func, args, kwargs, output), works)


def _answer(func: Any, make: Make, found: _Found, writes: tuple[tuple[int, str], ...] = (), *, reads: bool) -> Answer:
    size = _own_bytes(found)
    sizes = () if size is None else (size,)
    did = Did(func._schema.name, found.works, sizes, found.transient)
    does_anything = found.works or found.made or found.transient
    return Answer(
        func, make, did if does_anything else None, size is not None, picker(found.output, found.made), writes, reads
    )


def _own_bytes(found: _Found) -> int | None:
    """The bytes of an output that is one tensor and new; else None."""
    output = found.output
    if len(found.made) != 1 or found.made[0] is not output or output.layout is not torch.strided or output.is_nested:
        return None
    if not output.numel():
        return 0
    span = sum((size - 1) * stride for size, stride in zip(output.shape, output.stride(), strict=True))
    return int((span + 1) * output.dtype.itemsize) if output.is_meta else int(output.untyped_storage().nbytes())


_recall = memo.get
_COPY = torch.ops.aten.clone.default
_ATTENTION = torch.ops.aten.scaled_dot_product_attention.default
_RESIZE = frozenset({torch.ops.aten.resize_.default, torch.ops.aten.resize_as_.default})
_DETACH = torch.ops.aten.detach_.default
_EQUAL = torch.ops.aten.equal.default
_DYNAMO = "torch._dynamo"
# `tolist` and `numpy(force=True)` ask for them, also where nothing is pending; nobody else does on real numbers.
_BEFORE_READING = frozenset({torch.ops.aten.resolve_conj.default, torch.ops.aten.resolve_neg.default})


_MAKES_SPARSE = frozenset(
    overload
    for name in ("_to_sparse", "_to_sparse_csr", "_to_sparse_csc", "_to_sparse_bsr", "_to_sparse_bsc")
    if (packet := getattr(torch.ops.aten, name, None)) is not None
    for overload in (getattr(packet, overload) for overload in packet.overloads())
)


def _is_sparse(tensor: Tensor) -> bool:
    return tensor.layout is not torch.strided and not tensor.is_nested and tensor.layout is not torch._mkldnn  # type: ignore[attr-defined]


def _abstract_float(tensor: Tensor) -> Tensor:
    """C++ kernels of composites compare devices: real floats would be strangers among abstract ones."""
    return as_meta(tensor) if tensor.is_floating_point() or tensor.is_complex() else tensor


def _without_generator(kwargs: Kwargs) -> Kwargs:
    return {name: None if isinstance(value, torch.Generator) else value for name, value in kwargs.items()}


def _is_real(output: Any) -> bool:
    return not any(tensor.is_meta for tensor in tensors((output,), {}))


def _as_written(output: Any, written: list[Any]) -> Any:
    """The output with the arguments that were written in the places where they are returned."""
    if not isinstance(output, (tuple, list)):
        return written[0] if written and written[0] is not None else output
    if len(written) != len(output):
        return output
    return type(output)(new if old is None else old for new, old in zip(output, written, strict=True))


def _folded(func: Any, works: list[Work]) -> tuple[Work, ...]:
    """The works of a composite as one, and those of unknown cost."""
    unknown = tuple(work for work in works if work.cost is None)
    known = [work for work in works if work.cost is not None]
    if not known:
        return unknown
    cost = total(work.cost for work in known if work.cost is not None)
    return Work(func._schema.name, cost, total_traffic(work.traffic for work in known)), *unknown
