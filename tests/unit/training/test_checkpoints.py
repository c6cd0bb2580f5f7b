import json
from pathlib import Path

import pytest
import torch
from torch import nn

from rankwright.training.checkpoints import (
    MetricsFile,
    TrainingState,
    checkpoint_path,
    newest_checkpoint,
    read_weights,
    remove_old_checkpoints,
    write_checkpoint_folder,
)
from rankwright.training.optimizer import make_adamw


def write(out: Path, step: int, value: float = 0.0) -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, value)
    write_checkpoint_folder(
        out,
        TrainingState(step=step),
        identity={},
        module=module,
        optimizer=make_adamw(module, learning_rate=1.0, weight_decay=0.0, betas=(0.9, 0.99), epsilon=1e-8),
        save_model=lambda folder, module: folder.mkdir(),
    )


def names(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "checkpoints").iterdir())


def test_newest_is_the_one_of_the_highest_step(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    for step in (900000, 1000000, 20):
        write(tmp_path, step)
    assert newest_checkpoint(tmp_path) == checkpoint_path(tmp_path, 1000000)


def test_half_written_folder_is_not_taken_and_is_cleared_away(tmp_path: Path) -> None:
    write(tmp_path, 1)

    def fail(folder: Path, module: nn.Module) -> None:
        folder.mkdir()
        raise OSError("disk full")

    module = nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(module.parameters())
    with pytest.raises(OSError, match="disk full"):
        write_checkpoint_folder(
            tmp_path, TrainingState(step=2), identity={}, module=module, optimizer=optimizer, save_model=fail
        )
    assert names(tmp_path) == [".step-000002", "step-000001"]
    assert newest_checkpoint(tmp_path) == checkpoint_path(tmp_path, 1)
    write(tmp_path, 3)
    assert names(tmp_path) == ["step-000001", "step-000003"]


def test_step_written_again_replaces_the_first(tmp_path: Path) -> None:
    write(tmp_path, 1, value=5.0)
    write(tmp_path, 1, value=7.0)
    module = nn.Linear(1, 1, bias=False)
    read_weights(checkpoint_path(tmp_path, 1), module)
    assert module.weight.item() == 7.0
    assert names(tmp_path) == ["step-000001"]


@pytest.mark.parametrize(
    ("limit", "best_step", "kept"),
    [(None, 0, [1, 2, 3, 4]), (2, 0, [3, 4]), (2, 1, [1, 3, 4]), (1, 4, [4]), (1, 2, [2, 4]), (9, 1, [1, 2, 3, 4])],
)
def test_limit_keeps_the_newest_and_the_best(tmp_path: Path, limit: int | None, best_step: int, kept: list) -> None:
    for step in (1, 2, 3, 4):
        write(tmp_path, step)
    remove_old_checkpoints(tmp_path, limit=limit, best_step=best_step)
    assert names(tmp_path) == [f"step-{step:06d}" for step in kept]


def test_metrics_are_cut_back_to_the_step(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path, step=0)
    for step in (1, 2, 2, 3):
        metrics.write({"step": step, "loss": 1 / step})
    with metrics.path.open("a") as file:
        file.write('{"step": 2, "lo')
    MetricsFile(tmp_path, step=2).write({"step": 3, "loss": 7})
    rows = [json.loads(line) for line in metrics.path.read_text().splitlines()]
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 1.0), (2, 0.5), (2, 0.5), (3, 7)]


def test_what_is_no_number_in_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        MetricsFile(tmp_path, step=0).write({"step": 1, "loss": float("nan")})
