"""`python -m bench.table [RESULT.json]`: write the README's table, each row from the newest result that holds it."""

import json
import sys
from pathlib import Path
from typing import Any

from bench.gate import ROOT

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
HEAD = (
    "Work",
    "rankwright",
    "to the peer's best setting",
    "to the peer as it comes",
    "peer's best setting",
    "peer as it comes",
)


def main() -> None:
    """Read the result, replace what stands between the markers."""
    paths = [Path(argument) for argument in sys.argv[1:]] or sorted((ROOT / "bench" / "results").glob("*.json"))
    report = newest_rows([json.loads(path.read_text(encoding="utf-8")) for path in paths])
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(between_markers(text, table_of(report)), encoding="utf-8")
    print(f"README.md: table written from {', '.join(path.name for path in paths)}", file=sys.stderr)


def newest_rows(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """The newest report, with the rows that it lacks from older ones of the same machine."""
    *older, newest = reports
    rows = {row["row"]: row for report in older if report["machine"] == newest["machine"] for row in report["rows"]}
    return newest | {"rows": list((rows | {row["row"]: row for row in newest["rows"]}).values())}


def between_markers(text: str, table: str) -> str:
    """The text with the table between its markers.

    Raises:
        ValueError: a marker is missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md must hold {BEGIN!r} and {END!r}, in this order.")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def table_of(report: dict[str, Any]) -> str:
    """The table and the sentence that names the machine and the versions."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for row in report["rows"]:
        lines += [line_of(row, entry) for entry in row["entries"] if entry["side"] == "ours"]
    machine, versions = report["machine"], report["versions"]["main"]
    packages = ", ".join(f"{name} {versions[name]}" for name in versions if name not in ("rankwright", "numpy"))
    flags = ", ".join(machine["flags"])
    return "\n".join(lines) + (
        f"\n\nMeasured {report['started'][:10]} on {machine['cores']} cores of {machine['cpu']} ({flags}): medians, "
        "all of a row in one run, in turn, each in its own process. MiniLM-L6, documentation strings of packages; "
        "given embeddings are random. "
        f"The peer is sentence-transformers; {packages}."
    )


def line_of(row: dict[str, Any], ours: dict[str, Any]) -> str:
    """One line of the table: an entry of ours beside the peer's first and its best."""
    peers = [entry for entry in row["entries"] if entry["side"] == "peer"]
    best = min(peers, key=lambda entry: entry["cost"]["median"])
    ratio = {pair["peer"]: pair["ratio"]["median"] for pair in row["ratios"] if pair["ours"] == ours["name"]}
    name = ours["name"].removeprefix("rankwright").strip()
    cells = [
        row["work"] + (f" ({name})" if name else ""),
        value_of(ours, row["unit"]),
        f"**{ratio[best['name']]:.3g}x**",
        f"{ratio[peers[0]['name']]:.3g}x",
        value_of(best, row["unit"]) + (f", {best['name']}" if best is not peers[0] else ""),
        value_of(peers[0], row["unit"]),
    ]
    return "| " + " | ".join(cells) + " |"


def value_of(entry: dict[str, Any], unit: str) -> str:
    """The median with its unit."""
    return f"{entry['value']['median']:.3g} {unit}"


if __name__ == "__main__":
    main()
