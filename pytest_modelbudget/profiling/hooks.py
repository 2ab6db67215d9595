"""Two global hooks that tell of every module call, and who is told.

Hooks on single modules would switch off PyTorch's fused paths, and a patched `__call__` would outlive a crash.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from torch.compiler import is_compiling

from pytest_modelbudget.profiling import internals
from pytest_modelbudget.profiling.internals import has_function_modes, without_function_modes

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch


class Follower(Protocol):
    """Who follows module calls; none while it is `paused`."""

    paused: bool

    def enter(self, module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        """A module is being called, by torch's own function two frames above."""

    def leave(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """A module call has ended, normally or not; `output` is None when it raised."""


_trackers: list[Follower] = []
"""Those that the hooks below serve, the outermost first."""
at_work: list[Follower] = []
"""Those and the ones that have hooks of their own."""


# Dynamo traces hooks, too: they return first.
def _enter(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
    if is_compiling():
        return
    # What trackers ask of torch is nothing that a test's own mode should see.
    with without_function_modes() if has_function_modes() else _nothing:
        for tracker in _trackers:
            tracker.enter(module, args)


def _leave(module: torch.nn.Module, args: tuple[Any, ...], kwargs_or_output: Any, *rest: Any) -> None:
    if is_compiling():
        return
    # Torch forgets the kwargs when the module has raised.
    kwargs, output = (kwargs_or_output, rest[0]) if rest else ({}, kwargs_or_output)
    with without_function_modes() if has_function_modes() else _nothing:
        for tracker in _trackers:
            tracker.leave(module, args, kwargs, output)


_nothing = nullcontext()
_hooks = internals.GlobalHooks(_enter, _leave)


@contextmanager
def serving(tracker: Follower) -> Iterator[None]:
    """Tell a tracker of the module calls in the block."""
    with ExitStack() as stack:
        if not _trackers:
            _hooks.install()
            stack.callback(_hooks.remove)
        _trackers.append(tracker)
        stack.callback(_trackers.remove, tracker)
        yield


@contextmanager
def unobserved() -> Iterator[None]:
    """What runs in the block is the profiler's own doing: neither trackers nor dispatch modes of others see it."""
    paused = [tracker for tracker in at_work if not tracker.paused]
    for tracker in paused:
        tracker.paused = True
    try:
        with internals.without_dispatch_modes():
            yield
    finally:
        for tracker in paused:
            tracker.paused = False


@contextmanager
def out_of_the_way() -> Iterator[None]:
    """As `unobserved`, for the clock: there is nothing in the block that would take time."""
    with unobserved():
        if _trackers:
            _hooks.remove()
        try:
            yield
        finally:
            if _trackers:
                _hooks.install()
