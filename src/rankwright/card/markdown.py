"""Text, numbers and tables as Markdown that says what was meant, whatever the text holds.

In: any string or number of the run folder. Out: Markdown in UTF-8.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence

MAX_CELL = 1000
"""Characters of a text that a table shows; longer ones end in "...", as in sentence-transformers' cards."""

# Entities cannot open or close Markdown structure, so a text full of it stays text, also inside <code>.
ENTITIES = str.maketrans({c: f"&#{ord(c)};" for c in "|`*[]\\~$"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def plain(text: str, limit: int = MAX_CELL) -> str:
    r"""A text for running Markdown or a table cell: on one line, cut, every special character as an entity.

    >>> plain("a | b\nc `d`")
    'a &#124; b<br>c &#96;d&#96;'
    """
    cut = text if len(text) <= limit else text[:limit] + "..."
    lines = re.split(r"\r\n|\r|\n", cut)
    escaped = [re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", line).translate(ENTITIES) for line in lines]
    # Inside a word an underscore never opens emphasis, and names are easier to read with it.
    return "<br>".join(re.sub(r"(?<![^\W_])_|_(?![^\W_])", "&#95;", line) for line in escaped)


def code(value: object) -> str:
    """A value of the data as a `<code>` cell; a list shows its first five elements."""
    if isinstance(value, list | tuple):
        shown = [str(element) for element in value[:5]] + ["..."] * (len(value) > 5)
        value = f"[{', '.join(shown)}]"
    return f"<code>{plain(str(value))}</code>"


def number(value: object) -> str:
    """A number to four digits after the point; whole numbers and everything else as they are.

    >>> number(0.71051), number(5e-05), number(128), number(None)
    ('0.7105', '5e-05', '128', '-')
    """
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    if math.isfinite(value) and 0 < abs(value) < 0.001:
        return f"{value:.4g}"
    return f"{value:.4f}"


def signed(value: float) -> str:
    """A difference, with its sign."""
    return ("+" if value > 0 else "") + number(value)


def count(value: int) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,}"


def interval(bounds: tuple[float, float] | None) -> str:
    """The two ends of an interval, or "-" where none was computed."""
    return f"{number(bounds[0])} to {number(bounds[1])}" if bounds else "-"


def duration(seconds: float) -> str:
    """A time in the unit that reads best.

    >>> duration(12.34), duration(600), duration(9000)
    ('12.3 seconds', '10.0 minutes', '2.5 hours')
    """
    for limit, size, unit in ((60, 1, "seconds"), (3600, 60, "minutes"), (86400, 3600, "hours")):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86400:.1f} days"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose cells are Markdown already."""
    lines = [header, [":--"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def fence(text: str, language: str = "") -> str:
    """A fenced block that no backticks in the text can close."""
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{ticks}{language}\n{text}\n{ticks}"


def json_block(values: Mapping[str, object]) -> str:
    """Parameters as a fenced JSON block."""
    return fence(json.dumps(values, indent=4, ensure_ascii=False), "json")


def joined(words: Sequence[str]) -> str:
    """Words as a sentence lists them.

    >>> joined(["a"]), joined(["a", "b"]), joined(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))
