"""Real texts of mixed lengths on any machine: the documentation strings of installed packages.

In: source files of numpy, scipy and scikit-learn. Out: (summary line, the rest) pairs, in an order of a seed.
"""

import ast
import importlib.util
import random
import warnings
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("numpy", "scipy", "sklearn")
MAX_CHARACTERS = 2000
MIN_SUMMARY = 20
MIN_BODY = 80


def docstring_pairs(count: int, *, seed: int = 0, packages: tuple[str, ...] = PACKAGES) -> list[tuple[str, str]]:
    """The first `count` pairs of summary and body, each body once, after a seeded shuffle.

    Args:
        count: how many.
        seed: of the shuffle.
        packages: whose; they must be installed.

    Returns:
        (summary, body) pairs.

    Raises:
        ValueError: the packages hold fewer.
    """
    pairs = {body: (summary, body) for package in packages for summary, body in package_pairs(package)}
    if len(pairs) < count:
        raise ValueError(f"asked for {count} documentation strings; {', '.join(packages)} hold {len(pairs)}.")
    ordered = sorted(pairs.values())
    random.Random(seed).shuffle(ordered)
    return ordered[:count]


def package_pairs(package: str) -> Iterator[tuple[str, str]]:
    """Summary and body of each long documentation string of a package."""
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None, package
    for path in sorted(Path(spec.origin).parent.rglob("*.py")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(path.read_text(encoding="utf-8", errors="ignore"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                summary, _, body = (ast.get_docstring(node) or "").partition("\n")
                if len(summary) > MIN_SUMMARY and len(body.strip()) > MIN_BODY:
                    yield summary.strip(), body.strip()[:MAX_CHARACTERS]
