"""A model of the kind that its files say.

In: a folder or Hub name. Out: `BiEncoder` or `CrossEncoder`.
"""

import json
from pathlib import Path

from rankwright.errors import ConfigError
from rankwright.hub import resolve
from rankwright.models.bi_encoder import BiEncoder
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
        dtype: "auto", "float32", "bfloat16" or "float16".
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


def kind_of(folder: Path) -> str:
    """The kind of model in a folder: what sentence-transformers noted, else what the transformers config says.

    Args:
        folder: a checkpoint.

    Returns:
        "cross-encoder" for a CrossEncoder or a sequence classification model, else "bi-encoder".
    """
    noted = _read(folder / "config_sentence_transformers.json").get("model_type")
    if noted in ("CrossEncoder", "SentenceTransformer"):
        return "cross-encoder" if noted == "CrossEncoder" else "bi-encoder"
    if (folder / "modules.json").is_file():
        return "bi-encoder"
    architectures = _read(folder / "config.json").get("architectures")
    names = architectures if isinstance(architectures, list) else []
    return "cross-encoder" if any(str(name).endswith("ForSequenceClassification") for name in names) else "bi-encoder"


def _read(path: Path) -> dict[str, object]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
