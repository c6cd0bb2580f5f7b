"""The parity certificate's report.

In: `Certificate`. Out: a table or JSON on stdout, a JSON file; exit code 1 where we do not agree with the reference.
"""

import sys
from pathlib import Path

from rankwright.cli.printing import print_json, print_table, say
from rankwright.cli.verbs import check_column, make_room
from rankwright.evaluation.parity import Certificate, parity_rows, parity_sentences, unit_of
from rankwright.files import write_json
from rankwright.workflow.verify import verify


def verify_verb(
    model: str, source: str | None, *, column: str | None, kind: str | None, out: Path | None, as_json: bool
) -> None:
    """Compare a model's engines with a reference, and say whether they agree."""
    check_column(column, source)
    make_room(out)
    found = verify(model, source=source, column=column, kind=kind, say=say)
    if out is not None:
        write_json(out, found.to_json())
    if as_json:
        print_json(found.to_json())
    else:
        print_certificate(found)
    if not found.agrees:
        raise SystemExit(1)


def print_certificate(found: Certificate) -> None:
    """A row for each engine and type, the texts that differ most where something is wrong, and the verdict."""
    given = f", {found.num_given} rows of a file among them" if found.num_given else ""
    compared = f"{found.num_texts} {unit_of(found.kind)}{given}"
    print_table(parity_rows(found), title=f"{found.model} ({found.kind}) on {compared}")
    for text in found.differing_texts:
        sys.stdout.write(f"other token ids: {text}\n")
    for engine in found.engines:
        if not engine.agrees:
            sys.stdout.write(f"{engine.engine} {engine.dtype} differs most on: {engine.worst_text}\n")
    sys.stdout.write("\n".join(parity_sentences(found)) + "\n")
