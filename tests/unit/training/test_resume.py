import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rankwright.errors import ConfigError
from tests.unit.training.tiny_job import make_job, train

MOMENTS = ["log 1", "evaluate 3", "save 2", "log 11"]
TIMES = {"time_s", "tokens_per_s"}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-m", "tests.unit.training.tiny_job", "kill", str(folder), *MOMENTS]
    subprocess.run(command, check=True, timeout=120)
    return folder


def metrics(out: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


@pytest.mark.parametrize("moment", MOMENTS)
def test_run_killed_and_taken_up_gives_the_same_bits(killed: Path, moment: str) -> None:
    expected, actual = killed / "undisturbed", killed / moment
    assert metrics(actual) == metrics(expected)
    names = [str(path.relative_to(expected)) for path in sorted(expected.rglob("*"))]
    assert [str(path.relative_to(actual)) for path in sorted(actual.rglob("*"))] == names
    tensor_files = [name for name in names if name.endswith(".safetensors")]
    assert len(tensor_files) == 1 + 2 * len(list((expected / "checkpoints").iterdir()))
    for name in tensor_files:
        want, got = load_file(expected / name), load_file(actual / name)
        assert want.keys() == got.keys()
        assert all(torch.equal(want[key], got[key]) for key in want), name


def test_ten_steps_and_the_rest_are_all_steps(tmp_path: Path) -> None:
    whole, first, second = make_job(), make_job(), make_job()
    train(tmp_path / "whole", whole, load_best_model_at_end=False)

    class EndError(Exception):
        pass

    def stop_at_five(row: dict[str, object]) -> None:
        if row["step"] == 5:
            raise EndError

    with pytest.raises(EndError):
        train(tmp_path / "parts", make_job(log=stop_at_five), load_best_model_at_end=False)
    assert not torch.equal(first.module.head.weight, whole.module.head.weight)
    state = train(tmp_path / "parts", second, load_best_model_at_end=False)
    assert state.step == 9
    assert all(torch.equal(a, b) for a, b in zip(second.module.parameters(), whole.module.parameters(), strict=True))
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


def test_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first, second = make_job(), make_job()
    before = train(tmp_path, first)
    text = (tmp_path / "metrics.jsonl").read_text()
    assert train(tmp_path, second) == before
    assert (tmp_path / "metrics.jsonl").read_text() == text
    assert all(torch.equal(a, b) for a, b in zip(second.module.parameters(), first.module.parameters(), strict=True))


def test_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    train(tmp_path, make_job())
    message = r"step-000009: cannot be taken up, since this run has seed = 2 \(there 1\)\. Choose another folder"
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, make_job(seed=2))
    with pytest.raises(ConfigError, match=r"num_steps = 6 \(there 9\)"):
        train(tmp_path, make_job(num_epochs=2))
