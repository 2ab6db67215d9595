"""Lives with `torch.compile`: what it hides is made to run eagerly, and what it complains about is ours to know."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from pytest_modelbudget.profiling import internals
from pytest_modelbudget.profiling.hooks import unobserved

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from pytest_modelbudget.profiling.parameters import Parts

_DYNAMO = "torch._dynamo"


@contextmanager
def eager() -> Iterator[None]:
    """Ignore `torch.compile` in the block, and leave no trace of that behind.

    Setting the stance imports Dynamo, which takes over a second; most tests never need it. So unless it is loaded
    already, the stance is set when the block itself imports it, as the first use of `torch.compile` does.
    """
    if dynamo_is_loaded():
        with torch.compiler.set_stance("force_eager"):
            yield
        return
    finder = _StanceSetter()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        finder.close()


def dynamo_is_loaded() -> bool:
    """Whether anything may have been compiled in this process."""
    return _DYNAMO in sys.modules


@contextmanager
def unwarned() -> Iterator[None]:
    """Silence the one warning that global hooks make compiled modules give, which may be an error in the user's suite.

    It says that hooks run for the compiled module and for the module in it. The tracker sees through that.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Using `torch\.compile\(module\)` when there are global hooks", UserWarning)
        yield


_BINARIES = ("torch.export.pt2_archive._package", "torch._inductor.package.package")


def machine_code_among(parts: Parts) -> dict[str, tuple[str, ...]]:
    """By the path of a module, what runs past the dispatcher when it is called, so that nothing can be seen of it.

    That is machine code of AOTInductor, and what TorchScript has made operators of oneDNN of
    (`torch.jit.optimize_for_inference`).
    """
    found: dict[str, tuple[str, ...]] = {}
    may_be_binaries = any(name in sys.modules for name in _BINARIES)
    scripts: set[int] = set()  # and what is in them
    for path, part in parts:
        names: list[str] = []
        if may_be_binaries and any(type(value).__name__ == "AOTICompiledModel" for value in vars(part).values()):
            names.append("AOTInductor's machine code")
        if isinstance(part, torch.jit.ScriptModule) and id(part) not in scripts:
            scripts.update(map(id, part.modules()))
            names += [kind for kind in internals.kinds_of_nodes(part) if kind.lower().startswith("prim::mkldnn")]
        if names:
            found[path] = tuple(names)
    return found


def only_optimises(module: torch.nn.Module | None) -> bool:
    """Whether tensors that are compared while a module runs are constants of a script.

    TorchScript compares them as it optimises the graph, in the first calls: that is no work of a script which asks for
    no comparison itself.
    """
    if not isinstance(module, torch.jit.ScriptModule):
        return False
    known = _optimises.get(module)
    if known is None:
        known = _optimises[module] = "aten::equal" not in internals.kinds_of_nodes(module)
    return known


_optimises: WeakKeyDictionary[torch.jit.ScriptModule, bool] = WeakKeyDictionary()


class _StanceSetter(MetaPathFinder, Loader):
    """Waits for the import of Dynamo, then sets its stance."""

    def __init__(self) -> None:
        self._loader: Any = None
        self._stance: Any = None

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG002
        if name != _DYNAMO or self._loader is not None:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        # From here on the module is as if this finder had never been.
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        with unobserved():  # it may compute while it is imported, which is no work of the model
            self._loader.exec_module(module)
        self._stance = torch.compiler.set_stance("force_eager")

    def close(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        if self._stance is not None:
            torch.compiler.set_stance("default")
