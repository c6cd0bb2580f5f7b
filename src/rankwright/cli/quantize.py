"""A model in int8, and what that costs.

In: parsed options. Out: a table or JSON on stdout, a folder; exit code 1 where int8 does not hold.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from rankwright.cli.printing import print_json, print_table, say
from rankwright.workflow.quantizing import quantization_rows, quantize_model


def quantize_verb(
    model: str, source: str, *, out: Path, data: Sequence[str], column: str | None, kind: str | None, as_json: bool
) -> None:
    """Quantise a model, and say what it lost."""
    found = quantize_model(model, source, out, column=column, data=data, kind=kind, say=say)
    if as_json:
        print_json(found.to_json())
    else:
        calibrated = f"calibrated on {found.num_calibrated} {found.inputs}, judged on {found.num_held_out} others"
        print_table(quantization_rows(found), title=f"{found.model} ({found.kind}) in int8, {calibrated}")
        verdict = "int8 holds: written to" if found.holds else "int8 does NOT hold: nothing was written to"
        sys.stdout.write(f"{verdict} {out}\n")
    if not found.holds:
        raise SystemExit(1)
