"""The argument names of sentence-transformers, beside ours.

In: what a caller passed under either name. Out: one value, or an error when both were passed.
"""

from collections.abc import Mapping
from typing import Any

from rankwright.errors import ConfigError

BACKENDS = {"torch": "torch", "openvino": "openvino"}

DTYPE_NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16", "float": "float32"}


def one_of(values: Mapping[str, Any], default: Any = None) -> Any:
    """The value that was passed under one of several names for the same thing.

    Args:
        values: name -> value, our name first; None is "not passed".
        default: what to return when none was passed.

    Returns:
        The value.

    Raises:
        TypeError: two names were used at once.
    """
    given = [name for name, value in values.items() if value is not None]
    if len(given) > 1:
        raise TypeError(
            f"{given[0]!r} and {given[1]!r} are two names for the same argument: pass {next(iter(values))!r} only."
        )
    return values[given[0]] if given else default


def engine_of(backend: str | None, engine: str | None) -> str:
    """The engine for ST's `backend` or our `engine`.

    Args:
        backend: "torch" or "openvino", or None.
        engine: our name, or None.

    Returns:
        The engine's name; "auto" when neither was passed.

    Raises:
        ConfigError: a backend that we do not have.
    """
    if backend is not None and backend not in BACKENDS:
        raise ConfigError(
            f"backend={backend!r}: rankwright has no such engine. Use engine='auto', 'openvino' or 'torch'."
        )
    return str(one_of({"engine": engine, "backend": backend}, "auto"))


def dtype_of(dtype: Any, model_kwargs: Mapping[str, Any] | None) -> str:
    """The compute type for our `dtype`, or ST's `model_kwargs={"torch_dtype": ...}`.

    Args:
        dtype: a name, a torch dtype, or None.
        model_kwargs: ST's dictionary.

    Returns:
        "auto", "float32", "bfloat16" or "float16".

    Raises:
        ConfigError: a key of `model_kwargs` that has no meaning here, or an unknown type.
    """
    kwargs = dict(model_kwargs or {})
    old = {name: kwargs.pop(name, None) for name in ("dtype", "torch_dtype")}
    kwargs.pop("attn_implementation", None)  # packed attention has one implementation for each device
    if kwargs:
        raise ConfigError(
            f"model_kwargs has the key {next(iter(kwargs))!r}, which rankwright does not use. "
            "It knows 'dtype' (or 'torch_dtype'); see the arguments dtype=, engine= and device=."
        )
    chosen = one_of(
        {"dtype": dtype, "model_kwargs['dtype']": old["dtype"], "model_kwargs['torch_dtype']": old["torch_dtype"]},
        "auto",
    )
    name = str(chosen).removeprefix("torch.")
    name = DTYPE_NAMES.get(name, name)
    if name not in ("auto", "float32", "bfloat16", "float16"):
        raise ConfigError(f"dtype={chosen!r}: expected 'auto', 'float32', 'bfloat16' or 'float16'.")
    return name


def max_length_of(max_length: int | None, tokenizer_kwargs: Mapping[str, Any] | None) -> int | None:
    """The maximum length for our `max_length`, or ST's `tokenizer_kwargs={"model_max_length": ...}`.

    Args:
        max_length: tokens, or None.
        tokenizer_kwargs: ST's dictionary.

    Returns:
        Tokens, or None for the checkpoint's own.

    Raises:
        ConfigError: a key of `tokenizer_kwargs` that has no meaning here.
    """
    kwargs = dict(tokenizer_kwargs or {})
    old = kwargs.pop("model_max_length", None)
    if kwargs:
        raise ConfigError(
            f"tokenizer_kwargs has the key {next(iter(kwargs))!r}, which rankwright does not use. "
            "It knows 'model_max_length'; everything else is read from the checkpoint's tokenizer files."
        )
    chosen = one_of({"max_length": max_length, "tokenizer_kwargs['model_max_length']": old})
    return None if chosen is None else int(chosen)
