"""The names of sentence-transformers, beside ours.

In: what a caller passed under either name. Out: one value, or an error: both were passed, or we have no such thing.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from rankwright.errors import ConfigError, DataError, ValueRangeError

DTYPE_NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16", "float": "float32"}

REFUSED_ARGUMENTS = {
    "train_datasets": "the card says what the model's run was trained on. Write others into its README.md.",
    "config_kwargs": "config.json is read as it is. Use num_labels=, max_length=, activation= or similarity=.",
}
"""Arguments of ST that cannot take effect: what to do instead."""

_DTYPE = "The type is chosen at opening: pass dtype='float32', 'bfloat16' or 'float16'."
_DEVICE = "Use to('cpu') or to('cuda')."
_MODULE = "The weights are not in a torch module: use trainable() for one, spec or spec.config for the settings."
_TRAINING = "Use rankwright.train(model, data, out=FOLDER), or trainable() for the torch module."

REFUSED_ATTRIBUTES = {
    **dict.fromkeys(("half", "float", "bfloat16", "double"), _DTYPE),
    **dict.fromkeys(("cuda", "cpu"), _DEVICE),
    **dict.fromkeys(("model", "config", "modules", "parameters", "state_dict", "forward", "model[0]"), _MODULE),
    **dict.fromkeys(("fit", "old_fit", "train"), _TRAINING),
    **dict.fromkeys(
        ("truncate_sentence_embeddings", "truncate_embeddings"),
        "Pass truncate_dim= to encode(), or set the attribute truncate_dim.",
    ),
    "model_card_data": "The card is written by rankwright.train; `rankwright card RUN` writes it again.",
    "save_to_hub": "Use push_to_hub(repo_id).",
    "evaluate": "Use rankwright.evaluate(model, data).",
}
"""What a model of ST has and ours has not: what to do instead."""


def refuse_arguments(given: Mapping[str, Any]) -> None:
    """Refuse arguments that cannot take effect.

    Args:
        given: name -> value; keys of `REFUSED_ARGUMENTS`; None and False are "not passed".

    Raises:
        ConfigError: one was passed.
    """
    for name, value in given.items():
        if value is not None and value is not False:
            raise ConfigError(f"{name}={value!r:.80} has no effect in rankwright: {REFUSED_ARGUMENTS[name]}")


def check_saving(train_datasets: object, *, safe_serialization: bool) -> None:
    """Refuse ST's arguments of saving that cannot take effect.

    Args:
        train_datasets: names for ST's card.
        safe_serialization: whether weights are written as safetensors.

    Raises:
        ConfigError: datasets, or not as safetensors.
    """
    refuse_arguments({"train_datasets": train_datasets})
    if not safe_serialization:
        raise ConfigError(
            "safe_serialization=False: weights are written as safetensors only, which every library reads. "
            "Leave it out."
        )


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


def texts_of(given: Any) -> tuple[list[str], bool]:
    """The texts in what a caller passed, and whether it was a single one.

    Args:
        given: a string, or strings in a list, iterator, array or series.

    Returns:
        The texts, and whether it was one alone.

    Raises:
        DataError: what has keys, columns, no order or no texts: these would be taken for texts.
    """
    if isinstance(given, str):
        return [given], True
    is_list = isinstance(given, Iterable) and not isinstance(given, (bytes, bytearray, Mapping, set, frozenset))
    if not is_list or hasattr(given, "columns") or getattr(given, "ndim", 1) != 1:
        raise DataError(f"texts are a {type(given).__name__}, {given!r:.80}: expected a string, or a list of strings.")
    return list(given), False


def documents_of(query: Any, documents: Any, top_k: int | None) -> list[str]:
    """The documents of a call of `rank`.

    Args:
        query: one text.
        documents: several.
        top_k: how many are wanted.

    Returns:
        The documents in a list.

    Raises:
        DataError: a query that is no text, or documents that are no list.
        ValueRangeError: top_k below 1.
    """
    if not isinstance(query, str):
        raise DataError(f"the query is {query!r:.80}: expected one string. Call rank() once for each query.")
    listed, is_single = texts_of(documents)
    if is_single:
        raise DataError(f"the documents are {documents!r:.80}: expected a list of strings.")
    if top_k is not None and top_k < 1:
        raise ValueRangeError(f"top_k must be at least 1, got {top_k}.")
    return listed


def check_prompts(prompts: Mapping[str, str] | None) -> None:
    """Refuse prompts that are no texts.

    Args:
        prompts: by name.

    Raises:
        ConfigError: names the first.
    """
    for name, text in (prompts or {}).items():
        if not isinstance(text, str):
            raise ConfigError(f"prompts: {name!r} is {text!r:.80}, expected a string.")


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
    if backend not in (None, "torch", "openvino"):
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
        "auto", "float32", "bfloat16", "float16" or "int8".

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
    if name not in ("auto", "float32", "bfloat16", "float16", "int8"):
        raise ConfigError(f"dtype={chosen!r}: expected 'auto', 'float32', 'bfloat16', 'float16' or 'int8'.")
    return name


def max_length_of(
    max_length: int | None,
    tokenizer_kwargs: Mapping[str, Any] | None,
    processor_kwargs: Mapping[str, Any] | None = None,
) -> int | None:
    """The maximum length for our `max_length`, or ST's `tokenizer_kwargs={"model_max_length": ...}`.

    Args:
        max_length: tokens, or None.
        tokenizer_kwargs: ST's dictionary.
        processor_kwargs: ST's newer name of `tokenizer_kwargs`.

    Returns:
        Tokens, or None for the checkpoint's own.

    Raises:
        ConfigError: a key of the dictionary that has no meaning here.
    """
    kwargs = dict(one_of({"tokenizer_kwargs": tokenizer_kwargs, "processor_kwargs": processor_kwargs}, {}))
    name = "tokenizer_kwargs" if processor_kwargs is None else "processor_kwargs"
    old = kwargs.pop("model_max_length", None)
    if kwargs:
        raise ConfigError(
            f"{name} has the key {next(iter(kwargs))!r}, which rankwright does not use. "
            "It knows 'model_max_length'; everything else is read from the checkpoint's tokenizer files."
        )
    chosen: int | None = one_of({"max_length": max_length, f"{name}['model_max_length']": old})
    return chosen
