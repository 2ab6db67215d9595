"""What to do about a limit that could not be held against anything. Pure.

The reason says what was wrong; the step that follows from it names the place where something is to be written.
"""

from __future__ import annotations

STEPS: tuple[tuple[str, str], ...] = (
    # -- which model
    (
        "is no fixture, parameter or attribute of this test",
        "write a fixture that the test asks for, a parameter or an attribute into model= at {where}",
    ),
    ("holds several: write one of", "write one of them into model= at {where}"),
    ("is no nn.Module but", "write the name of a model into model= at {where}"),
    (") has no ", "correct model= at {where}"),
    ("the hook pytest_modelbudget_model returned", "correct the hook in the conftest.py that has it"),
    ("the test calls none of its", "call one of them in the test, or write model= at {where}"),
    ("the test neither calls a model nor", "call the model in the test, write model= or remove the limit at {where}"),
    (
        "has neither parameters nor contractions",
        "call the model in the test, write model= or remove the limit at {where}",
    ),
    ("ran outside every nn.Module", "let a module do it, or remove the limit at {where}"),
    ("called in another thread", "call the model in the thread of the test, or remove the limit at {where}"),
    ("is gone after the test", "make the model in a fixture"),
    # -- which part of it
    ("submodules of", "write one of its submodules, or a pattern of them, into module= at {where}"),
    ("does not match the only submodule", "write that into module= at {where}, or leave module= out"),
    ("has no submodules", "leave module= out at {where}"),
    # -- what it is called with
    (
        "which is no fixture that this test can use",
        "define that fixture in a conftest.py that the test sees, or write another name",
    ),
    ("inputs= could not make the inputs", "correct the function that stands in inputs= at {where}"),
    ("say with inputs= what to call", "call the model in the test, or add inputs= to the limit at {where}"),
    ("the batch was empty", "give the model at least one sample"),
    ('per="sample" needs a tensor', 'give the model a tensor with a batch, or leave per="sample" out at {where}'),
    ("has no shape yet", "call the model once in the fixture that makes it"),
    # -- where it runs
    ("is not available here", "run the test where that device is, or write another device= at {where}"),
    ("its weights are on meta, too", "build the model on a real device, in its fixture"),
    ("looks at values of a tensor", 'write device="cpu" at {where}'),
    ("are on meta, so", "build the model on a real device, or leave device= out at {where}"),
    ("the call cannot be repeated on another device", 'write device="auto" at {where}'),
    ("cannot be repeated on", 'write device="auto" at {where}'),
    ("was not called in the block", "call the model in the block at {where}"),
    ("were called outside a call of the model", "call the model itself, or write its part into model= at {where}"),
    (
        "it wants integers where it got",
        'write the dtype behind the shape, "1,128:int64", into inputs= at {where}',
    ),
    ("is a shape, and no tensor", "pass tensors at {where}, or the shape as inputs="),
    ("torch.library.register_fake", "register it where the operator is defined, or in conftest.py"),
    ("cannot be copied", "call the model in the test, which needs no copy, or remove the limit at {where}"),
    ("cannot be run on", "call the model in the test, or correct inputs= or device= at {where}"),
    # -- what is counted
    ("has no figure for it", "limit another metric, or measure where it has a figure with device= at {where}"),
    ("the model was not called", "call the model in the test, or remove the limit at {where}"),
    (
        "no matrix product, convolution or attention ran",
        "let the test run the model that the limit at {where} is for, or remove it",
    ),
    ("the baseline counts", "set that option, or remove the entry from the baseline and run --modelbudget-update=new"),
    ("the baseline cannot be read", "restore the file, or remove it and record it anew: --modelbudget-update=new"),
    ("the metric ", "correct the function of the metric, which the hook pytest_modelbudget_metrics gives"),
    (
        "its mark was added while the test ran",
        "decorate the test, or limit the calls in it: with modelbudget.limit(...)",
    ),
    ('per="test" would sum over', 'leave per="test" out at {where}'),
)
"""What a reason says -> what to do, the first that fits."""


def next_step(reason: str, location: str, *, invalid: bool) -> str:
    """The action that fits a reason.

    Args:
        reason: of the verdict.
        location: where the limit stands.
        invalid: whether what was written is wrong, rather than that nothing was there to be measured.
    """
    otherwise = (
        "correct the limit at {where}" if invalid else "let the test run the model, or remove the limit at {where}"
    )
    step = next((step for said, step in STEPS if said in reason), otherwise)
    return step.format(where=location)
