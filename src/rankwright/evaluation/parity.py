"""How far an engine is from a reference on the same texts, and whether both rank alike.

In: the `Output` of both. Out: `EngineParity`, and the `Certificate` that a run folder keeps as verify.json. Letters: B
texts (or pairs), E values of each, P pairs of a query and a document.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from rankwright.data import content_sha256
from rankwright.encoder.spec import Kind

TOLERANCES: Mapping[str, Mapping[str, float]] = {
    "bi-encoder": {"float32": 1e-5, "bfloat16": 2e-2, "float16": 2.5e-3, "int8": 6e-2},
    "cross-encoder": {"float32": 1e-5, "bfloat16": 6e-2, "float16": 8e-3, "int8": 1.5e-1},
}
"""What the largest of `differences` may be, by kind and type. float32 is the promise. A half type rounds numbers by
2^-8 (bfloat16) or 2^-11 (float16): this allows 5 roundings for embeddings and 16 for logits, where all-MiniLM-L6-v2
needs 1 and 5, and models of 32 dimensions need 4 and 12. int8 is for its own gate to judge (`workflow/quantizing.py`):
here only what is broken is found."""

MOST_RANKED = 1000
"""Documents of a query whose order is compared at most: the work grows with the square."""


@dataclass(frozen=True)
class Output:
    """What one library gives: a row of values for each text (or pair), a score for each pair, and how fast."""

    values_BE: np.ndarray
    scores_P: np.ndarray
    texts_per_s: float


@dataclass(frozen=True)
class EngineParity:
    """One engine and type beside the reference; None stands for what is not finite or cannot be ranked.

    Attributes:
        engine: "openvino" or "torch".
        device: where it ran.
        dtype: the type of the computation.
        max_difference: the largest of `differences`.
        mean_difference: their mean.
        tolerance: what `max_difference` may be.
        agrees: whether it is.
        worst_text: the text (or pair) that differs most, cut.
        kendall_tau: mean over the queries of tau-b between the two orders of the query's documents.
        lowest_kendall_tau: of any query.
        texts_per_s: texts (or pairs) a second.
        speedup: that, over the reference's.
    """

    engine: str
    device: str
    dtype: str
    max_difference: float | None
    mean_difference: float | None
    tolerance: float
    agrees: bool
    worst_text: str
    kendall_tau: float | None
    lowest_kendall_tau: float | None
    texts_per_s: float
    speedup: float


@dataclass(frozen=True)
class Certificate:
    """What `rankwright verify` found.

    Attributes:
        model: as the user named it.
        kind: of the model.
        weights_sha256: of its model.safetensors; None where the weights are in other files.
        reference: name and version of what was compared with, always in float32 on the CPU.
        has_library: False where no library is installed to compare with, and `reference` is an engine of ours.
        reference_texts_per_s: its speed.
        num_texts: texts (or pairs) that were compared.
        num_given: rows of the user's file that are among them.
        num_pairs: pairs of a query and a document that were ranked.
        token_differences: texts (or pairs) whose token ids are not the reference's; None without a library.
        differing_texts: the first of them, cut.
        engines: each engine and type.
        rankwright: our version.
        cpu: the processor.
        made: when, in UTC.
    """

    model: str
    kind: Kind
    weights_sha256: str | None
    reference: str
    has_library: bool
    reference_texts_per_s: float
    num_texts: int
    num_given: int
    num_pairs: int
    token_differences: int | None
    differing_texts: tuple[str, ...]
    engines: tuple[EngineParity, ...]
    rankwright: str
    cpu: str
    made: str

    @property
    def agrees(self) -> bool:
        """Whether every engine is within its tolerance, and every text has the reference's tokens."""
        return not self.token_differences and all(engine.agrees for engine in self.engines)

    def to_json(self) -> dict[str, object]:
        """The certificate as an object that `json` writes."""
        return {"agrees": self.agrees, **asdict(self)}


def differences(actual_BE: np.ndarray, expected_BE: np.ndarray, *, kind: str, dtype: str) -> np.ndarray:
    """Absolute differences, over a size that is at least 1.

    The size is the length of the expected row for embeddings and the expected value for logits and scores. In a half
    type it is the largest expected value for these: a logit near 0 is a sum of large numbers that cancel, and as
    exact as these.

    Args:
        actual_BE: of the engine.
        expected_BE: of the reference.
        kind: "bi-encoder" or "cross-encoder".
        dtype: the type of the engine.

    Returns:
        (B, E) float64; NaN where either is not finite, or everywhere if the shapes differ.
    """
    if actual_BE.shape != expected_BE.shape:
        return np.full(expected_BE.shape, np.nan)
    actual_BE, expected_BE = actual_BE.astype(np.float64), expected_BE.astype(np.float64)
    sizes = np.abs(expected_BE) if dtype == "float32" else np.abs(expected_BE).max(keepdims=True)
    if kind == "bi-encoder":
        sizes = np.linalg.norm(expected_BE, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        found_BE = np.abs(actual_BE - expected_BE) / np.maximum(1.0, sizes)
    return np.where(np.isfinite(found_BE), found_BE, np.nan)


def kendall_tau(a: np.ndarray, b: np.ndarray) -> float | None:
    """Tau-b of two lists of scores of the same documents: 1 for the same order, -1 for the opposite one.

    Args:
        a: scores.
        b: scores by another system.

    Returns:
        The coefficient, with ties counted as tau-b does; None where one of the lists has no order, or a score is NaN.

    Source:
        Kendall 1945, "The treatment of ties in ranking problems".
    """
    signs_a, signs_b = (np.sign(x[:, None] - x[None, :]) for x in (a.astype(np.float64), b.astype(np.float64)))
    scale = np.sqrt((signs_a**2).sum() * (signs_b**2).sum())
    return float((signs_a * signs_b).sum() / scale) if scale > 0 else None


def rank_agreement(
    actual_P: np.ndarray, expected_P: np.ndarray, *, rankings: Sequence[Sequence[int]]
) -> tuple[float | None, float | None]:
    """Kendall's tau over the documents of each query.

    Args:
        actual_P: scores by the engine.
        expected_P: scores by the reference.
        rankings: the pairs of each query, at most `MOST_RANKED` of which are compared.

    Returns:
        Mean and lowest over the queries; None where no query has an order.
    """
    rows = [np.asarray(ranking[:MOST_RANKED], dtype=np.int64) for ranking in rankings]
    found = [kendall_tau(actual_P[row], expected_P[row]) for row in rows]
    taus = [tau for tau in found if tau is not None]
    return (float(np.mean(taus)), min(taus)) if taus else (None, None)


def weights_sha256(folder: Path) -> str | None:
    """What tells a certificate's model from others.

    Args:
        folder: holds the transformer's weights.

    Returns:
        The SHA-256 of its model.safetensors; None where there is none.
    """
    path = folder / "model.safetensors"
    return content_sha256(path) if path.is_file() else None


def parity_rows(found: Certificate) -> list[list[str]]:
    """A certificate as a table of words, for a terminal or a page to draw.

    Args:
        found: the certificate.

    Returns:
        The head, the reference, then a row for each engine and type.
    """
    unit = unit_of(found.kind)
    head = ["engine", "type", "largest difference", "allowed", "mean", "Kendall's tau", f"{unit}/s", "speed", "agrees"]
    reference = [found.reference, "float32", "-", "-", "-", "-", f"{found.reference_texts_per_s:,.1f}", "1.00x", "-"]
    return [head, reference, *(_row(engine) for engine in found.engines)]


def parity_sentences(found: Certificate) -> list[str]:
    """What the table of a certificate does not say, without any of its texts.

    Args:
        found: the certificate.

    Returns:
        What it was compared with where that is no library, the token ids, and the verdict.
    """
    unit = unit_of(found.kind)
    if not found.has_library:
        tokens = (
            "No reference library was installed (pip install sentence-transformers): the engines stand beside "
            "rankwright's own float32."
        )
    elif found.token_differences:
        tokens = f"{found.token_differences} of {found.num_texts} {unit} have other token ids than the reference's."
    else:
        tokens = f"All {found.num_texts} {unit} have the reference's token ids."
    failed = ", ".join(f"{engine.engine} {engine.dtype}" for engine in found.engines if not engine.agrees)
    verdict = "Agrees" if found.agrees else "DISAGREES"
    return [tokens, f"{verdict} with {found.reference}{f': {failed}' if failed else ''}."]


def unit_of(kind: str) -> str:
    """What a model of that kind runs: "texts", or "pairs" for a cross-encoder."""
    return "pairs" if kind == "cross-encoder" else "texts"


def _row(engine: EngineParity) -> list[str]:
    largest, mean = (
        "not finite" if value is None else f"{value:.1e}" for value in (engine.max_difference, engine.mean_difference)
    )
    return [
        engine.engine if engine.device == "cpu" else f"{engine.engine} ({engine.device})",
        engine.dtype,
        largest,
        f"{engine.tolerance:.1e}",
        mean,
        "-" if engine.kendall_tau is None else f"{engine.kendall_tau:.4f}",
        f"{engine.texts_per_s:,.1f}",
        f"{engine.speedup:.2f}x",
        "yes" if engine.agrees else "NO",
    ]
