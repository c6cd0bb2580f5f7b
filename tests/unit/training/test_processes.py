import json
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.tolerances import TOL
from tests.unit.training.tiny_job import make_job, train


def rows(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.unit.training.tiny_job", "share", str(tmp_path), "2"]
    subprocess.run(command, check=True, timeout=120)
    alone = make_job(batches_per_step=4)
    train(tmp_path / "alone", alone)
    both, expected = rows(tmp_path / "run"), rows(tmp_path / "alone")
    assert [sorted(row) for row in both] == [sorted(row) for row in expected]
    for key in ("step", "epoch", "tokens", "learning_rate", "saved"):
        assert [row.get(key) for row in both] == [row.get(key) for row in expected]
    for key in ("loss", "eval_loss", "grad_norm"):
        got, want = ([row[key] for row in some if key in row] for some in (both, expected))
        torch.testing.assert_close(torch.tensor(got), torch.tensor(want), **TOL["float32", "loss"])
    states = [load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1)]
    for name, weight in alone.module.state_dict().items():
        assert torch.equal(states[0][name], states[1][name])
        torch.testing.assert_close(states[0][name], weight, **TOL["float32", "gradient"])
