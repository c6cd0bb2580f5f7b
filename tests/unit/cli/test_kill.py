"""`rankwright train`, killed with -9 and given again, ends with the model of an undisturbed run."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.unit.workflow.small_data import judged_pairs

MOMENTS = ["step 1", "step 3", "measuring the trained model"]


@pytest.fixture(scope="module")
def runs(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders named by the moments at which they were killed."""
    folder = tmp_path_factory.mktemp("killed")
    pairs = judged_pairs(folder / "pairs.jsonl")
    command = ["train", "--base", tiny.bi_encoder("bert"), "--kind", "cross-encoder", "--train", pairs, "--eval", pairs]
    command += ["--max-steps", "4", "--batch-size", "4", "--lr", "1e-3"]
    for setting in ("save_steps=2", "dtype=float32", "device=cpu"):
        command += ["--set", f"training.{setting}"]
    words = [sys.executable, "-m", "tests.unit.cli.command", folder, *command, "--at", *MOMENTS]
    subprocess.run(list(map(str, words)), check=True, timeout=200)
    return folder


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_command_killed_and_given_again_gives_the_same_bits(runs: Path, moment: str) -> None:
    expected = load_file(runs / "undisturbed" / "model" / "model.safetensors")
    actual = load_file(runs / moment / "model" / "model.safetensors")
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)
    for name in ("evaluations/trained.json", "evaluations/references.json"):
        assert (runs / moment / name).read_text() == (runs / "undisturbed" / name).read_text(), name


@pytest.mark.parametrize("moment", MOMENTS)
def test_nothing_half_written_is_left(runs: Path, moment: str) -> None:
    names = {path.relative_to(runs / moment).as_posix() for path in (runs / moment).rglob("*")}
    assert names == {path.relative_to(runs / "undisturbed").as_posix() for path in (runs / "undisturbed").rglob("*")}
