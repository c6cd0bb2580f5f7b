"""Where and in which type training computes.

In: the wishes of the config. Out: an `Accelerator`, the name of a type, an autocast context.
"""

import torch
from accelerate import Accelerator

from rankwright.encoder.engine_torch import choose_dtype, find_device
from rankwright.errors import ConfigError


def make_accelerator(device: str = "auto") -> Accelerator:
    """The processes and devices of this run: those of `accelerate launch` or `torchrun`, else one.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N".

    Returns:
        An accelerator that changes no types: `autocast` does.

    Raises:
        ConfigError: a device that is not there, or not the one on which this process trained before.
    """
    wanted = training_device(device)
    if wanted.type == "cuda" and wanted.index is not None:
        torch.cuda.set_device(wanted)
    try:
        accelerator = Accelerator(cpu=wanted.type == "cpu")
    except ValueError as err:
        raise ConfigError(f"device = {device!r}: this process trained on another one. Use a new process.") from err
    if accelerator.device.type != wanted.type:
        raise ConfigError(f"device = {device!r}: accelerate gives {accelerator.device}. Use a new process.")
    return accelerator


def training_device(device: str) -> torch.device:
    """The device that a config means, if this machine has it.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N".

    Returns:
        The device; "auto" is the first GPU, where there is one.
    """
    return find_device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)


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
