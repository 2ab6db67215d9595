"""The private names of torch that this package leans on, all of them, each with what replaces it where it is missing.

Probed once, on import. Nothing else in the package may reach for an underscored name of torch.
"""

from __future__ import annotations

import weakref
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.modules.module as nn_module
import torch.utils._python_dispatch as python_dispatch
from torch import overrides
from torch._C import DispatchKey, DispatchKeySet
from torch._ops import HigherOrderOperator, OpOverload
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

__all__ = [
    "FUSED_ATTENTION_SHARES_HEADS",
    "DispatchKey",
    "FakeTensor",
    "FunctionalTensor",
    "GlobalHooks",
    "HigherOrderOperator",
    "OpOverload",
    "UninitializedTensorMixin",
    "admit_higher_order_operators",
    "autograd_sequence_number",
    "below_autograd",
    "beneath_other_modes",
    "constants_of",
    "current_autograd_node",
    "entry_of",
    "has_composite_kernel",
    "has_function_modes",
    "has_other_forward_hooks",
    "is_propagating_shards",
    "is_tracing",
    "kinds_of_nodes",
    "make_parameter",
    "run_composite_kernel",
    "run_dense_kernel",
    "tracing_resumed",
    "unregister",
    "without_dispatch_modes",
    "without_function_modes",
]

current_autograd_node: Callable[[], Any] = torch._C._current_autograd_node
"""The node of the graph that this thread's autograd engine is executing, or None."""

autograd_sequence_number: Callable[[], int] = torch._C._autograd._get_sequence_nr
"""The number that the next node created in this thread will get. `torch.fx` maps backward to forward by it, too."""


def is_tracing(
    _state: Callable[[], Any] = torch._C._get_tracing_state,
    _mode: Callable[[Any], Any] = torch._C._get_dispatch_mode,
    _functional: Any = torch._C._TorchDispatchModeKey.FUNCTIONAL,
    _proxy: Any = torch._C._TorchDispatchModeKey.PROXY,
) -> bool:
    """Whether a graph is being made of what runs: by `torch.jit.trace`, outside of operators that it has recorded, by
    `make_fx` or by AOTAutograd.
    """
    return _state() is not None or _mode(_functional) is not None or _mode(_proxy) is not None


def tracing_resumed() -> AbstractContextManager[Any]:
    """A block inside a dispatch mode in which `torch.jit.trace`, if it is at work, records again.

    It leaves some operators to the ones that they are made of: not convolution, `_convolution` stands in the graph.
    A mode runs what it gets with the tracer off, and the output would become a constant.
    """
    if not torch._C._get_tracing_state():
        return nullcontext()
    tracer = torch._C._dispatch_key_parse("Tracer")
    included, excluded = torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()
    return torch._C._ForceDispatchKeyGuard(included.add(tracer), excluded.remove(tracer))


@contextmanager
def without_dispatch_modes() -> Iterator[None]:
    """A block in which operators go straight to their kernels, whatever modes this thread is in."""
    modes = _pop_modes()
    try:
        yield
    finally:
        _push_modes(modes)


@contextmanager
def beneath_other_modes(mode: TorchDispatchMode) -> Iterator[None]:
    """A block in `mode`, for code of others, who may enter and leave modes of their own as they like.

    One of theirs that was entered before is left within, or one that is entered within stays: by the order of their
    blocks each would take `mode` off the stack in place of itself.
    """
    before = _pop_modes()
    try:
        mode.__enter__()
    finally:
        _push_modes(before)
    try:
        yield
    finally:
        others = [other for other in _pop_modes() if other is not mode]
        python_dispatch._push_mode(mode)
        mode.__exit__(None, None, None)
        _push_modes(others)
        if others != before:
            _set_flags(others)


def _pop_modes() -> list[TorchDispatchMode]:
    """The dispatch modes that this thread was in, the innermost last."""
    return [python_dispatch._pop_mode() for _ in range(torch._C._len_torch_dispatch_stack())][::-1]


def _push_modes(modes: Sequence[TorchDispatchMode]) -> None:
    for mode in modes:
        python_dispatch._push_mode(mode)


_FLAGS: tuple[tuple[str, str, Callable[[TorchDispatchMode], bool]], ...] = (
    ("_is_in_torch_dispatch_mode", "old_dispatch_mode_flags", lambda _: True),
    (
        "_is_in_non_infra_torch_dispatch_mode",
        "old_non_infra_dispatch_mode_flags",
        lambda mode: not mode.is_infra_mode(),
    ),
    (
        "_is_in_any_mode_without_ignore_compile_internals",
        "old_without_ignore_compile_internals_dispatch_mode_flags",
        lambda mode: not mode.ignore_compile_internals(),
    ),
)
"""What torch knows of the modes that it is in, where they keep what was so before them, and of which ones it holds."""


def _set_flags(modes: Sequence[TorchDispatchMode]) -> None:
    """Have torch know that it is in these modes and no others, and the modes what to go back to."""
    for name, kept, holds in _FLAGS:
        if not hasattr(python_dispatch, name):
            continue
        is_so = False
        for mode in modes:
            if known := getattr(mode, kept, None):
                known[-1] = is_so
            is_so = is_so or holds(mode)
        setattr(python_dispatch, name, is_so)
    tell_dynamo = getattr(python_dispatch, "set_is_in_mode_without_ignore_compile_internals", None)
    if tell_dynamo is not None:
        tell_dynamo(python_dispatch.is_in_any_mode_without_ignore_compile_internals())


@contextmanager
def without_function_modes() -> Iterator[None]:
    """A block whose calls of torch no `TorchFunctionMode` sees, a default device included."""
    modes = [overrides._pop_mode() for _ in range(torch._C._len_torch_function_stack())]
    try:
        yield
    finally:
        for mode in reversed(modes):
            overrides._push_mode(mode)


has_function_modes: Callable[[], bool] = torch._C._is_torch_function_mode_enabled
"""Whether calls of torch are seen by a `TorchFunctionMode` first."""


def unwrapped(
    tensor: torch.Tensor,
    _is_wrapped: Callable[[torch.Tensor], bool] = torch._C._functorch.is_functorch_wrapped_tensor,
    _unwrap: Callable[[torch.Tensor], torch.Tensor] = torch._C._functorch.get_unwrapped,
) -> torch.Tensor:
    """The tensor inside of what the transforms of `torch.func` wrap around it, which has no storage to be seen."""
    while _is_wrapped(tensor):
        tensor = _unwrap(tensor)
    return tensor


def unset_default_device() -> None:
    """As if nobody had ever called `torch.set_default_device`.

    That with None leaves an entry behind, over which `torch.get_default_device` of torch 2.6 stumbles.
    """
    torch.set_default_device(None)
    context = getattr(torch, "_GLOBAL_DEVICE_CONTEXT", None)
    if getattr(context, "device_context", context) is None:
        del context.device_context  # type: ignore[union-attr]


def is_propagating_shards(frame: FrameType | None) -> bool:
    """Whether DTensor asks what an operator would return, on fake tensors: it does that once, and keeps the answer."""
    while frame is not None:
        if frame.f_code.co_filename.endswith("_sharding_prop.py"):
            return True
        frame = frame.f_back
    return False


def has_other_forward_hooks(_hooks: dict[int, Any] = nn_module._global_forward_hooks) -> bool:
    """Whether forward hooks for all modules are registered beside the one of `GlobalHooks`."""
    return len(_hooks) > 1


class GlobalHooks:
    """A forward pre-hook and a forward hook for all modules, that come and go under the same numbers.

    Dynamo guards on the hooks and their numbers: hooks registered afresh would make it compile everything again.
    And of a removed hook, torch leaves the `with_kwargs` flag behind, which it takes for a hook from then on.

    Args:
        enter: called with `(module, args)`.
        leave: called with `(module, args, kwargs, output)`, also when the module raised.
    """

    def __init__(self, enter: Callable[..., None], leave: Callable[..., None]) -> None:
        self._enter = enter
        self._leave = leave
        self._numbers: tuple[int, int, int] | None = None
        self._installed = False

    def install(self) -> None:
        """Put the hooks in."""
        self._installed = True
        if self._numbers is None:
            pre = nn_module.register_module_forward_pre_hook(self._enter)
            post = nn_module.register_module_forward_hook(self._leave, with_kwargs=True, always_call=True)
            made = nn_module.register_module_module_registration_hook(self._make_way)
            self._numbers = pre.id, post.id, made.id
            return
        self._add()
        nn_module._global_module_registration_hooks[self._numbers[2]] = self._make_way

    def remove(self) -> None:
        """Take the hooks out, and every trace of them."""
        self._installed = False
        if self._numbers is not None:
            self._take_out()
            nn_module._global_module_registration_hooks.pop(self._numbers[2], None)

    def _make_way(self, module: torch.nn.Module, name: str, part: torch.nn.Module | None) -> None:  # noqa: ARG002
        """Be gone while `torch.export` traces strictly: torch 2.13 cannot do that where there are global hooks.

        It wraps the module first, traces it, which calls nothing, and drops the wrapper.
        """
        if type(module).__module__ == "torch._dynamo.functional_export":
            self._take_out()
            weakref.finalize(module, self._come_back)

    def _come_back(self) -> None:
        if self._installed:
            self._add()

    def _add(self) -> None:
        assert self._numbers is not None
        before, after, _ = self._numbers
        nn_module._global_forward_pre_hooks[before] = self._enter
        nn_module._global_forward_hooks[after] = self._leave
        nn_module._global_forward_hooks_with_kwargs[after] = True
        nn_module._global_forward_hooks_always_called[after] = True

    def _take_out(self) -> None:
        assert self._numbers is not None
        before, after, _ = self._numbers
        nn_module._global_forward_pre_hooks.pop(before, None)
        nn_module._global_forward_hooks.pop(after, None)
        nn_module._global_forward_hooks_with_kwargs.pop(after, None)
        nn_module._global_forward_hooks_always_called.pop(after, None)


def entry_of(operator: OpOverload) -> Callable[..., Any]:
    """What runs the operator: `OpOverload.__call__` does nothing but call it, and takes half as long again."""
    entry: Callable[..., Any] = getattr(operator, "_op", operator) if type(operator) is OpOverload else operator
    return entry


def has_composite_kernel(operator: OpOverload) -> bool:
    """Whether the operator is defined by other operators (CompositeImplicitAutograd)."""
    if operator.namespace == "prim":  # attributes such as `device`: the dispatcher knows no such operator
        return False
    return torch._C._dispatch_has_kernel_for_dispatch_key(operator.name(), DispatchKey.CompositeImplicitAutograd)


def run_composite_kernel(operator: OpOverload, *args: Any, **kwargs: Any) -> Any:
    """Run the operators that define `operator`.

    Those that execute, not the Python decompositions that `OpOverload.decompose` prefers.
    """
    return operator._op_dk(DispatchKey.CompositeImplicitAutograd, *args, **kwargs)


def run_dense_kernel(
    operator: HigherOrderOperator, mode: AbstractContextManager[Any], *args: Any, **kwargs: Any
) -> Any:
    """Run the eager implementation of a higher-order operator inside `mode`; NotImplemented where it has none."""
    kernel = operator.py_kernels.get(DispatchKey.CompositeExplicitAutograd)
    if kernel is None:
        return NotImplemented
    try:
        with mode:
            return kernel(*args, **kwargs)
    except AssertionError as error:
        # Control flow refuses modes before it does anything; its branches do not.
        if "Mode should never be enabled" not in str(error):
            raise
    return kernel(*(_inside(mode, value) for value in args), **kwargs)


def _inside(mode: AbstractContextManager[Any], value: Any) -> Any:
    if not callable(value) or isinstance(value, torch.Tensor):
        return value

    def branch(*args: Any, **kwargs: Any) -> Any:
        with mode:
            return value(*args, **kwargs)

    return branch


def below_autograd() -> AbstractContextManager[Any]:
    """A block in which operators skip autograd and go straight to the mode: composite operators arrive whole.

    View and version tracking, done by the key beside autograd, is skipped, too. Where torch lacks the guard, nothing
    is: the mode then sees the operators one level below, with the same figures.
    """
    return nullcontext() if _BELOW_AUTOGRAD is None else torch._C._ExcludeDispatchKeyGuard(_BELOW_AUTOGRAD)


def _keys_of_autograd() -> DispatchKeySet | None:
    if not hasattr(torch._C, "_ExcludeDispatchKeyGuard"):
        return None
    keys = DispatchKeySet(DispatchKey.AutogradFunctionality)
    for name in ("AutogradOther", "AutogradNestedTensor", "ADInplaceOrView"):
        keys = keys.add(getattr(DispatchKey, name))
    return keys


_BELOW_AUTOGRAD = _keys_of_autograd()


def _takes_fewer_heads() -> bool:
    head = {"dtype": torch.float32, "device": "cpu"}
    query, key = torch.empty(1, 2, 1, 2, **head), torch.empty(1, 1, 1, 2, **head)  # type: ignore[call-overload]
    return bool(torch.ops.aten._fused_sdp_choice(query, key, key, enable_gqa=True))


FUSED_ATTENTION_SHARES_HEADS = _takes_fewer_heads()
"""Whether several query heads may share a key head in the fused attention of the CPU: torch 2.6 unfuses that."""


def admit_higher_order_operators(mode: type[TorchDispatchMode]) -> None:
    """Let a class of modes get higher-order operators: before torch knew how to ask for them, each had to be told."""
    if not _ASKED_FOR:
        for operator in torch._ops._higher_order_ops.values():
            if mode not in operator.python_key_table:
                operator.py_impl(mode)(partial(_pass_on, operator))


def _pass_on(operator: HigherOrderOperator, mode: TorchDispatchMode, *args: Any, **kwargs: Any) -> Any:
    return mode.__torch_dispatch__(operator, (), args, kwargs)


_ASKED_FOR = hasattr(TorchDispatchMode, "supports_higher_order_operators")


def kinds_of_nodes(script: torch.jit.ScriptModule) -> list[str]:
    """The kinds of all nodes in the graph of a scripted module, such as `aten::linear`."""
    return [node.kind() for node in _nodes(script)]


def constants_of(script: torch.jit.ScriptModule) -> list[torch.Tensor]:
    """The tensors that the graph of a scripted module uses, as a frozen one does its weights."""
    return [
        node.t("value")
        for node in _nodes(script)
        if node.kind() in ("prim::Constant", "prim::ConstantMKLDNNTensor")
        and node.hasAttribute("value")
        and node.kindOf("value") == "t"
        and node.output().uses()
    ]


def _nodes(script: torch.jit.ScriptModule) -> Iterator[Any]:
    if not hasattr(script, "forward"):
        return
    graph = script.inlined_graph  # made for us: gone with this name, and its nodes with it
    pending: list[Any] = [graph]
    while pending:
        for node in pending.pop().nodes():
            yield node
            pending += node.blocks()


def make_parameter(kind: type[torch.nn.Parameter], data: torch.Tensor, requires_grad: bool) -> torch.nn.Parameter:
    """What `kind(data, requires_grad)` makes, without its checks and whatever a subclass adds."""
    return torch.Tensor._make_subclass(kind, data, requires_grad)


def unregister(library: torch.library.Library) -> None:
    """Take the kernels of a library out again now, not when it is collected."""
    library._destroy()
