"""Devices by the names that options and marks use."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class DeviceUnavailableError(RuntimeError):
    """The configured device is not on this machine."""


def resolve(name: str) -> torch.device:
    """The device of that name; `auto` is where the plugin runs a model that nobody else runs: `meta`.

    Raises:
        DeviceUnavailableError: it is not there.
    """
    if name == "auto":
        return torch.device("meta")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise ValueError(f"{name!r} is no device: write auto, meta, cpu, cuda, cuda:1, mps or xpu") from None
    if device.type in ("meta", "cpu"):
        return device
    backend = getattr(torch, device.type, None)
    if backend is None or not backend.is_available() or (device.index or 0) >= backend.device_count():
        raise DeviceUnavailableError(
            f'device "{name}" is not available here: run where it is, '
            'or write "auto", "meta" or "cpu" where it is asked for, in the limit or as modelbudget_device'
        )
    return device


@contextmanager
def allocator_peak(device: torch.device) -> Iterator[Callable[[], int | None]]:
    """Asks the device's caching allocator for the most bytes that it handed out at once during the block.

    That is everything that lived on the device in this process, with the workspaces of its kernels. The allocator's
    peak statistics begin anew. The function says None where the device has none, as the CPU.
    """
    backend: Any = getattr(torch, device.type, None)
    if not hasattr(backend, "max_memory_allocated"):
        yield lambda: None
        return
    backend.synchronize(device)
    backend.reset_peak_memory_stats(device)

    def peak() -> int:
        backend.synchronize(device)
        return int(backend.max_memory_allocated(device))

    yield peak


class NoClockError(ValueError):
    """The device does not compute, so there is nothing to time."""


def check_clock(device: torch.device) -> None:
    """Raise NoClockError unless calls take real time on the device."""
    if device.type == "meta":
        raise NoClockError('nothing is computed on "meta", so there is no time to measure: write device="cpu"')
