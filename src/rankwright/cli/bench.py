"""The speed of a model on this machine.

In: parsed options. Out: a table or JSON on stdout, a JSON file.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rankwright.cli.printing import print_json, print_table, say
from rankwright.cli.verbs import check_column, make_room, whole_numbers
from rankwright.data import read_texts
from rankwright.files import write_json
from rankwright.workflow.speed import measure_speed, speed_rows


def bench_verb(
    model: str,
    source: str | None,
    *,
    column: str | None,
    settings: Mapping[str, Any],
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure a model in each engine and native type."""
    check_column(column, source)
    make_room(out)
    found = measure_speed(
        model,
        [] if source is None else read_texts(source, column=column),
        kind=settings["kind"],
        lengths=whole_numbers(settings["lengths"], "--lengths"),
        seconds=settings["seconds"],
        say=say,
    )
    if out is not None:
        write_json(out, found.to_json())
    if as_json:
        print_json(found.to_json())
        return
    print_table(speed_rows(found), title=f"{found.model} ({found.kind}) on {found.cpu}")
    sys.stdout.write("* what engine=auto and dtype=auto take\n")
