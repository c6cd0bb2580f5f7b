"""The demo's report.

In: `DemoResult`. Out: tables and answers on stdout.
"""

import sys
import time
from pathlib import Path

from rankwright.cli.printing import comparison_line, print_evaluations
from rankwright.cli.progress import terminal_watch
from rankwright.workflow.demo import run_demo


def demo_verb(*, base: str | None, out: Path, max_steps: int | None) -> None:
    """Run the demo and print what came of it."""
    started = time.perf_counter()
    result = run_demo(out=out, base=base, max_steps=max_steps, watch=terminal_watch())
    print_evaluations([*result.run.references, *result.run.trained])
    for dim, comparison in result.comparisons:
        sys.stdout.write(f"{dim:>4} dimensions: {comparison_line(comparison)}\n")
    for answer in result.answers:
        sys.stdout.write(f"\nquery: {answer['query']}\n")
        for i, found in enumerate(answer["answers"], start=1):
            mark = "  <- its own documentation" if found["is_right"] else ""
            text = " ".join(found["text"].split())[:100]
            sys.stdout.write(f"  {i}. {found['score']:.3f}  {found['place']}{mark}\n            {text}\n")
    minutes = (time.perf_counter() - started) / 60
    sys.stdout.write(f"\nmodel and card: {result.run.folder / 'model'} ({minutes:.1f} minutes in all)\n")
