"""Ways to spoil a tiny checkpoint.

In: a copy of a good folder. Out: the same folder with one thing wrong.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

Damage = Callable[[Path], object]
Tensors = dict[str, np.ndarray]


def keys(file: str, **changes: Any) -> Damage:
    """Sets keys of a JSON object; `...` takes one away."""

    def damage(folder: Path) -> None:
        path = folder / file
        content = {**(json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}), **changes}
        kept = {key: value for key, value in content.items() if value is not ...}
        path.write_text(json.dumps(kept), encoding="utf-8")

    return damage


def content(file: str, data: str | bytes) -> Damage:
    """Puts other bytes into a file."""

    def damage(folder: Path) -> None:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data.encode() if isinstance(data, str) else data)

    return damage


def without(*files: str) -> Damage:
    """Removes files."""
    return lambda folder: [(folder / file).unlink(missing_ok=True) for file in files]


def cut(size: int) -> Damage:
    """Keeps so many bytes of the weights; negative: all but so many."""

    def damage(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:size])

    return damage


def tensors(change: Callable[[Tensors], Mapping[str, np.ndarray]]) -> Damage:
    """Writes the weights that `change` makes of the stored ones."""

    def damage(folder: Path) -> None:
        path = folder / "model.safetensors"
        changed = {name: np.ascontiguousarray(array) for name, array in change(load_file(path)).items()}
        save_file(changed, path, metadata={"format": "pt"})

    return damage


def each(part: str, change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    """Changes the tensors whose name holds `part`."""
    return tensors(lambda found: {name: change(a) if part in name else a for name, a in found.items()})


def lost(part: str) -> Damage:
    """Drops the tensors whose name holds `part`."""
    return tensors(lambda found: {name: array for name, array in found.items() if part not in name})


def with_number(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """Puts a number into the middle of an array."""

    def change(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array.flat[array.size // 2] = value
        return array

    return change


def tokenizer(change: Callable[[dict[str, Any]], object]) -> Damage:
    """Changes tokenizer.json in place."""

    def damage(folder: Path) -> None:
        path = folder / "tokenizer.json"
        stored = json.loads(path.read_text(encoding="utf-8"))
        change(stored)
        path.write_text(json.dumps(stored), encoding="utf-8")

    return damage


def without_token(token: str) -> Damage:
    """Takes a token out of the vocabulary and out of the added tokens."""

    def change(stored: dict[str, Any]) -> None:
        stored["model"]["vocab"].pop(token)
        stored["added_tokens"] = [added for added in stored["added_tokens"] if added["content"] != token]

    return tokenizer(change)


def all_of(*damages: Damage) -> Damage:
    """Several at once."""
    return lambda folder: [damage(folder) for damage in damages]
