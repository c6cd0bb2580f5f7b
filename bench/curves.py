"""How cost grows with work: the same job at several sizes, ours beside the peer as it comes.

In: the inputs folder. Out: one JSON value a curve, drawn by `bench/plots.py`.
"""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.gate import Contestant


@dataclass(frozen=True)
class Curve:
    """What is drawn: titles, and the sizes at which both are measured."""

    title: str
    x: str
    y: str
    sizes: tuple[int, ...]


CURVES = {
    "length": Curve("Throughput by length", "tokens of a text", "tokens/s", (16, 64, 128, 256)),
    "batch": Curve("Throughput by texts of a batch, 128 tokens each", "texts of a batch", "texts/s", (1, 4, 16, 32)),
    "candidates": Curve("Reranking by number of candidates", "candidates", "seconds", (5, 20, 50, 100)),
    "corpus": Curve(
        "Searching the best 100 for 100 queries", "documents", "seconds", (10_000, 100_000, 300_000, 600_000)
    ),
    "memory-length": Curve("Peak memory by length, 32 texts", "tokens of a text", "MB", (16, 64, 128, 256)),
}


def run_curve(name: str, inputs: Path, *, python: Path) -> dict[str, Any]:
    """Measure a curve.

    Args:
        name: a key of `CURVES`.
        inputs: the folder that `write_inputs` wrote.
        python: the interpreter of both contestants.

    Returns:
        The curve as JSON, with the values of each library.
    """
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for side, library in (("peer", "sentence-transformers"), ("our", "rankwright")):
            path = Path(folder, f"{side}.npy")
            with Contestant(f"{side}-curve-{name}", python=python, inputs=inputs, result_path=path) as contestant:
                contestant.run()
                result = contestant.result()
            assert result is not None
            found[library] = [float(f"{value:.4g}") for value in np.asarray(result).tolist()]
    return {"curve": name, **asdict(CURVES[name]), "series": found}
