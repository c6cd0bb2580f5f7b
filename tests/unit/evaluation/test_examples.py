"""The examples of the docstrings do what they say."""

import doctest
import importlib

import pytest

MODULES = ("baselines", "measures", "pairs", "runs")


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_the_module_are_true(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(f"rankwright.evaluation.{name}"))
    assert tried > 0 and failed == 0
