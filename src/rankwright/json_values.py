"""JSON files that others wrote, and their values, checked for their type where they are read.

In: a path, or an object of such a file. Out: plain values, or an error that names file, key and value.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankwright.errors import ModelFormatError


@dataclass(frozen=True)
class Expected:
    """What a value must be like: a test of it, and the same in words."""

    fits: Callable[[Any], bool]
    words: str


def whole(lowest: int, highest: int) -> Expected:
    """A whole number from `lowest` to `highest`; True and 8.0 are none."""
    return Expected(
        lambda value: type(value) is int and lowest <= value <= highest, f"a whole number from {lowest} to {highest}"
    )


def one_of_texts(*known: str) -> Expected:
    """One of these texts."""
    return Expected(lambda value: value in known and isinstance(value, str), f"one of {', '.join(known)}")


SIZE = whole(1, 2**31 - 1)
COUNT = whole(0, 2**31 - 1)
RATE = Expected(lambda value: type(value) in (int, float) and 0 <= value < 1, "a number from 0 to below 1")
POSITIVE = Expected(lambda value: type(value) in (int, float) and 0 < value < float("inf"), "a number above 0")
LENGTH = Expected(lambda value: type(value) in (int, float) and value >= 1, "a number from 1")
"""A number of tokens; transformers writes 1e30 where there is no limit."""
FLAG = Expected(lambda value: type(value) is bool, "true or false")
TEXT = Expected(lambda value: isinstance(value, str), "a text")
OBJECT = Expected(lambda value: isinstance(value, dict), "a JSON object")
TEXTS = Expected(
    lambda value: isinstance(value, list) and all(isinstance(text, str) for text in value), "a list of texts"
)


def value_of(config: Mapping[str, Any], key: str, expected: Expected, place: object, default: Any = None) -> Any:
    """The value under a key.

    Args:
        config: an object of a JSON file.
        key: where it is.
        expected: what it must be like.
        place: the file, for the message.
        default: what null and a missing key stand for.

    Returns:
        The value.

    Raises:
        ModelFormatError: it is something else.
    """
    value = config.get(key)
    if value is None:
        return default
    if not expected.fits(value):
        raise ModelFormatError(
            f"{place}: {key!r} is {value!r:.80}, expected {expected.words}. Correct it there, or download it again."
        )
    return value


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Args:
        path: the file.

    Returns:
        Its content.

    Raises:
        ModelFormatError: it cannot be read, or it is not JSON in UTF-8.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise ModelFormatError(f"{path} cannot be read: {err.strerror or err}. Check the file.") from err
    except (ValueError, RecursionError) as err:  # the latter for very deep nesting
        raise ModelFormatError(f"{path} is not JSON in UTF-8: {err}. Download the model again.") from err


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no file.

    Args:
        path: the file.

    Returns:
        Its content.

    Raises:
        ModelFormatError: it cannot be read, or it is no JSON object.
    """
    if not path.is_file():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise ModelFormatError(
            f"{path}: expected a JSON object, got {type(content).__name__}. Download the model again."
        )
    return content
