"""What is promised of speed and size, and what each machine has shown of it.

In: one report for each machine. Out: lines of a table, in which what is kept stands in bold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.rows import AS_IT_COMES

BEST, LIMIT = "its best setting", "the limit"
OURS = "rankwright"


@dataclass(frozen=True)
class Target:
    """One promise.

    Attributes:
        row: which work.
        wanted: how many times faster than `beside`, or which share of the limit; without `beside` the value at most.
        beside: `AS_IT_COMES`, `BEST`, the name of another entry of the peer, or `LIMIT`.
        name: our entry.
    """

    row: str
    wanted: float
    beside: str = ""
    name: str = OURS


TARGETS = (
    Target("encode", 4.5, AS_IT_COMES),
    Target("encode", 1.3, "OpenVINO backend"),
    Target("encode", 0.75, LIMIT),
    Target("rerank", 9, AS_IT_COMES),
    Target("rerank", 2.5, BEST),
    Target("train", 18, AS_IT_COMES),
    Target("train", 13, BEST),
    Target("train-bi", 8, AS_IT_COMES),
    Target("train-bi", 5, BEST),
    Target("evaluate", 6, AS_IT_COMES),
    Target("import", 0.15),
    Target("import", 0.4, name="rankwright --help"),
    Target("first-score", 1.0),
    Target("size", 400),
    Target("gpu-states-bert-base-512", 0.5, LIMIT),
    Target("gpu-rerank-minilm-l6", 3, BEST),
    Target("gpu-rerank-bert-base", 3, BEST),
    Target("gpu-train-minilm-l6", 3, BEST),
    Target("gpu-train-bert-base", 3, BEST),
)
"""Those of CPUs were set for one that multiplies bfloat16; they are shown for all, and how much each one allows."""


def target_lines(reports: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A line for each target of a work that was measured anywhere.

    Args:
        reports: one for each machine.

    Returns:
        Cells: the work, what is wanted, and what each machine has shown; empty where it was not measured there.
    """
    lines = []
    for target in TARGETS:
        rows = [next((row for row in report["rows"] if row["row"] == target.row), None) for report in reports]
        measured = next((row for row in rows if row is not None), None)
        if measured is not None:
            cells = ["" if row is None else _shown(target, row) for row in rows]
            lines.append([measured["work"], _wanted(target, measured["unit"]), *cells])
    return lines


def _wanted(target: Target, unit: str) -> str:
    if target.beside == LIMIT:
        return f"{100 * target.wanted:.0f} % of the limit"
    if target.beside:
        return f"{target.wanted:g}x {target.beside}"
    return f"at most {target.wanted:g} {unit}" + (f" ({target.name})" if target.name != OURS else "")


def _shown(target: Target, row: dict[str, Any]) -> str:
    """What was reached, in bold if it is enough; of a ratio that is not, also the largest that the products allow."""
    costs = {entry["name"]: entry["cost"]["median"] for entry in row["entries"]}
    peers = [entry["name"] for entry in row["entries"] if entry["side"] == "peer"]
    # The fastest of its runs: nothing that slows the limit down makes us better.
    limit = next((entry["cost"]["min"] for entry in row["entries"] if entry["side"] == "limit"), None)
    if not target.beside:
        value = next(entry["value"]["median"] for entry in row["entries"] if entry["name"] == target.name)
        return _marked(f"{value:.3g} {row['unit']}", is_kept=value <= target.wanted)
    if target.beside == LIMIT:
        share = 0.0 if limit is None else limit / costs[target.name]
        return _marked(f"{100 * share:.0f} %", is_kept=share >= target.wanted) if share else ""
    peer = min(peers, key=lambda name: costs[name]) if target.beside == BEST else target.beside
    ratio = next((pair["ratio"]["median"] for pair in row["ratios"] if (pair["ours"], pair["peer"]) == (OURS, peer)), 0)
    most = f" of {costs[peer] / limit:.2g}x" if limit and 0 < ratio < target.wanted else ""
    return _marked(f"{ratio:.3g}x", is_kept=ratio >= target.wanted) + most if ratio else ""


def _marked(text: str, *, is_kept: bool) -> str:
    return f"**{text}**" if is_kept else text
