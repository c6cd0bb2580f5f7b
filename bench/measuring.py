"""How a row of the speed table is measured: contestants in turn, fresh processes, memory, disk.

In: the inputs folder. Out: one JSON value a row: what a run cost each entry (seconds, or megabytes), and the ratios of
theirs to ours.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bench.gate import Contestant, environment
from bench.machine import machine
from bench.sizes import installed_megabytes

PYTHON = Path(sys.executable)


@dataclass(frozen=True)
class Entry:
    """One line of a row: whose it is, under which name, and what runs where.

    `what` names a contestant, or is code for a fresh process, or a distribution whose size is asked. Of the CPU flags
    in `needs` one must be there: a type that is emulated would take hours. `side` is "peer", "ours", "part" of ours, or
    the "limit" of all.
    """

    name: str
    side: str
    what: str
    python: Path = PYTHON
    needs: tuple[str, ...] = ()

    def reason_to_skip(self, flags: Sequence[str]) -> str | None:
        """Why it cannot be measured on a CPU with these flags; None: it can."""
        if not self.python.is_file():
            return "its environment is not there (`make bench` makes it)"
        if self.needs and not set(self.needs) & set(flags):
            if "cuda" in self.needs:
                return "there is no GPU"
            if self.side == "ours" and self.name.endswith("float32"):
                return "it is the type that rankwright takes on this CPU"
            return f"this CPU has none of {', '.join(self.needs)}, and would emulate the type"
        return None


@dataclass(frozen=True)
class Row:
    """One kind of work; the first entry is the peer as it comes. With `items`, a speed is shown: items per second."""

    name: str
    work: str
    unit: str
    entries: tuple[Entry, ...]
    measure: Callable[[Sequence[Entry], Path, int], list[dict[str, Any]]]
    rounds: int
    items: int | None = None


def run_row(row: Row, inputs: Path) -> dict[str, Any]:
    """Measure a row.

    Args:
        row: which.
        inputs: the folder that `write_inputs` wrote.

    Returns:
        The row as JSON; entries that cannot be measured here are under `skipped`, with the reason.
    """
    found = machine()
    flags = [*found["flags"], *(["cuda"] if "gpu" in found else [])]
    reasons = {entry: entry.reason_to_skip(flags) for entry in row.entries}
    entries = [entry for entry, reason in reasons.items() if reason is None]
    measured = row.measure(entries, inputs, row.rounds)
    lines = [
        {
            "name": entry.name,
            "side": entry.side,
            **line,
            "cost": summary(line["cost"]),
            "value": summary([row.items / cost for cost in line["cost"]] if row.items else line["cost"]),
        }
        for entry, line in zip(entries, measured, strict=True)
    ]
    costs = {(entry.side, entry.name): line["cost"] for entry, line in zip(entries, measured, strict=True)}
    ours = [name for side, name in costs if side == "ours"]
    others = [(side, name) for side, name in costs if side in ("peer", "limit")]
    return {
        "row": row.name,
        "work": row.work,
        "unit": row.unit,
        "rounds": row.rounds,
        "entries": lines,
        "ratios": [
            {"ours": our, "peer": peer, "ratio": summary(np.divide(costs[side, peer], costs["ours", our]).tolist())}
            for our, (side, peer) in product(ours, others)
        ],
        "skipped": [{"name": entry.name, "reason": reason} for entry, reason in reasons.items() if reason],
    }


def summary(values: Sequence[float]) -> dict[str, float]:
    """Smallest, middle and largest, to four digits."""
    found = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def in_turn(entries: Sequence[Entry], inputs: Path, rounds: int) -> list[dict[str, Any]]:
    """Load every contestant in its own process, then let them run in turn, each round from another start.

    A turn begins with a run that is not counted: while a process waits, the system may take its memory back.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        contestants = [
            stack.enter_context(
                Contestant(e.what, python=e.python, inputs=inputs, result_path=folder / f"{e.what}.npy")
            )
            for e in entries
        ]
        seconds: list[list[float]] = [[] for _ in entries]
        for number in range(rounds):
            for index in (np.arange(len(entries)) + number) % len(entries):
                contestants[index].run()
                seconds[index].append(contestants[index].run())
        results = [contestant.result() for contestant in contestants]
    return [{"cost": s, **difference(result, results[0])} for s, result in zip(seconds, results, strict=True)]


def difference(result: np.ndarray | None, reference: np.ndarray | None) -> dict[str, float]:
    """The largest difference to what the peer as it comes computed, where both computed something."""
    if result is None or reference is None:
        return {}
    return {"largest_difference": float(f"{np.abs(result - reference).max():.2g}")}


def fresh_processes(entries: Sequence[Entry], inputs: Path, rounds: int) -> list[dict[str, Any]]:
    """Time whole processes in turn, after one run each that fills the disk cache."""

    def seconds(entry: Entry) -> float:
        start = time.perf_counter()
        command = [entry.python, "-c", entry.what.replace("CROSS_ENCODER", repr(str(inputs / "cross-encoder")))]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment(), cwd=inputs)
        return time.perf_counter() - start

    for entry in entries:
        seconds(entry)
    found = [[seconds(entry) for entry in entries] for _ in range(rounds)]
    return [{"cost": list(column)} for column in zip(*found, strict=True)]


def peak_memory(entries: Sequence[Entry], inputs: Path, rounds: int) -> list[dict[str, Any]]:
    """Megabytes that a whole process needs at its peak (resident), one after the other."""

    def megabytes(entry: Entry) -> float:
        command = [entry.python, "-c", entry.what.replace("CROSS_ENCODER", repr(str(inputs / "cross-encoder")))]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment(), cwd=inputs)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{entry.name} ended with code {process.returncode}: {entry.what}")
        return usage.ru_maxrss * 1024 / 1e6

    return [{"cost": [megabytes(entry) for _ in range(rounds)]} for entry in entries]


def on_disk(entries: Sequence[Entry], inputs: Path, rounds: int) -> list[dict[str, Any]]:
    """Megabytes of a distribution with all that it needs."""
    del inputs, rounds  # nothing to run, nothing that varies
    return [{"cost": [installed_megabytes(entry.what)]} for entry in entries]
