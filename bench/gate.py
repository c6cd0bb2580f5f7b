"""The gate between the parent and a contestant's process: a contestant waits at it before each run.

    contestant:  while gate(result): result = work()
    parent:      seconds = contestant.run()

A line on the pipe opens the gate; the contestant answers with one line of JSON when it comes back to it: the seconds
in between. A closed pipe ends the contestant.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np

ROOT = Path(__file__).parents[1]

QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",
}
"""No network and no chatter; nothing here changes what is computed."""

UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "PYTHONDONTWRITEBYTECODE")
"""Users do not have them: the first two slow numpy's products, the last makes every start compile our modules anew
(pip has compiled all others)."""


def environment() -> dict[str, str]:
    """The environment of every contestant."""
    return {name: value for name, value in os.environ.items() if name not in UNSET} | QUIET


class Gate:
    """The contestant's side: call it before each run; it says whether there is one more, and is false at the end."""

    def __init__(self, result_path: Path) -> None:
        self._result_path = result_path
        self._replies: TextIO = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what libraries print must not reach the pipe
        self._opened_at: float | None = None

    def __call__(self, result: object = None) -> bool:
        """Report the run that just ended, if any, and wait for the next one."""
        seconds = None if self._opened_at is None else time.perf_counter() - self._opened_at
        if result is not None:
            np.save(self._result_path, np.asarray(result, dtype=np.float32))
        print(json.dumps({"seconds": seconds}), file=self._replies, flush=True)
        is_open = sys.stdin.readline() == "go\n"
        self._opened_at = time.perf_counter()
        return is_open


def repeat(gate: Gate, work: Callable[[], object]) -> None:
    """Do the work once to warm up, then once whenever the gate opens."""
    result = work()
    while gate(result):
        result = work()


class Contestant:
    """The parent's side: a process that has loaded its model, warmed up, and waits at the gate."""

    def __init__(self, name: str, *, python: Path, inputs: Path, result_path: Path) -> None:
        self.name = name
        self.result_path = result_path
        self._log = result_path.with_suffix(".log").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [python, "-m", "bench.contestants", name, inputs, result_path],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._reply()

    def run(self) -> float:
        """Let it run once.

        Returns:
            The seconds it took.

        Raises:
            RuntimeError: the process ended; the message has the last of what it wrote.
        """
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return float(self._reply()["seconds"])

    def result(self) -> np.ndarray | None:
        """What its last run computed, where it says."""
        return np.load(self.result_path) if self.result_path.is_file() else None

    def __enter__(self) -> "Contestant":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()  # closes the pipe, waits for the end
        self._log.close()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._log.seek(0)
            raise RuntimeError(f"{self.name} ended with code {self._process.returncode}:\n{self._log.read()[-2000:]}")
        return dict(json.loads(line))
