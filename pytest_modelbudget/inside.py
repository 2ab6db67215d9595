"""Limits inside a test: what the fixture `modelbudget` gives."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from pytest_modelbudget.budget import Source
from pytest_modelbudget.limits import KEYWORDS, limits_of, near
from pytest_modelbudget.metrics import METRICS
from pytest_modelbudget.metrics import Source as Origin
from pytest_modelbudget.settings import settings_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    import pytest
    from torch import nn

    from pytest_modelbudget.budget import Limit
    from pytest_modelbudget.calling import Calls
    from pytest_modelbudget.profiling.profile import Profile
    from pytest_modelbudget.settings import Settings
    from pytest_modelbudget.verdict import Verdict


class ModelBudget:
    """Profiles and judges models in the middle of a test.

    Limits are named by metric, with the quantities and keywords of the marks: `params="25M"`, `flops="8G"`,
    `module="layer4"`, `level="warn"`.
    """

    def __init__(self, item: pytest.Item) -> None:
        self._item = item

    @cached_property
    def _settings(self) -> Settings:
        return settings_for(self._item)

    def profile(
        self, model: nn.Module, args: Any = (), kwargs: dict[str, Any] | None = None, **options: Any
    ) -> Profile:
        """As `pytest_modelbudget.profile`, with the configured device, FLOPs per MAC and kernel of attention."""
        __tracebackhide__ = True
        from pytest_modelbudget.profiling.run import profile

        configured = {name: getattr(self._settings, name) for name in ("device", "flops_per_mac", "attention")}
        return profile(model, args, kwargs, **{**configured, **options})

    def check(self, model: nn.Module, args: Any = (), kwargs: dict[str, Any] | None = None, **limits: Any) -> None:
        """Profile one call of a model and fail the test at once if a limit is exceeded.

        Args:
            model: the model; it is called by the plugin, on the configured device, if a limit needs a call.
            args: positional arguments; a bare tensor is one argument.
            kwargs: named arguments.
            limits: `params="25M"`, `flops="8G"`, …, and keywords of the marks. `inputs=` stands for `args` and
                `kwargs`: `inputs=(1, 3, 224, 224)`.

        Raises:
            BudgetExceeded: a limit is exceeded, or an operator of unknown cost ran while compute was limited.
            TypeError: `model` is no module, or a keyword is unknown.
            ValueError: a limit is malformed.
        """
        __tracebackhide__ = True
        parsed = self._limits("modelbudget.check", limits, sys._getframe(1))
        if not self._settings.active or not parsed:
            return
        from torch import nn

        from pytest_modelbudget.gate import judge_or_explain, settle
        from pytest_modelbudget.profiling.mistakes import check_arguments

        if not isinstance(model, nn.Module):
            raise TypeError(
                f"modelbudget.check() takes an nn.Module, not {type(model).__name__}: pass the model itself"
            )
        check_arguments("modelbudget.check", kwargs)
        if not isinstance(args, (tuple, list)):
            args = (args,)

        verdicts: list[Verdict] = []
        for limit in parsed:
            calls = partial(self._calls, model, tuple(args), kwargs or {}, limit)
            verdicts += judge_or_explain(limit, type(model).__name__, calls, self._settings)
        settle(self._item, verdicts)

    def _calls(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], limit: Limit) -> Calls:
        from pytest_modelbudget import calling

        if not limit.metric.needs_call:
            return calling.state(model)
        if limit.inputs is not None and not args and not kwargs:
            inputs = limit.inputs
            if isinstance(inputs, str):
                raise calling.SubjectError(
                    f'inputs="{inputs}": inside a test, pass the value of the fixture itself', invalid=True
                )
            args, kwargs = calling.arguments_of(model, inputs)
        how = calling.How(
            device=limit.device or self._settings.device,
            flops_per_mac=self._settings.flops_per_mac,
            backward=limit.metric.backward,
            root=self._item.config.rootpath,
            attention=self._settings.attention,
            instead="call the model yourself, in a block of modelbudget.limit(...)",
            ways_out=("give it other arguments",) if args or kwargs else ("say what to call it with, args=(x,)",),
        )
        if limit.metric.source is Origin.CLOCK:
            how = how._replace(latency=True, device="cpu" if how.device == "auto" else how.device)
        return calling.run(model, args, kwargs, how)

    def limit(self, **limits: Any) -> contextlib.AbstractContextManager[None]:
        """Judge the model calls in a `with` block: `with modelbudget.limit(flops="8G"): …`, in loops and subtests.

        Raises:
            BudgetExceeded: when the block ends, as `check`; also when nothing was measured in it. Where the block
                itself raises, what was measured until then is judged.
            TypeError: a keyword is unknown.
            ValueError: a limit is malformed.
        """
        return _Block(self, limits)

    def _limits(self, function: str, written: dict[str, Any], frame: FrameType) -> list[Limit]:
        """The limits that the keywords set; an empty list where each is None, which lifts it."""
        __tracebackhide__ = True
        keywords = dict(written)
        quantities = {name: keywords.pop(name) for name in written if name in METRICS}
        for name in keywords:
            if name not in KEYWORDS:
                meant = near(name, [*METRICS, *KEYWORDS])
                raise TypeError(
                    f"{function}() got an unexpected keyword argument {name!r}{meant}; named arguments of the model go "
                    "into kwargs={...}"
                )
        if not quantities:
            raise ValueError(f'{function}(): no limit; write e.g. {function.rpartition(".")[2]}(params="26M")')
        path = os.path.relpath(frame.f_code.co_filename, self._item.config.rootpath)
        location = f"{path.replace(os.sep, '/')}:{frame.f_lineno}"
        limits: list[Limit] = []
        for name, quantity in quantities.items():
            shown = f'"{quantity}"' if isinstance(quantity, str) else repr(quantity)
            source = Source(text=f"{function}({name}={shown})", location=location, direct=True)
            limits += limits_of({name: quantity}, self._settings, source, **keywords)
        return [limit for limit in limits if limit.value is not None]


class _Block(contextlib.AbstractContextManager[None]):
    """A block whose calls are judged. No generator, whose own machinery would be where a debugger stops."""

    def __init__(self, within: ModelBudget, written: dict[str, Any]) -> None:
        self._within = within
        self._written = written
        self._judge: Callable[..., None] | None = None
        self._observed = contextlib.ExitStack()

    def __enter__(self) -> None:
        __tracebackhide__ = True
        frame = _user_frame()
        item, settings = self._within._item, self._within._settings
        limits = self._within._limits("modelbudget.limit", self._written, frame)
        if not settings.active or not limits:
            return
        from pytest_modelbudget.gate import judge_test, observation_for

        observation = observation_for(limits, settings)
        self._judge = partial(judge_test, item, observation, limits, settings, runs_models=False)
        self._observed.enter_context(observation.under(frame))

    def __exit__(self, *raised: Any) -> None:
        __tracebackhide__ = True
        self._observed.__exit__(*raised)
        # What is no Exception skips, fails or stops the test.
        if self._judge is not None and (raised[0] is None or issubclass(raised[0], Exception)):
            self._judge(raised=raised[0] is not None)


def _user_frame() -> FrameType:
    """The frame that enters the `with` block, below this file and those of `contextlib`."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename in (__file__, contextlib.__file__):
        frame = frame.f_back
    return frame
