"""A model of the kind that its files say, and what is asked of a model of either kind.

In: a folder or Hub name. Out: `BiEncoder` or `CrossEncoder`.
"""

from pathlib import Path

from rankwright.errors import ConfigError
from rankwright.hub import resolve
from rankwright.models.bi_encoder import BiEncoder
from rankwright.models.checkpoint_read import kind_of
from rankwright.models.cross_encoder import CrossEncoder

CLASSES: dict[str, type[BiEncoder] | type[CrossEncoder]] = {"bi-encoder": BiEncoder, "cross-encoder": CrossEncoder}


def open_model(
    name: str | Path,
    *,
    kind: str | None = None,
    engine: str = "auto",
    dtype: str = "auto",
    device: str = "auto",
    max_length: int | None = None,
) -> BiEncoder | CrossEncoder:
    """Open a model.

    Args:
        name: a folder, or a name on the Hub.
        kind: "bi-encoder" or "cross-encoder"; None: what the files say (`kind_of`).
        engine: "auto", "openvino" or "torch".
        dtype: "auto", "float32", "bfloat16", "float16" or "int8".
        device: "auto", "cpu", "cuda", ...
        max_length: tokens of a text (or pair) at most; None: the checkpoint's.

    Returns:
        The model.

    Raises:
        ConfigError: an unknown kind.
    """
    if kind is None:
        kind = kind_of(resolve(str(name), kind="bi-encoder"))
    if kind not in CLASSES:
        raise ConfigError(f"kind={kind!r}: expected one of {', '.join(CLASSES)}.")
    return CLASSES[kind](name, engine=engine, dtype=dtype, device=device, max_length=max_length)


def prompts_of(model: BiEncoder | CrossEncoder) -> tuple[str, str]:
    """What a model puts before a query and before a document, unless it is told otherwise.

    Args:
        model: of either kind.

    Returns:
        Two texts; a cross-encoder has a prompt for the query only.
    """
    if isinstance(model, BiEncoder):
        return model.prompt_of("query"), model.prompt_of("document")
    return model.prompts[model.default_prompt_name] if model.default_prompt_name else "", ""
