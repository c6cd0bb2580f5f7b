"""What this machine does with a model: each engine and type at several lengths, and on the user's texts.

In: a model's name, and texts. Out: `SpeedReport`. Letters: B texts, E values of each.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np

from rankwright.errors import ConfigError, ValueRangeError
from rankwright.evaluation.parity import kendall_tau, unit_of
from rankwright.models import BiEncoder, CrossEncoder
from rankwright.models.opening import open_model
from rankwright.models.similarity import unit
from rankwright.text.tokens import Text
from rankwright.workflow.facts import cpu_name
from rankwright.workflow.verify import computations
from rankwright.workflow.verify_texts import built_in_pairs

LENGTHS = (16, 64, 128, 256, 512)
"""Tokens of a text, special tokens included, as far as the model has positions for them."""

MIXED = "mixed"
"""What stands in place of a length where the texts are the user's own."""

CALIBRATION_TEXTS = 8
"""Texts that tell how many are needed to fill the time."""


@dataclass(frozen=True)
class Speed:
    """One engine in one type at one length.

    `latency_ms` is the median of single texts; `agreement` compares with float32 of the first engine: the lowest cosine
    of embeddings, or Kendall's tau of scores (None where all are equal). `is_auto` is what "auto" takes.
    """

    engine: str
    dtype: str
    device: str
    tokens: int | str
    texts_per_s: float
    tokens_per_s: float
    latency_ms: float
    agreement: float | None
    is_auto: bool


@dataclass(frozen=True)
class SpeedReport:
    """All of a model on a machine."""

    model: str
    kind: str
    cpu: str
    speeds: tuple[Speed, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


def measure_speed(
    name: str,
    texts: Sequence[str] = (),
    *,
    kind: str | None = None,
    lengths: Sequence[int] = (),
    seconds: float = 1.0,
    say: Callable[[str], None] = lambda text: None,
) -> SpeedReport:
    """Run a model in each engine and native type.

    Args:
        name: folder or Hub name of the model.
        texts: the user's, run as they are beside texts of fixed lengths; of a cross-encoder the first one is the query.
        kind: of the model; None: what its files say.
        lengths: tokens; none: those of `LENGTHS` that the model has positions for.
        seconds: how long each throughput is measured, and half of it each latency.
        say: is told what is being done.

    Returns:
        The report, in the order in which it was measured.

    Raises:
        ConfigError: too few texts for a cross-encoder.
        ValueRangeError: a length that the model has no positions for, or no time.
    """
    if seconds <= 0:
        raise ValueRangeError(f"seconds must be > 0, got {seconds}.")
    auto = open_model(name, kind=kind)
    if texts and auto.kind == "cross-encoder" and len(texts) < 2:
        raise ConfigError("a cross-encoder is measured on pairs: give two texts or more; the first one is the query.")
    chosen = list(lengths) or [length for length in LENGTHS if length <= auto.max_length] or [auto.max_length]
    for length in chosen:
        auto.checkpoint.spec.architecture.check_max_length(length, auto.folder)
    sizes: list[int | str] = [*chosen, *([MIXED] if texts else [])]
    speeds: list[Speed] = []
    references: dict[int | str, np.ndarray] = {}
    for model in computations(auto):
        say(f"running {model.checkpoint.engine.name} in {model.dtype} on {model.device}")
        for tokens in sizes:
            model.max_length = tokens if isinstance(tokens, int) else auto.max_length
            material = _of_length(tokens, model) if isinstance(tokens, int) else _as_pairs(texts, model)
            output = _run(model, material[:CALIBRATION_TEXTS])
            texts_per_s = _throughput(model, material, seconds)
            mean_tokens = model.tokenize(material[:256]).num_tokens / len(material[:256])
            is_auto = (model.checkpoint.engine.name, model.dtype) == (auto.checkpoint.engine.name, auto.dtype)
            speeds.append(
                Speed(
                    engine=model.checkpoint.engine.name,
                    dtype=model.dtype,
                    device=model.device,
                    tokens=tokens,
                    texts_per_s=round(texts_per_s, 1),
                    tokens_per_s=round(texts_per_s * mean_tokens),
                    latency_ms=round(_latency_ms(model, material, seconds / 2), 2),
                    agreement=_agreement(output, references.setdefault(tokens, output), model.kind),
                    is_auto=is_auto,
                )
            )
    return SpeedReport(model=name, kind=auto.kind, cpu=cpu_name(), speeds=tuple(speeds))


def speed_rows(report: SpeedReport) -> list[list[str]]:
    """The report as a table.

    Args:
        report: of `measure_speed`.

    Returns:
        Rows; the first is the head. A star marks what "auto" takes.
    """
    agreement = "tau to float32" if report.kind == "cross-encoder" else "lowest cosine to float32"
    head = ["engine", "type", "device", "tokens", f"{unit_of(report.kind)}/s", "tokens/s", "ms for one", agreement]
    return [head, *(_row(speed) for speed in report.speeds)]


def _row(speed: Speed) -> list[str]:
    return [
        speed.engine + (" *" if speed.is_auto else ""),
        speed.dtype,
        speed.device,
        str(speed.tokens),
        f"{speed.texts_per_s:,.1f}",
        f"{speed.tokens_per_s:,.0f}",
        f"{speed.latency_ms:,.1f}",
        "-" if speed.agreement is None else f"{speed.agreement:.5f}",
    ]


def _of_length(tokens: int, model: BiEncoder | CrossEncoder) -> list[Any]:
    """Different texts (or pairs) that the maximum length cuts to so many tokens."""
    words = [word for pair in built_in_pairs() for text in pair for word in text.split()[:40]]
    count = 2 * CALIBRATION_TEXTS
    long = [" ".join(islice(cycle(words[i * 7 % len(words) :] + words[:7]), tokens)) for i in range(count)]
    return long if model.kind == "bi-encoder" else [("what is measured here", text) for text in long]


def _as_pairs(texts: Sequence[str], model: BiEncoder | CrossEncoder) -> list[Any]:
    return list(texts) if model.kind == "bi-encoder" else [(texts[0], text) for text in texts[1:]]


def _run(model: BiEncoder | CrossEncoder, material: Sequence[Any]) -> np.ndarray:
    rows = model.encode(list(material)) if isinstance(model, BiEncoder) else model.predict(list(material))
    return np.asarray(rows)


def _throughput(model: BiEncoder | CrossEncoder, material: Sequence[Any], seconds: float) -> float:
    """Texts a second, the best of two passes that fill the time together; no text is in a pass twice."""
    started = time.perf_counter()
    _run(model, material[:CALIBRATION_TEXTS])
    one = (time.perf_counter() - started) / len(material[:CALIBRATION_TEXTS])
    count = max(CALIBRATION_TEXTS, int(seconds / 2 / one))
    # an ending of its own makes each text different: equal ones would be run once
    chosen = [_numbered(text, i) for i, text in enumerate(islice(cycle(material), count))]
    _run(model, chosen)
    best = 0.0
    for _ in range(2):
        started = time.perf_counter()
        _run(model, chosen)
        best = max(best, len(chosen) / (time.perf_counter() - started))
    return best


def _numbered(text: Text, number: int) -> Text:
    return f"{number} {text}" if isinstance(text, str) else (f"{number} {text[0]}", text[1])


def _latency_ms(model: BiEncoder | CrossEncoder, material: Sequence[Any], seconds: float) -> float:
    """Median milliseconds of one text."""
    taken: list[float] = []
    for text in cycle(material):
        started = time.perf_counter()
        _run(model, [text])
        taken.append(1000 * (time.perf_counter() - started))
        if len(taken) >= 3 and sum(taken) > 1000 * seconds:
            return float(np.median(taken[1:]))
    raise AssertionError("material is never empty")


def _agreement(output: np.ndarray, reference: np.ndarray, kind: str) -> float | None:
    if kind == "bi-encoder":
        return round(float((unit(output) * unit(reference)).sum(-1).min()), 6)
    first, second = (rows.reshape(len(rows), -1)[:, 0] for rows in (output, reference))
    tau = kendall_tau(first, second)
    return None if tau is None else round(tau, 6)
