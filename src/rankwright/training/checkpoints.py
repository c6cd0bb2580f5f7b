"""Checkpoint folders that are there whole or not at all, and the metrics of the steps that they cover.

In: module, optimizer and `TrainingState` at a step.
Out: `checkpoints/step-000100/{model/, optimizer.safetensors, state.json}` and `metrics.jsonl`.
`optimizer.safetensors` holds the exact weights too, since `model/` is written for users to load.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from rankwright.errors import ConfigError
from rankwright.files import sync, write_json, write_text, writing
from rankwright.training.optimizer import load_optimizer_tensors, optimizer_tensors

FOLDER = "checkpoints"
WEIGHTS = "weights."


@dataclass
class TrainingState:
    """How far a run has come: all that is needed to go on, beside weights and optimizer.

    Attributes:
        step: the last one done.
        tokens: real tokens trained on, of all processes.
        training_time_s: time of the steps.
        evaluation_time_s: time of the evaluations between them.
        best_step: the step of the best evaluation; 0 before the first.
        best_value: its measure.
    """

    step: int = 0
    tokens: int = 0
    training_time_s: float = 0.0
    evaluation_time_s: float = 0.0
    best_step: int = 0
    best_value: float = 0.0


def checkpoint_path(out: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return out / FOLDER / f"step-{step:06d}"


def write_checkpoint_folder(
    out: Path,
    state: TrainingState,
    *,
    identity: Mapping[str, float],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    save_model: Callable[[Path, nn.Module], None],
) -> None:
    """Write the checkpoint of a step: aside, synced to the disk, then renamed.

    Args:
        out: the run folder.
        state: of the step.
        identity: of the batch plan.
        module: its weights.
        optimizer: its state.
        save_model: writes the folder that users load.
    """
    folder = checkpoint_path(out, state.step)
    aside = folder.with_name(f".{folder.name}")
    _remove_aside(out)
    aside.mkdir(parents=True)
    save_model(aside / "model", module)
    weights = {f"{WEIGHTS}{name}": tensor for name, tensor in module.state_dict().items()}
    tensors = weights | optimizer_tensors(module, optimizer)
    file = aside / "optimizer.safetensors"
    with writing(file):
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, file)
    values = asdict(state) | {"identity": dict(identity)}
    write_json(aside / "state.json", values)
    for path in [*aside.rglob("*"), aside]:
        sync(path)
    if folder.exists():
        folder.rename(aside.with_name(f"{aside.name}.old"))
    aside.rename(folder)
    sync(folder.parent)
    _remove_aside(out)


def newest_checkpoint(out: Path) -> Path | None:
    """The checkpoint of the latest step, or None."""
    folders = _checkpoints(out)
    return folders[max(folders)] if folders else None


def read_checkpoint(
    folder: Path, *, identity: Mapping[str, float], module: nn.Module, optimizer: torch.optim.Optimizer
) -> TrainingState:
    """Put module and optimizer back to where a checkpoint was written.

    Args:
        folder: of the checkpoint.
        identity: of the batch plan of this run.
        module: changed in place.
        optimizer: changed in place.

    Returns:
        The state at that step.

    Raises:
        ConfigError: the checkpoint is of a run with other rows, batches, seed or number of steps.
    """
    values = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    written = values.pop("identity")
    if differing := [key for key in identity if written.get(key) != identity[key]]:
        raise ConfigError(
            f"{folder}: cannot be taken up, since this run has "
            + ", ".join(f"{key} = {identity[key]} (there {written.get(key)})" for key in differing)
            + ". Choose another folder for the run, or the settings of that one."
        )
    read_weights(folder, module)
    with safe_open(folder / "optimizer.safetensors", framework="pt") as tensors:
        names = [name for name in tensors.keys() if not name.startswith(WEIGHTS)]
        load_optimizer_tensors(module, optimizer, {name: tensors.get_tensor(name) for name in names})
    return TrainingState(**values)


def read_weights(folder: Path, module: nn.Module) -> None:
    """Put a module's weights back to those of a checkpoint, bit for bit."""
    with safe_open(folder / "optimizer.safetensors", framework="pt") as tensors:
        names = [name for name in tensors.keys() if name.startswith(WEIGHTS)]
        module.load_state_dict({name.removeprefix(WEIGHTS): tensors.get_tensor(name) for name in names})


def remove_old_checkpoints(out: Path, *, limit: int | None, best_step: int) -> None:
    """Delete all but the newest `limit` checkpoints and that of `best_step`; None deletes none."""
    folders = _checkpoints(out)
    for step in sorted(folders)[: -limit if limit else 0]:
        if step != best_step:
            # Renamed first, so that no half-deleted folder is ever taken for a checkpoint.
            folders[step].rename(folders[step].with_name(f".{folders[step].name}.old"))
    _remove_aside(out)


class MetricsFile:
    """`metrics.jsonl` of a run, cut back to `step` when opened; a row is on its line before the next step begins."""

    def __init__(self, out: Path, *, step: int) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.path = out / "metrics.jsonl"
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        kept = [line for line in lines if _step_of(line) <= step]
        write_text(self.path, "".join(f"{line}\n" for line in kept))

    def write(self, row: Mapping[str, object]) -> None:
        """Append a row."""
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")


def _step_of(line: str) -> float:
    """The step of a row; a line that was cut off by a crash is behind all steps."""
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return float("inf")


def _checkpoints(out: Path) -> dict[int, Path]:
    found = ((re.fullmatch(r"step-(\d+)", path.name), path) for path in (out / FOLDER).glob("step-*"))
    return {int(match[1]): path for match, path in found if match}


def _remove_aside(out: Path) -> None:
    """Delete what is no checkpoint yet or no more, also what a crash left."""
    for path in (out / FOLDER).glob(".step-*"):
        shutil.rmtree(path)
