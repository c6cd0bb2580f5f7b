"""The examples in the documentation strings are true."""

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

import rankwright

MODULES = sorted(found.name for found in pkgutil.walk_packages(rankwright.__path__, "rankwright."))
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples(module: ModuleType) -> Iterator[doctest.DocTest]:
    """The examples of the module, its functions, classes and methods.

    By hand, for doctest's own finder does not see functions that the shape checks of the test run have wrapped.
    """
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    methods = [method for value in own if inspect.isclass(value) for method in vars(value).values()]
    for value in (module, *own, *methods):
        text = value.__doc__ if callable(value) or value is module else None
        if text is not None:
            name = f"{module.__name__}.{getattr(value, '__qualname__', '')}"
            found = doctest.DocTestParser().get_doctest(inspect.cleandoc(text), dict(vars(module)), name, None, None)
            if found.examples:
                yield found


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_examples_of_the_module_are_true(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if name.endswith("_triton"):
        pytest.importorskip("triton", reason="kernels of a GPU; torch for the CPU comes without")
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    for found in examples(importlib.import_module(name)):
        runner.run(found)
    failed = runner.summarize(verbose=False).failed
    assert not failed, capsys.readouterr().out


def test_a_false_example_is_found() -> None:
    module = ModuleType("false")
    module.__doc__ = ">>> 1 + 1\n3\n"
    runner = doctest.DocTestRunner(verbose=False)
    (found,) = examples(module)
    assert runner.run(found, out=lambda text: None).failed == 1


def test_examples_are_there_to_run() -> None:
    runnable = [
        example
        for name in ("rankwright.losses.scores", "rankwright.losses.embeddings")
        for found in examples(importlib.import_module(name))
        for example in found.examples
        if doctest.SKIP not in example.options
    ]
    assert len(runnable) >= 2
