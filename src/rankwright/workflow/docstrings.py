"""Real pairs on any machine: the documentation strings of the installed Python packages.

In: the packages. Does: summary line -> body, whole packages held out for testing. Out: training pairs, a BEIR folder.
"""

import ast
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from rankwright.data.pairs import text_sha256
from rankwright.errors import DataError

SUMMARY_CHARS = (20, 200)
BODY_CHARS = (100, 2000)
SKIPPED_FOLDERS = {"tests", "test", "testing", "_vendor", "vendor", "vendored"}


@dataclass(frozen=True, order=True)
class Docstring:
    """A documented function or class: where it stands, its summary line, and the rest of its documentation."""

    package: str
    place: str
    summary: str
    body: str


def installed_packages() -> Iterator[list[Docstring]]:
    """The usable docstrings of each installed package, each summary and each body once over all.

    Yields:
        The docstrings of a package, packages and docstrings in the order of a hash of their names.
    """
    seen: set[str] = set()
    for distribution in sorted(distributions(), key=lambda d: text_sha256(str(d.metadata["Name"]).lower())):
        kept = []
        for docstring in sorted(package_docstrings(distribution), key=lambda d: text_sha256(d.place)):
            if docstring.summary not in seen and docstring.body not in seen:
                kept.append(docstring)
            seen |= {docstring.summary, docstring.body}
        yield kept


def package_docstrings(distribution: Distribution) -> Iterator[Docstring]:
    """The usable docstrings of one package.

    Args:
        distribution: the installed package.

    Yields:
        Its docstrings.
    """
    package = str(distribution.metadata["Name"]).lower()
    for file in distribution.files or []:
        if file.suffix != ".py" or SKIPPED_FOLDERS & set(file.parts) or ".." in file.parts:
            continue
        path = Path(str(file.locate()))
        if not path.is_file():
            continue
        for name, summary, body in parse_docstrings(path.read_text(encoding="utf-8", errors="ignore")):
            yield Docstring(package, f"{file}:{name}", summary, body)


def parse_docstrings(source: str) -> Iterator[tuple[str, str, str]]:
    """Line and name, summary line and body of each function and class of a module that has both.

    Args:
        source: Python source; what does not parse has none.

    Yields:
        "LINE:NAME", summary, body.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        summary, _, body = (ast.get_docstring(node) or "").partition("\n")
        summary, body = summary.strip(), body.strip()[: BODY_CHARS[1]]
        if SUMMARY_CHARS[0] <= len(summary) <= SUMMARY_CHARS[1] and len(body) >= BODY_CHARS[0]:
            yield f"{node.lineno}:{node.name}", summary, body


def write_pairs(folder: Path, *, num_train: int, num_test: int) -> tuple[Path, Path]:
    """Write training pairs and a BEIR folder of packages that training never sees.

    Packages are taken in the order of a hash of their names, whole: first for testing until there are `num_test`
    docstrings, then for training.

    Args:
        folder: where; made if it is not there.
        num_train: training pairs at most.
        num_test: test queries at most; each test package gives at most a tenth of them.

    Returns:
        The file of training pairs and the BEIR folder.

    Raises:
        DataError: too few docstrings are installed.
    """
    train: list[Docstring] = []
    test: list[Docstring] = []
    for documented in installed_packages():
        if len(test) < num_test and len(documented) <= num_test:
            test += documented[: max(1, num_test // 10)]
        else:
            train += documented
        if len(test) >= num_test and len(train) >= num_train:
            break
    train = sorted(train, key=lambda d: text_sha256(d.place))[:num_train]
    test = test[:num_test]
    if len(test) < 20 or len(train) < 100:
        raise DataError(
            f"the installed packages have {len(train)} + {len(test)} usable docstrings, the demo needs 100 + 20. "
            "Install packages with documentation, such as rankwright[train]."
        )
    (folder / "eval" / "qrels").mkdir(parents=True, exist_ok=True)
    pairs = [{"query": d.summary, "positive": d.body, "query_id": d.place} for d in train]
    _write_jsonl(folder / "train.jsonl", pairs)
    _write_jsonl(folder / "eval" / "corpus.jsonl", [{"_id": d.place, "title": "", "text": d.body} for d in test])
    _write_jsonl(folder / "eval" / "queries.jsonl", [{"_id": f"q:{d.place}", "text": d.summary} for d in test])
    lines = ["query-id\tcorpus-id\tscore", *(f"q:{d.place}\t{d.place}\t1" for d in test)]
    (folder / "eval" / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "train.jsonl", folder / "eval"


def _write_jsonl(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
