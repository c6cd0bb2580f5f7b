"""`python -m bench.table`: write the README's table and docs/performance.md from all results, a machine at a time.

In: bench/results/*.json. Out: tables, and the plots of `bench/plots.py`.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.gate import ROOT
from bench.gpu import GPU_ROWS
from bench.plots import write_plots
from bench.rows import ROWS
from bench.targets import target_lines

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
SPEED_BEGIN, SPEED_END = "<!-- speed: begin -->", "<!-- speed: end -->"
FAMILY, GPU, STATES = "family-", "gpu-", "gpu-states-"
"""What the names of the rows about one family, about a GPU, and about a GPU's states start with."""

ORDER = {row.name: place for place, row in enumerate(ROWS + GPU_ROWS)}
"""Rows stand in the order of `rows.py`, whenever they were measured."""

PAGE = "docs/performance.md"
COMPATIBILITY = "docs/compatibility.md"


def main() -> None:
    """Read the results, write README and page."""
    paths = sorted((ROOT / "bench" / "results").glob("*.json"))
    machines = by_machine([json.loads(path.read_text(encoding="utf-8")) for path in paths])
    replace(ROOT / "README.md", (BEGIN, END), short_tables(machines))
    (ROOT / PAGE).parent.mkdir(exist_ok=True)
    (ROOT / PAGE).write_text(performance_page(machines), encoding="utf-8")
    if (ROOT / COMPATIBILITY).is_file():
        replace(ROOT / COMPATIBILITY, (SPEED_BEGIN, SPEED_END), family_tables(machines))
    print(f"README.md, {PAGE}: written from {', '.join(path.name for path in paths)}", file=sys.stderr)


def by_machine(reports: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One report for each machine, the newest first, with the rows that it lacks from older ones of that machine."""
    merged: dict[str, dict[str, Any]] = {}
    for report in sorted(reports, key=lambda report: report["started"]):
        key = json.dumps(report["machine"], sort_keys=True)
        rows = {row["row"]: row | {"started": report["started"]} for row in report["rows"]}
        curves = {curve["curve"]: curve for curve in report.get("curves", ())}
        quality = {found["data"]: found for found in report.get("quality", ())}
        before = merged.pop(key, None)
        if before is not None:
            rows = {row["row"]: row for row in before["rows"]} | rows
            curves = {curve["curve"]: curve for curve in before["curves"]} | curves
            quality = {found["data"]: found for found in before["quality"]} | quality
        in_order = sorted(rows.values(), key=lambda row: ORDER.get(row["row"], len(ORDER)))
        lists = {"rows": in_order, "curves": list(curves.values()), "quality": list(quality.values())}
        merged[key] = report | lists
    return list(reversed(merged.values()))


def replace(path: Path, markers: tuple[str, str], text: str) -> None:
    """Put the text between two markers of a file."""
    path.write_text(between_markers(path.read_text(encoding="utf-8"), text, markers), encoding="utf-8")


def between_markers(text: str, table: str, markers: tuple[str, str] = (BEGIN, END)) -> str:
    """The text with the table between its markers.

    Raises:
        ValueError: a marker is missing.
    """
    before, begin, rest = text.partition(markers[0])
    _, end, after = rest.partition(markers[1])
    if not begin or not end:
        raise ValueError(f"the file must hold {markers[0]!r} and {markers[1]!r}, in this order.")
    return f"{before}{begin}\n{table}\n{end}{after}"


def short_tables(machines: Sequence[dict[str, Any]]) -> str:
    """A table for the CPUs and one for the GPUs: a line for each work, a column for each machine."""
    tables = []
    for has_gpu in (False, True):
        columns = [report for report in machines if ("gpu" in report["machine"]) == has_gpu]
        rows: dict[str, dict[int, str]] = {}
        for i, report in enumerate(columns):
            for row in report["rows"]:
                if not row["row"].startswith((FAMILY, STATES)):
                    ours = next(entry for entry in row["entries"] if entry["side"] == "ours")
                    _, best, as_it_comes = compared(row, ours)
                    text = f"{value_of(ours, row['unit'])}: **{best:.3g}x** ({as_it_comes:.3g}x)"
                    rows.setdefault(row["work"].removeprefix("GPU: "), {})[i] = text
        if rows:
            lines = [[w, *(c.get(i, "") for i in range(len(columns)))] for w, c in rows.items()]
            tables += [table(["Work", *map(label, columns)], lines), method(columns[0])]
    meaning = "In bold the ratio to the peer's best setting, in parentheses to the peer as it comes."
    return "\n\n".join([meaning, *tables])


def performance_page(machines: Sequence[dict[str, Any]]) -> str:
    """docs/performance.md: everything that was measured, the newest machine first."""
    parts = [
        "# Performance\n",
        "Written by `make bench` from `bench/results/`. Each row is one run: all contestants in turn, each in its own "
        "process (on a GPU in its own thread), on the same texts; medians, with the smallest and largest value. Ratios "
        "over 1 are in our favour. "
        "The first line of a row is the peer, sentence-transformers, as it comes. The limit is the time of the matrix "
        "products alone, without padding, each layer for every token; the fastest of its runs is what we are held to. "
        "Of a cross-encoder's last layer we compute what the first token needs, a seventh of all less: there, part of "
        "what is reached is saved.\n",
    ]
    parts += [
        "## Targets\n",
        "In bold what is kept. Behind a ratio that is not: the largest that the products alone allow on that machine. "
        "The targets of CPUs were set on one that multiplies bfloat16, two to five times as fast as float32.\n",
        table(["work", "wanted", *map(label, machines)], target_lines(machines)) + "\n",
    ]
    for report in machines:
        parts += [f"## {label(report)}\n", method(report) + "\n"]
        for row in report["rows"]:
            if not row["row"].startswith(FAMILY):
                parts += [f"### {row['work'][0].upper()}{row['work'][1:]}\n", row_table(row) + "\n"]
        parts += [quality_table(report["quality"]) + "\n"] if report["quality"] else []
        parts += [f"![{curve['title']}]({path})\n" for curve, path in write_plots(report, ROOT / "docs")]
    return "\n".join(parts)


def row_table(row: dict[str, Any]) -> str:
    """All entries of a row, and what could not be measured."""
    has_memory = any(entry.get("working_memory_gb") for entry in row["entries"])
    head = ["", row["unit"], "smallest to largest", "ours over it", *(["working memory, GB"] if has_memory else [])]
    ours = next(entry for entry in row["entries"] if entry["side"] == "ours")
    ratios = {pair["peer"]: pair["ratio"]["median"] for pair in row["ratios"] if pair["ours"] == ours["name"]}
    for entry in row["entries"]:
        if entry["side"] == "limit":  # its fastest run: nothing that slows it down makes us better
            ratios[entry["name"]] = entry["cost"]["min"] / ours["cost"]["median"]
    lines = [
        [
            f"**{entry['name']}**" if entry["side"] == "ours" else entry["name"],
            short(entry["value"]["median"]),
            f"{short(entry['value']['min'])} to {short(entry['value']['max'])}",
            beside(entry["side"], ratios.get(entry["name"])),
            *([short(entry.get("working_memory_gb", 0.0))] if has_memory else []),
        ]
        for entry in row["entries"]
    ]
    skipped = "".join(
        f"\n\n{entry['name']}: not measured, {entry['reason']}." for entry in row["skipped"] if "reason" in entry
    )
    return table(head, lines) + skipped


def quality_table(found: Sequence[dict[str, Any]]) -> str:
    """What each compute type costs in a measure."""
    types = list(dict.fromkeys(dtype for data in found for dtype in data["values"]))
    lines = [
        [
            f"{data['data']} ({data['queries']:,} queries)",
            *(
                f"{data['values'][dtype]:.4f} ({data['values'][dtype] - data['values']['float32']:+.4f})"
                for dtype in types
            ),
        ]
        for data in found
    ]
    return f"### {found[0]['measure']} of MiniLM-L6 by compute type\n\n{table(['', *types], lines)}\n\n" + " ".join(
        [
            "In parentheses the difference to float32 on the same device.",
            *sorted({data["note"] for data in found if "note" in data}),
        ]
    )


def beside(side: str, ratio: float | None) -> str:
    """What stands in the last column: how many times faster we are, or how much of the limit we reach."""
    if ratio is None:
        return ""
    return f"{100 * ratio:.0f} % reached" if side == "limit" else f"{ratio:.3g}x"


def family_tables(machines: Sequence[dict[str, Any]]) -> str:
    """For docs/compatibility.md: each family with random weights, both engines beside the peer as it comes."""
    parts = []
    for report in machines:
        rows = [row for row in report["rows"] if row["row"].startswith(FAMILY)]
        if rows:
            lines = [
                [row["row"].removeprefix(FAMILY), *(f"{pair['ratio']['median']:.2f}x" for pair in row["ratios"])]
                for row in rows
            ]
            parts += [
                table(["family", "openvino", "torch"], lines),
                f"On {label(report)}. {why_not(report, rows)}".strip(),
            ]
    return "\n\n".join(parts)


def why_not(report: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """Why a ratio is under 3, where one is."""
    if all(pair["ratio"]["median"] >= 3 for row in rows for pair in row["ratios"]):
        return ""
    if not {"avx512_bf16", "amx_bf16"} & set(report["machine"]["flags"]):
        return (
            "Less than 3x, for this CPU has no bfloat16: both libraries multiply in float32 near the same limit, and "
            "what is left to win is padding and overhead. Of a static table most of the time is the tokenizer's, which "
            "is the same library in both."
        )
    return "Where it is less than 3x, see the profile in LOG.md."


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def label(report: dict[str, Any]) -> str:
    """A machine in a few words: two of one name differ in what they multiply."""
    machine = report["machine"]
    if "gpu" in machine:
        return f"{machine['gpu'].partition(' (')[0]}, {machine['cores']} cores of {machine['cpu']}"
    return f"{machine['cores']} cores of {machine['cpu']} ({machine['flags'][-1] if machine['flags'] else 'no flags'})"


def method(report: dict[str, Any]) -> str:
    """Date, instructions and versions."""
    versions = report["versions"]["main"]
    packages = ", ".join(f"{name} {versions[name]}" for name in versions if name not in ("rankwright", "numpy"))
    days = sorted({row.get("started", report["started"])[:10] for row in report["rows"]})
    gpu = f"one {report['machine']['gpu']} with " if "gpu" in report["machine"] else ""
    return (
        f"Measured {' and '.join(days)} on {gpu}{report['machine']['cores']} cores of {report['machine']['cpu']} "
        f"({', '.join(report['machine']['flags'])}): MiniLM-L6 where no other model is named, documentation strings of "
        "packages; "
        f"given embeddings are random; {packages}."
    )


def compared(row: dict[str, Any], ours: dict[str, Any]) -> tuple[dict[str, Any], float, float]:
    """The peer's best entry, and our ratios to it and to the peer as it comes."""
    peers = [entry for entry in row["entries"] if entry["side"] == "peer"]
    best = min(peers, key=lambda entry: entry["cost"]["median"])
    ratio = {pair["peer"]: pair["ratio"]["median"] for pair in row["ratios"] if pair["ours"] == ours["name"]}
    return best, ratio[best["name"]], ratio[peers[0]["name"]]


def value_of(entry: dict[str, Any], unit: str) -> str:
    """The median with its unit."""
    return f"{short(entry['value']['median'])} {unit}"


def short(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 999.5 else f"{value:.3g}"


if __name__ == "__main__":
    main()
