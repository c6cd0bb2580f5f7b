"""Import is free: it loads no torch, takes no time, and a test says so."""

import os
import resource
import subprocess
import sys

import pytest

HEAVY = ("numpy.random", "torch", "transformers", "datasets", "sentence_transformers", "scipy", "sklearn", "pandas")
IMPORT_S = 0.150
OWN_HELP_S = 0.200

COMMAND_LINE = (
    "from rankwright.cli import main; sys.argv = ['rankwright', '--help']\ntry: main()\nexcept SystemExit: pass\n"
)


def loaded(code: str) -> set[str]:
    """The heavy packages that a fresh process has loaded after running the code."""
    report = f"print('\\nloaded:', *sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", f"import sys\n{code}\n{report}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("loaded:")[-1].split())


def best_seconds(code: str, runs: int = 7) -> float:
    """Processor time of a fresh process that runs the code, which other jobs disturb little; the best of some runs.

    The first run may write the bytecode of our modules, as pip does when it installs them.
    """
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-c", f"import sys\n{code}"]
        subprocess.run(command, check=True, capture_output=True, env=variables)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)

    return min(seconds() for _ in range(runs))


@pytest.mark.parametrize(
    "code",
    [
        "import rankwright",
        COMMAND_LINE,
        "from rankwright import BiEncoder, CrossEncoder",
        "import rankwright.evaluation, rankwright.data, rankwright.card, rankwright.config, rankwright.text",
    ],
    ids=["import", "help", "models", "modules"],
)
def test_without_training_nothing_heavy_is_loaded(code: str) -> None:
    assert loaded(code) == set()


@pytest.mark.parametrize("name", ["torch", "scipy"])
def test_the_check_for_heavy_packages_can_fail(name: str) -> None:
    assert name in loaded(f"import {name}")


def test_import_takes_at_most_150_ms() -> None:
    assert best_seconds("import rankwright") - best_seconds("pass") <= IMPORT_S


def test_help_takes_at_most_200_ms_beyond_the_library_that_prints_it() -> None:
    """Of 400 ms, which `make bench` measures: more than half is the library's, and as slow as the machine just now."""
    assert best_seconds(COMMAND_LINE) - best_seconds("import typer.rich_utils") <= OWN_HELP_S


def test_the_check_for_time_can_fail() -> None:
    busy = "import time\nend = time.process_time() + 0.25\nwhile time.process_time() < end: pass"
    assert best_seconds(busy, runs=2) - best_seconds("pass") > IMPORT_S
