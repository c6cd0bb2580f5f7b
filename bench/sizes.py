"""How much disk a library takes with everything it needs.

In: the name of an installed distribution. Out: megabytes, from the files that the packages recorded.
"""

from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SOURCE = Path(__file__).parents[1] / "src"


def installed_megabytes(name: str) -> float:
    """Size of the distribution and of all that it requires without extras.

    Args:
        name: an installed distribution, with extras if they count.

    Returns:
        Megabytes (10^6 bytes).
    """
    total = sum(size_bytes(metadata.distribution(needed)) for needed in closure(name))
    return total / 1e6


def closure(name: str) -> set[str]:
    """The distribution's name and those of all that it needs, directly or not, with the extras asked for."""
    seen: set[tuple[str, str]] = set()
    asked = Requirement(name)
    waiting = [(canonicalize_name(asked.name), extra) for extra in ("", *asked.extras)]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        for text in metadata.distribution(current[0]).requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": current[1]}):
                waiting += [(canonicalize_name(needed.name), extra) for extra in ("", *needed.extras)]
    return {needed for needed, _ in seen}


def size_bytes(distribution: metadata.Distribution) -> int:
    """Bytes of the files that a distribution recorded; of our own, the source, for it may be installed in place."""
    if canonicalize_name(distribution.name) == "rankwright":
        return sum(path.stat().st_size for path in SOURCE.rglob("*.py"))
    paths = (Path(str(path.locate())) for path in distribution.files or ())
    return sum(path.stat().st_size for path in paths if path.is_file())
