"""The cores that this process may use: how many there are, and which of them each of several workers gets."""

import math
import os
from itertools import pairwise
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux says how much of the cores a container may use."""


def num_cores() -> int:
    """How many there are: those that it may run on, or as many as make up the time that its container gets."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, time_limit() or allowed)


def time_limit() -> int | None:
    """The time that the container of this process gets, in cores, rounded up; None: all of it."""
    try:
        quota, period = (CGROUP / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:  # the first version of cgroups, in which -1 is all
            quota, period = ((CGROUP / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return None
    return math.ceil(int(quota) / int(period)) if quota.strip().isdigit() else None


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
