"""The one table of tolerances, and the one way to say how far two results are apart.

A test compares with `torch.testing.assert_close(actual, expected, **TOL[dtype, op])`, or, where the scale of the values
matters, with `assert_agrees`, which allows `max(atol, rtol * |expected|)`: the promise "1e-5 x max(1, |logit|)".
"""

from typing import Any

import numpy as np

TOL: dict[tuple[str, str], dict[str, float]] = {
    # What a model gives. Embeddings are compared after division by max(1, length of the expected vector).
    ("float32", "embedding"): {"rtol": 0.0, "atol": 1e-5},
    # Pooled by mean and normalised, the tiny models agree to 8e-7. Here the smallest planted fault (tanh for erf in
    # GELU, 1.5e-4) is 100 times the tolerance; at the promised 1e-5 it would be seen, but only 15 times over.
    ("float32", "tiny embedding"): {"rtol": 0.0, "atol": 1.25e-6},
    ("float32", "score"): {"rtol": 1e-5, "atol": 1e-5},
    ("float32", "similarity"): {"rtol": 0.0, "atol": 1e-5},
    ("bfloat16", "embedding"): {"rtol": 0.0, "atol": 1e-2},
    ("bfloat16", "score"): {"rtol": 2e-2, "atol": 2e-2},
    ("float16", "embedding"): {"rtol": 0.0, "atol": 1e-3},
    ("float16", "score"): {"rtol": 1e-2, "atol": 1e-2},
    # What training computes.
    ("float64", "loss"): {"rtol": 1e-12, "atol": 1e-12},
    ("float32", "loss"): {"rtol": 1e-5, "atol": 1e-5},
    ("float32", "gradient"): {"rtol": 1e-4, "atol": 1e-5},
    ("float32", "loss of a step"): {"rtol": 0.0, "atol": 1e-4},
    ("bfloat16", "loss"): {"rtol": 1e-2, "atol": 1e-2},
    # What evaluation computes.
    ("float64", "measure"): {"rtol": 0.0, "atol": 1e-9},
}
"""(dtype of the computation, what is compared) -> the largest relative and absolute error."""


def excess(actual: Any, expected: Any, op: str, *, dtype: str = "float32") -> float:
    """The largest error in units of the tolerance: at most 1 where the two agree.

    Args:
        actual: what we give; anything that numpy takes.
        expected: what the reference gives, of the same shape.
        op: what is compared; with `dtype` a key of `TOL`.
        dtype: the type of the computation.

    Returns:
        The worst `|actual - expected| / max(atol, rtol * |expected|)`; infinite where either is not finite.
    """
    got, want = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    assert got.shape == want.shape, f"shape {got.shape}, expected {want.shape}"
    if got.size == 0:
        return 0.0
    if not (np.isfinite(got).all() and np.isfinite(want).all()):
        return float("inf")
    tolerance = TOL[dtype, op]
    error = np.abs(got - want)
    if op.endswith("embedding"):
        error = error / np.maximum(1.0, np.linalg.norm(want, axis=-1, keepdims=True))
    return float((error / np.maximum(tolerance["atol"], tolerance["rtol"] * np.abs(want))).max())


def assert_agrees(actual: Any, expected: Any, op: str, *, dtype: str = "float32", what: str = "") -> None:
    """Fails where the two differ by more than the tolerance, naming the worst row.

    Args:
        actual: what we give; anything that numpy takes.
        expected: what the reference gives, of the same shape.
        op: what is compared; with `dtype` a key of `TOL`.
        dtype: the type of the computation.
        what: words for the message, such as the family and the engine.

    Raises:
        AssertionError: they differ.
    """
    worst = excess(actual, expected, op, dtype=dtype)
    if worst <= 1:
        return
    got, want = np.atleast_1d(np.asarray(actual)), np.atleast_1d(np.asarray(expected))
    rows = [excess(got[i], want[i], op, dtype=dtype) for i in range(len(got))]
    row = int(np.argmax(rows))
    over = sum(r > 1 for r in rows)
    raise AssertionError(
        f"{what}: {op} in {dtype} differs by {worst:.3g} x the tolerance {TOL[dtype, op]}; "
        f"{over} of {len(rows)} rows, worst row {row}:\n  got      {got[row]}\n  expected {want[row]}"
    )
