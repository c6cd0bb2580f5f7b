"""The levels of int8: found on texts, kept beside the weights that they were fitted to.

In: a model and texts, or a folder. Out: levels by name (`encoder/int8.py`); `int8.safetensors`.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rankwright.encoder.int8 import fingerprint, layers_of
from rankwright.encoder.spec import ModelSpec
from rankwright.errors import ConfigError, ModelFormatError, first_line
from rankwright.hub import LEVELS_FILE
from rankwright.text import plan_batches
from rankwright.text.tokenizer import Tokenizer
from rankwright.text.tokens import Text

BATCH_TOKENS = 2048
"""Padded tokens of a batch, and of a text at most: what all layers read is kept until the batch is done."""


def calibrate_on(
    spec: ModelSpec, weights: Mapping[str, np.ndarray], tokenizer: Tokenizer, texts: Sequence[Text], prompt: str
) -> dict[str, np.ndarray]:
    """The levels of a model's linear layers, from what they read in these texts.

    Args:
        spec: the model, of a family that the CPU's engine runs.
        weights: arrays by Hugging Face name.
        tokenizer: with the length that the model cuts at.
        texts: texts or pairs.
        prompt: put before each.

    Returns:
        Levels by name.

    Raises:
        ConfigError: no texts, or a model without such layers in the CPU's engine.
    """
    from rankwright.encoder.ops_int8 import calibrate

    if isinstance(texts, str):
        raise ConfigError(f"quantize needs a list of texts, got one string: {texts!r:.80}. Give a few hundred texts.")
    texts = list(texts)
    if spec.foreign is not None:
        raise ConfigError("int8 is for models with a graph in the CPU's engine; this one runs through transformers.")
    tokens, _ = tokenizer.with_max_length(min(tokenizer.max_length, BATCH_TOKENS)).batch(texts, prompt=prompt)
    planned = plan_batches(tokens.lengths_B, batch_tokens=BATCH_TOKENS, powers_of_two=True)
    batches = [batch for rows in planned if (batch := tokens.select(rows)).num_tokens]
    if not batches:
        raise ConfigError(
            f"quantize needs texts to calibrate on, got {'none' if not texts else 'only texts without tokens'}. "
            "Give a few hundred like those to be run."
        )
    levels = calibrate(spec, weights, batches)
    if not levels:
        raise ConfigError("int8 is for linear layers that read token states, and this model has none.")
    return levels


def read_levels(folder: Path, weights: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray] | None:
    """The levels in a checkpoint's folder.

    Args:
        folder: of the checkpoint.
        weights: the checkpoint's, to which the levels must have been fitted.

    Returns:
        Levels by name; None where there is no file of them, or (with a warning) one that was fitted to other weights.

    Raises:
        ModelFormatError: a damaged file, or one of another model.
    """
    path = folder / LEVELS_FILE
    if not path.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            levels = {name: file.get_tensor(name) for name in file.keys()}
            fitted_to = (file.metadata() or {}).get("weights")
    except (SafetensorError, OSError, TypeError) as error:  # numpy has no bfloat16
        raise ModelFormatError(
            f"{path} is damaged ({first_line(error)}). Remove it; `rankwright quantize` makes another."
        ) from error
    _check_shapes(path, levels, weights)
    if fitted_to != fingerprint(levels, weights):
        warnings.warn(
            f"{path} was made for other weights than those beside it, so that this model has no int8. Remove it; "
            "`rankwright quantize` makes another.",
            stacklevel=2,
        )
        return None
    return levels


def write_levels(folder: Path, levels: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray]) -> None:
    """Write levels into a checkpoint's folder that is being made.

    Args:
        folder: of the checkpoint.
        levels: by name.
        weights: what they were fitted to.
    """
    from safetensors.numpy import save_file

    path = folder / LEVELS_FILE
    arrays = {name: np.ascontiguousarray(array) for name, array in levels.items()}
    save_file(arrays, path, metadata={"format": "pt", "weights": fingerprint(levels, weights)})
    path.chmod((folder / "config.json").stat().st_mode)


def _check_shapes(path: Path, levels: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray]) -> None:
    """Refuse a file that lacks a part of a layer, or whose parts do not fit the weights."""
    expected: dict[str, tuple[int, ...]] = {}
    for layer in layers_of(levels):
        if f"{layer}.weight" in weights and weights[f"{layer}.weight"].ndim == 2:
            outputs, inputs = weights[f"{layer}.weight"].shape
            expected |= {f"{layer}.low": (inputs,), f"{layer}.step": (inputs,), f"{layer}.shift": (outputs,)}
    found = {name: array.shape for name, array in levels.items() if array.dtype == np.float32}
    are_sound = all(
        np.isfinite(array).all() and (not name.endswith(".step") or (array > 0).all()) for name, array in levels.items()
    )
    if not levels or found != expected or not are_sound:
        raise ModelFormatError(
            f"{path} does not hold the levels of this model's linear layers. Remove it; `rankwright quantize` makes "
            "another."
        )
