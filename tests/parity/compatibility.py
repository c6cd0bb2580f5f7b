"""The generated part of docs/compatibility.md.

In: the largest difference of each case of `conformance.py` in each column. Out: Markdown between two markers.
"""

import math
from collections.abc import Mapping
from pathlib import Path

from tests.parity.conformance import CASES, Case
from tests.parity.refusals import REFUSALS

DOCUMENT = Path(__file__).parents[2] / "docs" / "compatibility.md"
BEGIN, END = "<!-- conformance: begin -->", "<!-- conformance: end -->"
HEAD = ("What", "Family", "Kind", "OpenVINO", "torch", "saved, then opened by sentence-transformers")
COLUMNS = {True: ("openvino", "torch", "saved"), False: ("torch", "saved")}
"""What is measured, of a family of ours and of one that transformers runs."""

UNMEASURED = "not supported: no graph"

Row = tuple[str, ...]


def table_of(measured: Mapping[tuple[Case, str], float]) -> str:
    """All tables, each below its heading.

    Args:
        measured: the largest difference by case and column.

    Returns:
        Markdown.
    """
    parts = []
    for section in dict.fromkeys(case.section for case in CASES):
        cases = [case for case in CASES if case.section == section]
        rows = [(case.what, case.family, case.kind, *values_of(case, measured)) for case in cases]
        parts.append(f"### {section}\n\n{markdown(HEAD, rows)}")
    refused = [(refusal.what, refusal.kind, f"not supported: {refusal.why}") for refusal in REFUSALS]
    parts.append(f"### Refused, with an error\n\n{markdown(('Checkpoint', 'Opened as', 'Why'), refused)}")
    return "\n\n".join(parts)


def names() -> list[Row]:
    """What names the rows, in order: what does not depend on a measurement."""
    refused = [(refusal.what, refusal.kind, f"not supported: {refusal.why}") for refusal in REFUSALS]
    return [*((case.what, case.family, case.kind) for case in CASES), *refused]


def values_of(case: Case, measured: Mapping[tuple[Case, str], float]) -> Row:
    """The classes of the differences."""
    values = [class_of(measured[case, column]) for column in COLUMNS[case.is_native]]
    return tuple(values) if case.is_native else (UNMEASURED, *values)


def class_of(difference: float) -> str:
    """The power of ten that a difference is at most, so that another run on the machine says the same."""
    return "0" if difference == 0 else f"<= 1e{math.ceil(math.log10(difference))}"


def markdown(head: Row, rows: list[Row]) -> str:
    """A table."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def rows_in(document: str) -> list[Row]:
    """The rows of all generated tables, without their heads.

    Args:
        document: docs/compatibility.md.

    Returns:
        The cells of each row, in order.
    """
    lines = document.partition(BEGIN)[2].partition(END)[0].splitlines()
    tables = [line for line in lines if line.startswith("|")]
    heads = {i for i, line in enumerate(tables) if i + 1 < len(tables) and tables[i + 1].startswith("|---")}
    rows = [line for i, line in enumerate(tables) if i not in heads and not line.startswith("|---")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in rows]


def with_table(document: str, table: str) -> str:
    """The document with what is generated put between its markers.

    Args:
        document: docs/compatibility.md.
        table: of `table_of`.

    Returns:
        The same text around it.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin and end, f"docs/compatibility.md must hold {BEGIN!r} and {END!r}, in this order."
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"
