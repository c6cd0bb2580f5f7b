"""The curves of a report as SVG files, the same bytes for the same numbers.

In: a report. Out: files in docs/plots/.
"""

import re
from pathlib import Path
from typing import Any


def write_plots(report: dict[str, Any], docs: Path) -> list[tuple[dict[str, Any], str]]:
    """Draw each curve.

    Args:
        report: with "curves".
        docs: the folder of the page.

    Returns:
        Each curve with the path of its plot below `docs`.
    """
    if not report.get("curves"):
        return []
    import matplotlib as mpl
    from matplotlib.figure import Figure

    folder = docs / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    machine = re.sub(r"\W+", "-", f"{report['machine']['cpu']} {report['machine']['flags'][-1]}").lower()
    drawn = []
    with mpl.rc_context({"svg.hashsalt": "rankwright", "svg.fonttype": "none"}):
        for curve in report["curves"]:
            figure = Figure(figsize=(6, 3.5), layout="constrained")
            axes = figure.subplots()
            for library, values in curve["series"].items():
                axes.plot(curve["sizes"], values, marker="o", label=library)
            axes.set(title=curve["title"], xlabel=curve["x"], ylabel=curve["y"], ylim=(0, None))
            axes.grid(alpha=0.3)
            axes.legend()
            name = f"{machine}-{curve['curve']}.svg"
            figure.savefig(folder / name, metadata={"Date": None})
            drawn.append((curve, f"plots/{name}"))
    return drawn
