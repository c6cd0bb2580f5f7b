"""The cores that this process may use: how many there are, and which of them each of several workers gets."""

import os
from itertools import pairwise
from pathlib import Path


def num_cores() -> int:
    """How many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def core_slices(count: int) -> list[tuple[int, ...]]:
    """The cores of this process dealt to CPU workers, neighbours to the same one.

    Args:
        count: number of workers.

    Returns:
        Cores of each worker; empty where the system does not say which there are. More workers than cores share them.
    """
    if not hasattr(os, "sched_getaffinity"):
        return [()] * count
    cores = sorted(os.sched_getaffinity(0), key=_place)
    if count > len(cores):
        return [(cores[i % len(cores)],) for i in range(count)]
    bounds = [i * len(cores) // max(count, 1) for i in range(count + 1)]
    return [tuple(cores[start:stop]) for start, stop in pairwise(bounds)]


def _place(core: int) -> tuple[int, int, int]:
    """Socket, physical core, number: the two threads of a core have numbers far apart."""
    folder = Path(f"/sys/devices/system/cpu/cpu{core}/topology")
    try:
        socket, physical = (int((folder / name).read_text()) for name in ("physical_package_id", "core_id"))
    except (OSError, ValueError):
        return 0, core, core
    return socket, physical, core
