"""The public surface is pinned: each name resolves, and a change of the list is a decision, not an accident."""

import ast
import inspect
import types
from pathlib import Path

import pytest

import rankwright
from rankwright import data, evaluation, losses
from tests.golden_text import assert_golden

MODULES = (rankwright, data, evaluation, losses)
MAX_NAMES = 25
MAX_POSITIONAL = 2


@pytest.mark.golden
def test_public_names_are_those_of_the_golden_file() -> None:
    names = sorted(f"{module.__name__}.{name}" for module in MODULES for name in module.__all__)
    assert_golden("public_names.txt", "\n".join(names) + "\n")


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_resolves_and_is_documented(module: types.ModuleType) -> None:
    undocumented = [
        name
        for name in module.__all__
        if isinstance(value := getattr(module, name), type | types.FunctionType) and not inspect.getdoc(value)
    ]
    assert not undocumented


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_public_functions_take_keywords_after_the_second_parameter(module: types.ModuleType) -> None:
    values = {name: getattr(module, name) for name in module.__all__}
    positional = {
        name: sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in inspect.signature(value).parameters.values())
        for name, value in values.items()
        if isinstance(value, types.FunctionType)
    }
    assert not {name: count for name, count in positional.items() if count > MAX_POSITIONAL}


def test_at_most_25_names_are_public() -> None:
    assert len(rankwright.__all__) <= MAX_NAMES


def test_dir_shows_the_public_names_and_nothing_else() -> None:
    assert dir(rankwright) == sorted(rankwright.__all__)


def test_star_import_gives_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from rankwright import *", names)
    assert set(rankwright.__all__) <= set(names)


def test_type_checkers_see_the_names_that_the_table_resolves() -> None:
    tree = ast.parse(Path(rankwright.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.asname or alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == rankwright._MODULES


def test_unknown_name_raises_and_lists_the_public_ones() -> None:
    with pytest.raises(
        AttributeError, match=r"'rankwright' has no attribute 'Reranker'\. Public names: .*CrossEncoder"
    ):
        _ = rankwright.Reranker
