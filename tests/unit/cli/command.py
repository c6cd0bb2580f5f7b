"""The command line in this process: arguments in, exit code and both streams out.

In: arguments. Out: `Done`. As a script it trains by the command line in forked processes that kill themselves with -9.
"""

import io
import os
import signal
import sys
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from rankwright.cli import main


@dataclass(frozen=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str


def run(*arguments: object, stdin: bytes = b"") -> Done:
    """Runs `rankwright ARGUMENTS`."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    given = io.TextIOWrapper(io.BytesIO(stdin))
    words = ["rankwright", *map(str, arguments)]
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        mock.patch.object(sys, "argv", words),
        mock.patch.object(sys, "stdin", given),
        mock.patch.object(warnings, "formatwarning", warnings.formatwarning),
    ):
        try:
            main()
        except SystemExit as done:
            code = done.code if isinstance(done.code, int) else int(done.code is not None)
    return Done(code, out.getvalue(), err.getvalue())


def _killed(words: list[str], moment: str) -> None:
    """Ends this process without notice at a sentence or at a step of the log."""
    from rankwright.cli import progress
    from rankwright.workflow.runs import Watch

    def die(seen: object) -> None:
        if str(seen).startswith(moment):
            os.kill(os.getpid(), signal.SIGKILL)

    def log(row: Mapping[str, object]) -> None:
        die(f"step {row['step']}")

    with mock.patch.object(progress, "terminal_watch", lambda: Watch(say=die, log=log)):
        run(*words)


def _in_child(words: list[str], moment: str | None) -> int:
    """The exit code of the command in a forked process, so that torch is imported once."""
    child = os.fork()
    if child == 0:
        if moment is not None:
            _killed(words, moment)
        done = run(*words)
        sys.stderr.write(done.err if done.code else "")
        os._exit(done.code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_and_repeat(folder: Path, words: list[str], moments: list[str]) -> None:
    """Trains undisturbed, and once for each moment: killed there, then by the same command to the end.

    Args:
        folder: gets a run folder for each.
        words: of the command, without --out.
        moments: such as "step 3", or the beginning of a sentence.
    """
    assert _in_child([*words, "--out", str(folder / "undisturbed")], None) == 0
    for moment in moments:
        command = [*words, "--out", str(folder / moment)]
        assert _in_child(command, moment) == -signal.SIGKILL, moment
        assert _in_child(command, None) == 0, moment


if __name__ == "__main__":
    # Before the forks, which then need not; OpenVINO starts threads, which do not outlive a fork.
    import accelerate  # noqa: F401
    import bm25s  # noqa: F401
    import torch

    import rankwright.training  # noqa: F401
    import rankwright.workflow.runs  # noqa: F401

    torch.set_num_threads(1)
    split = sys.argv.index("--at")
    kill_and_repeat(Path(sys.argv[1]), sys.argv[2:split], sys.argv[split + 1 :])
