"""Where and in which type training computes, and how it is told to stop.

In: the wishes of the config, signals. Out: an `Accelerator`, an autocast context, `StopRequest`.
"""

import ctypes
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator

from rankwright.encoder.engine_torch import choose_dtype
from rankwright.errors import ConfigError

MMAP_MAX, TRIM_THRESHOLD, TOP_PAD = -4, -1, -2
"""Options of `mallopt` (malloc.h); glibc's defaults are 65,536, 128 KiB and 128 KiB."""


def make_accelerator(device: str = "auto") -> Accelerator:
    """The processes and devices of this run: those of `accelerate launch` or `torchrun`, else one.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N".

    Returns:
        An accelerator that changes no types: `autocast` does.

    Raises:
        ConfigError: a device that is not there, or not the one on which this process trained before.
    """
    wanted = torch.device("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else torch.device(device)
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device = {device!r}: there are {torch.cuda.device_count()} CUDA devices. Use device = 'cpu'."
        )
    if wanted.type == "cuda" and wanted.index is not None:
        torch.cuda.set_device(wanted)
    try:
        accelerator = Accelerator(cpu=wanted.type == "cpu")
    except ValueError as err:
        raise ConfigError(f"device = {device!r}: this process trained on another one. Use a new process.") from err
    if accelerator.device.type != wanted.type:
        raise ConfigError(f"device = {device!r}: accelerate gives {accelerator.device}. Use a new process.")
    return accelerator


def training_dtype(dtype: str, device: torch.device) -> str:
    """The type of the computation: "float32" or "bfloat16".

    Args:
        dtype: "auto", "float32" or "bfloat16".
        device: where it will run.

    Returns:
        "bfloat16" for "auto" where the device multiplies it natively; never float16, which needs its losses scaled.
    """
    chosen = choose_dtype(dtype, device)
    return "float32" if chosen == "float16" else chosen


def autocast(dtype: str, device: torch.device) -> torch.autocast:
    """A context in which products are computed in `dtype` from float32 weights."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16")


@contextmanager
def keep_memory(device: torch.device) -> Iterator[None]:
    """Within it, memory that a step frees is kept for the next one, on a CPU under Linux with glibc.

    Else each large tensor is mapped anew, and its pages are cleared one by one while the products wait: about an eighth
    of a step. `release_memory` gives back what is kept.

    Args:
        device: where steps are computed.

    Yields:
        Nothing.
    """
    mallopt = _c_function("mallopt") if device.type == "cpu" else None
    if mallopt is None:
        yield
        return
    for option, value in (MMAP_MAX, 0), (TRIM_THRESHOLD, -1), (TOP_PAD, 1 << 26):
        mallopt(option, value)
    try:
        yield
    finally:
        for option, value in (MMAP_MAX, 65536), (TRIM_THRESHOLD, 1 << 17), (TOP_PAD, 1 << 17):
            mallopt(option, value)
        release_memory()


def release_memory() -> None:
    """Give back to the system what was freed but kept by glibc, whose heap gets holes where no two batches are alike.

    Without it a training on a CPU grew from 1.8 to 3.0 GB within 60 steps, and on; with it, it stays at 1.3 GB.
    """
    trim = _c_function("malloc_trim")
    if trim is not None:
        trim(0)


def _c_function(name: str) -> Any:
    """A function of the C library, or None: another library than glibc has none of these."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


class StopRequest:
    """Whether the user, or the system, has asked training to stop."""

    requested = False


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Take the first Ctrl-C or SIGTERM as a request to stop after the step; a second one ends the process at once.

    Yields:
        The request; never made outside the main thread, where Python allows no signal handlers.

    Raises:
        KeyboardInterrupt: at the end, if there was a request and nothing else was raised.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def restore() -> None:
        for number in signals:
            signal.signal(number, before[number])

    def request(_number: int, _frame: FrameType | None) -> None:
        stop.requested = True
        restore()

    for number in signals:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        restore()
    if stop.requested:  # after the last step
        raise KeyboardInterrupt
