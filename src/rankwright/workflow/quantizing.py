"""A model in int8: calibrated on one half of the user's texts, judged on the other, and written if it holds.

In: a model's name, texts, data to measure on. Out: `Quantization`, a folder. Letters: B texts or pairs.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rankwright.errors import ConfigError, DataError
from rankwright.evaluation.parity import MOST_RANKED, kendall_tau, unit_of
from rankwright.files import check_writable
from rankwright.models import BiEncoder, CrossEncoder
from rankwright.models.checkpoint_write import check_room
from rankwright.models.opening import open_model
from rankwright.models.similarity import unit
from rankwright.text.tokens import Text
from rankwright.workflow.evaluations import evaluate
from rankwright.workflow.measuring import read_evaluation_data
from rankwright.workflow.verify_texts import Material, read_given_pairs

MOST_CALIBRATED, MOST_HELD_OUT = 512, 256
"""Texts (or pairs) that suffice for each half; more take longer."""

LEAST_TEXTS = 16

LEAST_TAU = 0.85
"""Kendall's tau between the orders in float32 and in int8, of texts that were not calibrated on."""

MOST_LOST = 0.005
"""What the primary measure may lose, absolute."""


@dataclass(frozen=True)
class Loss:
    """The primary measure of one data set in float32 and in int8."""

    dataset: str
    measure: str
    float32: float
    int8: float

    @property
    def holds(self) -> bool:
        """Whether no more is lost than `MOST_LOST`."""
        return round(self.float32 - self.int8, 5) <= MOST_LOST


@dataclass(frozen=True)
class Quantization:
    """What int8 costs and gains.

    Attributes:
        model: as the user named it.
        kind: of the model.
        num_calibrated: texts (or pairs) that the levels were fitted to.
        num_held_out: others, which tell the agreement and the speed.
        kendall_tau: of a cross-encoder's scores of all pairs; of a bi-encoder the mean over the texts, each of which is
            the query of the others. None where all scores are equal.
        lowest_cosine: between the embeddings of a text; None for a cross-encoder.
        texts_per_s: by type: float32, what "auto" takes, and int8 unless this CPU emulates it.
        losses: one for each data set.
    """

    model: str
    kind: str
    num_calibrated: int
    num_held_out: int
    kendall_tau: float | None
    lowest_cosine: float | None
    texts_per_s: dict[str, float]
    losses: tuple[Loss, ...]

    @property
    def holds(self) -> bool:
        """Whether the order and every measure are kept."""
        return (self.kendall_tau or 0) >= LEAST_TAU and all(loss.holds for loss in self.losses)

    @property
    def inputs(self) -> str:
        """What the model runs: texts or pairs."""
        return unit_of(self.kind)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {"holds": self.holds, "least_kendall_tau": LEAST_TAU, "most_lost": MOST_LOST, **asdict(self)}


def quantize_model(
    name: str,
    source: str,
    out: Path,
    *,
    column: str | None = None,
    data: Sequence[str] = (),
    kind: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Quantization:
    """Quantise a model, and write it if it keeps its order and its measures.

    Args:
        name: folder or Hub name of the model.
        source: a file of texts or pairs like those that the model will run, or "-" for texts on standard input.
        out: the folder to write; nothing is written where int8 does not hold.
        column: the column of the texts.
        data: what the primary measure is compared on, as `evaluate` takes it.
        kind: of the model; None: what its files say.
        say: is told what is being done.

    Returns:
        The report.

    Raises:
        DataError: fewer than `LEAST_TEXTS` different texts (or pairs).
        ConfigError: a folder that may not be replaced, or a cross-encoder with several outputs, which give no order.
    """
    check_room(out)
    check_writable(out.parent)
    examined = [read_evaluation_data(each) for each in data]
    exact = open_model(name, kind=kind, engine="openvino", dtype="float32", device="cpu")
    if out.exists() and out.samefile(exact.folder):
        raise ConfigError(f"{out} is the model's own folder, whose other files would be lost. Give another folder.")
    if getattr(exact, "num_labels", 1) != 1:
        raise ConfigError(f"{name}: several outputs give no order to compare int8 by. Use model.quantize(texts).")
    texts = list(dict.fromkeys(Material(exact.kind, read_given_pairs(source, column=column)).texts))
    if len(texts) < LEAST_TEXTS:
        raise DataError(
            f"{source}: {len(texts)} different {unit_of(exact.kind)}, expected {LEAST_TEXTS} or more, best a few "
            "hundred."
        )
    calibrated, held_out = _halves(texts)
    say(f"calibrating on {len(calibrated)} {unit_of(exact.kind)}")
    quantized = exact.quantize(calibrated)
    speeds, outputs = {}, {}
    for model in (quantized, exact, exact.with_dtype("auto")):
        if model.dtype not in speeds:
            say(f"running {len(held_out)} others in {model.dtype}")
            outputs[model.dtype], speeds[model.dtype] = _run(model, held_out)
    if quantized.checkpoint.engine.emulates:
        del speeds["int8"]
    losses = []
    for each in examined:
        say(f"measuring on {each.name} in float32 and int8")
        before, after = (evaluate(model, each, references=False).evaluations[0] for model in (exact, quantized))
        values = (round(found.measures[before.primary], 5) for found in (before, after))
        losses.append(Loss(each.name, before.primary, *values))
    tau, cosine = _agreement(outputs["float32"], outputs["int8"], exact.kind)
    found = Quantization(name, exact.kind, len(calibrated), len(held_out), tau, cosine, speeds, tuple(losses))
    if found.holds:
        quantized.save(out)
    return found


def quantization_rows(found: Quantization) -> list[list[str]]:
    """The report as a table.

    Args:
        found: of `quantize_model`.

    Returns:
        Rows; the first is the head.
    """
    tau = "-" if found.kendall_tau is None else f"{found.kendall_tau:.4f}"
    rows = [["what", "int8", "float32", "allowed"], ["Kendall's tau to float32", tau, "1.0000", f">= {LEAST_TAU}"]]
    if found.lowest_cosine is not None:
        rows.append(["lowest cosine to float32", f"{found.lowest_cosine:.4f}", "1.0000", "-"])
    for loss in found.losses:
        allowed = f">= {loss.float32 - MOST_LOST:.4f}"
        rows.append([f"{loss.measure} on {loss.dataset}", f"{loss.int8:.4f}", f"{loss.float32:.4f}", allowed])
    speeds = found.texts_per_s
    int8 = f"{speeds['int8']:,.1f}" if "int8" in speeds else "emulated"
    rows.append([f"{found.inputs}/s", int8, f"{speeds['float32']:,.1f}", "-"])
    return rows


def _halves(texts: Sequence[Text]) -> tuple[list[Text], list[Text]]:
    """Texts to calibrate on and others, both from the whole file."""
    chosen = np.random.default_rng(0).permutation(len(texts))
    middle = min(len(texts) // 2, MOST_CALIBRATED)
    return [texts[i] for i in chosen[:middle]], [texts[i] for i in chosen[middle : middle + MOST_HELD_OUT]]


def _run(model: BiEncoder | CrossEncoder, texts: Sequence[Any]) -> tuple[np.ndarray, float]:
    """The model's rows, and texts a second without what the first batches of a shape cost."""
    run = model.encode if isinstance(model, BiEncoder) else model.predict
    run(list(texts))
    started = time.perf_counter()
    rows = np.asarray(run(list(texts)))
    return rows, round(len(texts) / (time.perf_counter() - started), 1)


def _agreement(exact: np.ndarray, found: np.ndarray, kind: str) -> tuple[float | None, float | None]:
    """Kendall's tau, and the lowest cosine of embeddings."""
    if kind == "cross-encoder":
        tau = kendall_tau(found.reshape(-1)[:MOST_RANKED], exact.reshape(-1)[:MOST_RANKED])
        return (None if tau is None else round(tau, 5)), None
    exact_BE, found_BE = unit(exact), unit(found)
    scores_BB, found_BB = exact_BE @ exact_BE.T, found_BE @ found_BE.T
    others = ~np.eye(len(exact), dtype=bool)
    taus = [kendall_tau(found_BB[i][others[i]], scores_BB[i][others[i]]) for i in range(len(exact))]
    known = [tau for tau in taus if tau is not None]
    return (round(float(np.mean(known)), 5) if known else None), round(float((exact_BE * found_BE).sum(-1).min()), 5)
