"""Linear layers in int8: the levels of their inputs, and the rows of their weights.

In: ranges and samples of a layer's input, its weight. Out: tensors by name, `{path}.low`, `.step` and `.shift` of each
layer that is quantised. Letters: N tokens, I inputs of a layer, O outputs.

Feature i of an input stands for `low_I[i] + step_I[i] * level`, with a level of 0 to 255. A step of its own for each
feature costs nothing: the weights are multiplied by the steps before they are rounded, and what the lows add to an
output is a constant, as is the mean of what rounding takes from it (`shift_O`).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np

from rankwright.errors import ValueRangeError

LEVELS = 255
"""The largest level of an input, an unsigned byte."""

WEIGHT_LEVELS = 127

STRENGTHS = (0.5, 0.65, 0.8, 0.9, 1.0)
"""How much of the difference between features goes into the steps, rather than being left to the levels: 1 gives each
feature all levels, and the weights all of the difference."""


class Fitted(NamedTuple):
    """How the inputs of layers that read the same states become levels, and what each layer adds to its outputs."""

    low_I: np.ndarray
    step_I: np.ndarray
    shifts: list[np.ndarray]


def fit(samples_NI: np.ndarray, low_I: np.ndarray, high_I: np.ndarray, weights: Sequence[np.ndarray]) -> Fitted:
    """The steps with the smallest error in the outputs of the samples.

    Args:
        samples_NI: inputs of some tokens.
        low_I: the smallest value of each feature in all tokens.
        high_I: the largest.
        weights: (O, I) each: the layers that read these inputs.

    Returns:
        The best of `STRENGTHS`.

    Raises:
        ValueRangeError: an input or a weight that is not finite.

    Source:
        Xiao et al. 2022, "SmoothQuant", section 4, https://arxiv.org/abs/2211.10438 (there without lows), and
        Nagel et al. 2019, section 4.2, https://arxiv.org/abs/1906.04721 (the shift of the outputs).
    """
    range_I = np.maximum(high_I - low_I, 1e-3 * (high_I - low_I).max(initial=1e-9))
    largest_I = np.maximum(np.max([np.abs(weight_OI).max(0) for weight_OI in weights], axis=0), 1e-9)
    exact = [samples_NI @ weight_OI.T for weight_OI in weights]
    best, lowest = None, np.inf
    for strength in STRENGTHS:
        size_I = range_I**strength / largest_I ** (1 - strength)
        step_I = (size_I * (range_I / size_I).max() / LEVELS).astype(np.float32)
        # the range in the middle of the levels
        start_I = ((low_I + high_I) / 2 - LEVELS / 2 * step_I).astype(np.float32)
        found = [output(samples_NI, weight_OI, start_I, step_I) for weight_OI in weights]
        shifts = [(y_NO - found_NO).mean(0) for y_NO, found_NO in zip(exact, found, strict=True)]
        errors = [
            np.square(y_NO - found_NO - shift_O).sum() / np.square(y_NO - y_NO.mean(0)).sum().clip(1e-12)
            for y_NO, found_NO, shift_O in zip(exact, found, shifts, strict=True)
        ]
        if sum(errors) < lowest:
            best, lowest = Fitted(start_I, step_I, shifts), sum(errors)
    if best is None:
        raise ValueRangeError("int8: what a linear layer reads, or its weight, is not finite in the texts given.")
    return best


def output(x_NI: np.ndarray, weight_OI: np.ndarray, low_I: np.ndarray, step_I: np.ndarray) -> np.ndarray:
    """What a quantised layer gives, without its bias, computed in float32: the twin that the engine is tested with.

    Args:
        x_NI: inputs.
        weight_OI: the layer's weight.
        low_I: of `Fitted`.
        step_I: of `Fitted`.

    Returns:
        (N, O) float32.
    """
    levels_NI = np.clip(np.rint((x_NI - low_I) / step_I), 0, LEVELS)
    rows_OI, scale_O1 = quantised_rows(weight_OI, step_I)
    return levels_NI @ (rows_OI * scale_O1).T + weight_OI @ low_I


def quantised_rows(weight_OI: np.ndarray, step_I: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weight for inputs given as levels, each row rounded to -127 to 127.

    Args:
        weight_OI: the layer's weight.
        step_I: of the inputs.

    Returns:
        (O, I) int8, and the (O, 1) float32 scale of each row.
    """
    scaled_OI = weight_OI * step_I
    scale_O1 = np.maximum(np.abs(scaled_OI).max(1, keepdims=True), 1e-30).astype(np.float32) / WEIGHT_LEVELS
    return np.rint(scaled_OI / scale_O1).astype(np.int8), scale_O1


def layers_of(levels: Mapping[str, np.ndarray]) -> list[str]:
    """The paths of the quantised layers, in order of name."""
    return sorted(name.removesuffix(".step") for name in levels if name.endswith(".step"))


def fingerprint(levels: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray]) -> str:
    """What tells the weights that levels were fitted to from others.

    Args:
        levels: tensors by name.
        weights: those of the model.

    Returns:
        A checksum of the first row of each quantised layer's weight, which training changes with the others; "" where
        one of them is missing.
    """
    found = 0
    for path in layers_of(levels):
        if f"{path}.weight" not in weights:
            return ""
        found = crc32(weights[f"{path}.weight"][0].astype(np.float32).tobytes(), found)
    return f"{found:08x}"
