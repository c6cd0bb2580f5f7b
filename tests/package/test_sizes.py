"""No file, function or class grows past what a reader holds in the head; the table is printed with `make sizes`.

Also the few rules of the same kind that ruff does not know: no `**kwargs`, no file named after nothing.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "rankwright"

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_LOOP_LINES = 120
"""The training loop is a linear recipe, better read whole."""
MAX_PARAMETERS = 7
MAX_NESTING = 4
MAX_OVERLOADS = 2
MAX_CLASS_DEPTH = 2
EMPTY_NAMES = {"base", "common", "helpers", "misc", "util", "utils"}
FREE_PARAMETERS = {
    "BiEncoder": ("__init__", "encode", "encode_multi_process"),
    "CrossEncoder": ("__init__", "predict", "rank"),
    "Model": ("push_to_hub",),
}
"""What users of sentence-transformers call, with the parameters they know; the flags of a command and the pointers of a
kernel, which take no objects, are free too."""

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)


@dataclass(frozen=True)
class Function:
    """A function of a file with its sizes."""

    name: str
    owner: str
    lines: int
    parameters: int
    nesting: int
    takes_kwargs: bool
    is_flat: bool


def functions(tree: ast.Module) -> Iterator[Function]:
    """Every function of the file, methods and inner functions too."""
    owners = {id(child): node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for child in node.body}
    for node in ast.walk(tree):
        if isinstance(node, FunctionNode):
            is_method = id(node) in owners and "staticmethod" not in decorators(node)
            arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            yield Function(
                name=node.name,
                owner=owners.get(id(node), ""),
                lines=body_lines(node),
                parameters=len(arguments) - is_method,
                nesting=nesting(node.body),
                takes_kwargs=node.args.kwarg is not None,
                is_flat="command" in decorators(node) or "jit" in decorators(node),
            )


def decorators(node: FunctionNode) -> set[str]:
    """Names of the decorators, without their modules and arguments."""
    calls = (item.func if isinstance(item, ast.Call) else item for item in node.decorator_list)
    return {item.attr if isinstance(item, ast.Attribute) else getattr(item, "id", "") for item in calls}


def body_lines(node: FunctionNode) -> int:
    """Lines of the body without its docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def nesting(body: list[ast.stmt]) -> int:
    """How many blocks stand inside each other; an `elif` is not deeper than its `if`."""
    deepest = 0
    for statement in body:
        if isinstance(statement, BLOCKS):
            deepest = max(deepest, 1 + max(nesting(branch) for branch in branches(statement)))
    return deepest


def branches(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The statement lists inside a block, those of its `elif`s included."""
    is_elif = isinstance(statement, ast.If) and len(statement.orelse) == 1 and isinstance(statement.orelse[0], ast.If)
    for name in ("body", "orelse", "finalbody"):
        branch = getattr(statement, name, [])
        if name == "orelse" and is_elif:
            yield from branches(branch[0])
        else:
            yield branch
    for part in getattr(statement, "handlers", []) + getattr(statement, "cases", []):
        yield part.body


def breaches(path: str, source: str) -> list[str]:
    """What one file does against the limits, as sentences."""
    tree = ast.parse(source)
    found = []
    if len(source.splitlines()) > MAX_FILE_LINES:
        found.append(f"{path}: {len(source.splitlines())} lines, at most {MAX_FILE_LINES}")
    if Path(path).stem.strip("_") in EMPTY_NAMES:
        found.append(f"{path}: name the file after what flows through it")
    for function in functions(tree):
        found += [f"{path}: {function.name}: {fault}" for fault in function_faults(path, function)]
    overloads = Counter(
        node.name for node in ast.walk(tree) if isinstance(node, FunctionNode) and "overload" in decorators(node)
    )
    found += [f"{path}: {name}: {n} overloads" for name, n in overloads.items() if n > MAX_OVERLOADS]
    return found


def function_faults(path: str, function: Function) -> Iterator[str]:
    """What one function does against the limits."""
    max_lines = MAX_LOOP_LINES if path.endswith("training/loop.py") else MAX_FUNCTION_LINES
    if function.lines > max_lines:
        yield f"{function.lines} lines, at most {max_lines}"
    is_free = function.is_flat or function.name in FREE_PARAMETERS.get(function.owner, ())
    if function.parameters > MAX_PARAMETERS and not is_free:
        yield f"{function.parameters} parameters, at most {MAX_PARAMETERS}: then a config object"
    if function.nesting > MAX_NESTING:
        yield f"blocks nested {function.nesting} deep, at most {MAX_NESTING}"
    if function.takes_kwargs:
        yield "takes **kwargs: name every parameter"


def class_depths(sources: list[str]) -> dict[str, int]:
    """How many of our own classes stand above each other, per class name."""
    bases: dict[str, list[str]] = {}
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = [item.id for item in node.bases if isinstance(item, ast.Name)]

    def depth(name: str) -> int:
        return 1 + max((depth(base) for base in bases[name] if base in bases), default=0)

    return {name: depth(name) for name in bases}


def python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py"))


def test_source_files_keep_the_limits() -> None:
    found = [
        breach
        for path in python_files(SOURCE)
        for breach in breaches(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n" + "\n".join(found)


def test_test_and_bench_files_keep_the_file_limit() -> None:
    sizes = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for folder in ("tests", "bench")
        for path in python_files(ROOT / folder)
    }
    assert not {name: lines for name, lines in sizes.items() if lines > MAX_FILE_LINES}


def test_classes_are_at_most_two_deep() -> None:
    depths = class_depths([path.read_text(encoding="utf-8") for path in python_files(SOURCE)])
    assert not {name: depth for name, depth in depths.items() if depth > MAX_CLASS_DEPTH}


def test_table_of_sizes_is_printed() -> None:
    print(f"\n{'file':<52}{'lines':>6}{'longest function':>18}{'parameters':>12}{'nesting':>9}")
    total = 0
    for path in python_files(SOURCE):
        source = path.read_text(encoding="utf-8")
        sizes = list(functions(ast.parse(source)))
        total += len(source.splitlines())
        columns = [max((getattr(f, name) for f in sizes), default=0) for name in ("lines", "parameters", "nesting")]
        name = path.relative_to(SOURCE).as_posix()
        print(f"{name:<52}{len(source.splitlines()):>6}{columns[0]:>18}{columns[1]:>12}{columns[2]:>9}")
    print(f"{'total':<52}{total:>6}")
    assert total > 0


LONG = "def f():\n" + "    x = 1\n" * 61
DEEP = "def f():\n" + "".join("    " * i + "if x:\n" for i in range(1, 6)) + "    " * 6 + "pass\n"
ELIFS = "def f():\n    if a:\n        pass\n" + "    elif b:\n        pass\n" * 6
OVERLOADS = "@overload\ndef f(x): ...\n" * 3 + "def f(x): ...\n"


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("a.py", "x = 1\n" * 501, "501 lines"),
        ("a.py", LONG, "61 lines"),
        ("utils.py", "", "name the file"),
        ("a.py", "def f(a, *, b, c, d, e, g, h, i): pass", "8 parameters"),
        ("a.py", "class BiEncoder:\n    def save(self, a, *, b, c, d, e, g, h, i): pass", "8 parameters"),
        ("a.py", DEEP, "nested 5 deep"),
        ("a.py", "def f(**kwargs): pass", "kwargs"),
        ("a.py", OVERLOADS, "3 overloads"),
    ],
)
def test_a_planted_breach_is_found(path: str, source: str, fault: str) -> None:
    assert [breach for breach in breaches(path, source) if fault in breach], breaches(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("training/loop.py", LONG),
        ("a.py", "class BiEncoder:\n    def encode(self, a, *, b, c, d, e, g, h, i): pass"),
        ("a.py", "def f(a, b, *, c, d, e, g, h): pass"),
        ("a.py", "@app.command()\ndef f(a, *, b, c, d, e, g, h, i): pass"),
        ("a.py", ELIFS),
    ],
)
def test_what_is_allowed_is_not_found(path: str, source: str) -> None:
    assert not breaches(path, source)


def test_a_planted_third_level_of_classes_is_found() -> None:
    assert class_depths(["class A(Exception): pass\nclass B(A): pass", "class C(B): pass"])["C"] == 3
