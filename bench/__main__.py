"""`python -m bench [ROW...]`: measure the rows and write one JSON file to bench/results/."""

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.curves import CURVES, run_curve
from bench.gpu import GPU_ROWS
from bench.inputs import write_inputs
from bench.machine import machine, versions
from bench.measuring import PYTHON, run_row
from bench.rows import OPENVINO_PYTHON, ROWS

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Speed beside sentence-transformers.")
    rows = ROWS + GPU_ROWS
    known = [*(row.name for row in rows), *CURVES]
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"any of: {', '.join(known)}")
    parser.add_argument("--rounds", type=int, help="rounds of each row; by default the row's own")
    parser.add_argument("--out", type=Path, help="the JSON file; by default one named after the time")
    arguments = parser.parse_args()
    names = arguments.rows or [name for name in known if not name.startswith("gpu-") or "gpu" in machine()]
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"no row {unknown[0]!r}; there are: {', '.join(known)}")

    started = datetime.now(UTC)
    report: dict[str, Any] = {
        "started": started.isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {"main": versions(PYTHON)},
        "rows": [],
    }
    if OPENVINO_PYTHON.is_file():
        report["versions"]["openvino backend"] = versions(OPENVINO_PYTHON)
    path = arguments.out or RESULTS / f"{started:%Y%m%dT%H%M%SZ}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder), names)
        by_name = {row.name: row for row in rows}
        for row in (by_name[name] for name in names if name in by_name):
            chosen = replace(row, rounds=arguments.rounds) if arguments.rounds else row
            measured = run_row(chosen, Path(folder))
            show(measured)
            if measured["entries"]:
                report["rows"].append(measured)
            write(path, report)  # what was measured is kept, whatever happens to the rest
        report["curves"] = [run_curve(name, Path(folder), python=PYTHON) for name in CURVES if name in names]
    write(path, report)
    print(f"{path}: written", file=sys.stderr)


def write(path: Path, report: dict[str, Any]) -> None:
    """The report as JSON, whole or not at all."""
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    aside.replace(path)


def show(row: dict[str, Any]) -> None:
    """Print one row for the person who waits."""
    print(f"\n{row['work']} ({row['unit']}, {row['rounds']} rounds)")
    for entry in row["entries"]:
        value = entry["value"]
        print(f"  {entry['name']:<24}{value['median']:>9.4g}   ({value['min']:.4g} to {value['max']:.4g})")
    for ratio in row["ratios"]:
        print(f"  {ratio['ours']} over {ratio['peer']}: {ratio['ratio']['median']:.3g}x")
    for skipped in row["skipped"]:
        print(f"  {skipped['name']}: not measured, {skipped['reason']}", file=sys.stderr)


if __name__ == "__main__":
    main()
