"""The rows of the speed table: which work, whose, in which environment, how often.

In: the inputs folder. Out: one JSON value a row: what a run cost each entry (seconds, or megabytes), and the ratios of
theirs to ours.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bench import retrieval
from bench.gate import ROOT, Contestant, environment
from bench.inputs import NUM_CANDIDATES, NUM_DOCUMENTS, NUM_QUERIES, NUM_TRAINING_PAIRS
from bench.machine import machine
from bench.sizes import installed_megabytes

PYTHON = Path(sys.executable)
OPENVINO_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
"""The peer's OpenVINO backend needs older packages than the rest: `make bench` makes this environment."""


@dataclass(frozen=True)
class Entry:
    """One line of a row: whose it is, under which name, and what runs where.

    `what` names a contestant, or is code for a fresh process, or a distribution whose size is asked.
    """

    name: str
    side: str
    what: str
    python: Path = PYTHON


@dataclass(frozen=True)
class Row:
    """One kind of work; the first entry is the peer as it comes. With `items`, a speed is shown: items per second."""

    name: str
    work: str
    unit: str
    entries: tuple[Entry, ...]
    measure: Callable[[Sequence[Entry], Path, int], list[dict[str, Any]]]
    rounds: int
    items: int | None = None


def run_row(row: Row, inputs: Path) -> dict[str, Any]:
    """Measure a row.

    Args:
        row: which.
        inputs: the folder that `write_inputs` wrote.

    Returns:
        The row as JSON; entries whose environment is not there are named under `skipped`.
    """
    entries = [entry for entry in row.entries if entry.python.is_file()]
    measured = row.measure(entries, inputs, row.rounds)
    lines = [
        {
            "name": entry.name,
            "side": entry.side,
            **found,
            "cost": summary(found["cost"]),
            "value": summary([row.items / cost for cost in found["cost"]] if row.items else found["cost"]),
        }
        for entry, found in zip(entries, measured, strict=True)
    ]
    costs = {(entry.side, entry.name): found["cost"] for entry, found in zip(entries, measured, strict=True)}
    ours, peers = ([name for side, name in costs if side == wanted] for wanted in ("ours", "peer"))
    return {
        "row": row.name,
        "work": row.work,
        "unit": row.unit,
        "rounds": row.rounds,
        "entries": lines,
        "ratios": [
            {"ours": our, "peer": peer, "ratio": summary(np.divide(costs["peer", peer], costs["ours", our]).tolist())}
            for our, peer in product(ours, peers)
        ],
        "skipped": [entry.name for entry in row.entries if entry not in entries],
    }


def summary(values: Sequence[float]) -> dict[str, float]:
    """Smallest, middle and largest, to four digits."""
    found = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def in_turn(entries: Sequence[Entry], inputs: Path, rounds: int) -> list[dict[str, Any]]:
    """Load every contestant in its own process, then let them run in turn, each round from another start.

    A turn begins with a run that is not counted: while a process waits, the system may take its memory back.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        contestants = [
            stack.enter_context(
                Contestant(e.what, python=e.python, inputs=inputs, result_path=folder / f"{e.what}.npy")
            )
            for e in entries
        ]
        seconds: list[list[float]] = [[] for _ in entries]
        for number in range(rounds):
            for index in (np.arange(len(entries)) + number) % len(entries):
                contestants[index].run()
                seconds[index].append(contestants[index].run())
        results = [contestant.result() for contestant in contestants]
    return [{"cost": s, **difference(result, results[0])} for s, result in zip(seconds, results, strict=True)]


def difference(result: np.ndarray | None, reference: np.ndarray | None) -> dict[str, float]:
    """The largest difference to what the peer as it comes computed, where both computed something."""
    if result is None or reference is None:
        return {}
    return {"largest_difference": float(f"{np.abs(result - reference).max():.2g}")}


def fresh_processes(entries: Sequence[Entry], inputs: Path, rounds: int) -> list[dict[str, Any]]:
    """Time whole processes in turn, after one run each that fills the disk cache."""

    def seconds(entry: Entry) -> float:
        start = time.perf_counter()
        command = [entry.python, "-c", entry.what.replace("CROSS_ENCODER", repr(str(inputs / "cross-encoder")))]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment(), cwd=inputs)
        return time.perf_counter() - start

    for entry in entries:
        seconds(entry)
    found = [[seconds(entry) for entry in entries] for _ in range(rounds)]
    return [{"cost": list(column)} for column in zip(*found, strict=True)]


def on_disk(entries: Sequence[Entry], inputs: Path, rounds: int) -> list[dict[str, Any]]:
    """Megabytes of a distribution with all that it needs."""
    del inputs, rounds  # nothing to run, nothing that varies
    return [{"cost": [installed_megabytes(entry.what)]} for entry in entries]


HAS_BFLOAT16 = {"avx512_bf16", "amx_bf16"} & set(machine()["flags"])
"""Elsewhere the peer would emulate it, ten times slower than float32."""

AS_IT_COMES = "sentence-transformers"
FIRST_SCORE = "from {} import CrossEncoder; CrossEncoder(CROSS_ENCODER).predict([('a query', 'a document')])"
HELP = "import sys; sys.argv[1:] = ['--help']; from rankwright.cli import main; main()"

ROWS = (
    Row(
        name="encode",
        work=f"encode {NUM_DOCUMENTS} documents of mixed lengths",
        unit="documents/s",
        entries=(
            Entry(AS_IT_COMES, "peer", "peer-encode"),
            Entry("torch bfloat16", "peer", "peer-encode-bf16"),
            Entry("OpenVINO backend", "peer", "peer-encode-openvino", OPENVINO_PYTHON),
            Entry("rankwright", "ours", "our-encode"),
            Entry("rankwright float32", "ours", "our-encode-float32"),
        ),
        measure=in_turn,
        rounds=4,
        items=NUM_DOCUMENTS,
    ),
    Row(
        name="rerank",
        work=f"rerank {NUM_QUERIES} x {NUM_CANDIDATES} documents",
        unit="s",
        entries=(
            Entry(AS_IT_COMES, "peer", "peer-rerank"),
            Entry("torch bfloat16", "peer", "peer-rerank-bf16"),
            Entry("OpenVINO backend", "peer", "peer-rerank-openvino", OPENVINO_PYTHON),
            Entry("rankwright", "ours", "our-rerank"),
            Entry("rankwright float32", "ours", "our-rerank-float32"),
        ),
        measure=in_turn,
        rounds=3,
    ),
    Row(
        name="train",
        work=f"train a cross-encoder, a step of {NUM_TRAINING_PAIRS} pairs",
        unit="s/step",
        entries=(
            Entry(AS_IT_COMES, "peer", "peer-train"),
            Entry("bf16=True", "peer", "peer-train-bf16"),
            Entry("rankwright", "ours", "our-train"),
            Entry("rankwright float32", "ours", "our-train-float32"),
        ),
        measure=in_turn,
        rounds=2,
    ),
    Row(
        name="evaluate",
        work=f"evaluate retrieval, {retrieval.NUM_QUERIES:,} queries x {retrieval.NUM_DOCUMENTS:,} documents, "
        "embeddings given",
        unit="s",
        entries=(
            Entry(AS_IT_COMES, "peer", "peer-evaluate"),
            Entry("corpus_chunk_size=10000", "peer", "peer-evaluate-chunks"),
            *([Entry("bfloat16 embeddings", "peer", "peer-evaluate-bf16")] if HAS_BFLOAT16 else []),
            Entry("rankwright", "ours", "our-evaluate"),
        ),
        measure=in_turn,
        rounds=3,
    ),
    Row(
        name="search",
        work=f"search the best {retrieval.TOP_K} of {retrieval.NUM_STORED:,} x {retrieval.SIZE} for "
        f"{retrieval.NUM_SEARCHES} queries",
        unit="s",
        entries=(
            Entry(AS_IT_COMES, "peer", "peer-search"),
            Entry("dot_score", "peer", "peer-search-dot"),
            Entry("torch topk", "peer", "torch-search"),
            Entry("numpy argpartition", "peer", "numpy-search"),
            Entry("rankwright", "ours", "our-search"),
            Entry("rankwright float16", "ours", "our-search-float16"),
            Entry("rankwright int8", "ours", "our-search-int8"),
        ),
        measure=in_turn,
        rounds=3,
    ),
    Row(
        name="import",
        work="start Python and import the library",
        unit="s",
        entries=(
            Entry(AS_IT_COMES, "peer", "import sentence_transformers"),
            Entry("rankwright", "ours", "import rankwright"),
            Entry("rankwright --help", "ours", HELP),
        ),
        measure=fresh_processes,
        rounds=3,
    ),
    Row(
        name="first-score",
        work="start Python, load a reranker and score one pair",
        unit="s",
        entries=(
            Entry(AS_IT_COMES, "peer", FIRST_SCORE.format("sentence_transformers")),
            Entry("rankwright", "ours", FIRST_SCORE.format("rankwright")),
        ),
        measure=fresh_processes,
        rounds=3,
    ),
    Row(
        name="size",
        work="installed size for inference, without Python",
        unit="MB",
        entries=(
            Entry(AS_IT_COMES, "peer", "sentence-transformers"),
            Entry("rankwright", "ours", "rankwright"),
        ),
        measure=on_disk,
        rounds=1,
    ),
)
