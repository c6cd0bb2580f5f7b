"""Checkpoint folders written by hand, with the files that a test is about and no torch.

In: what differs from the plain folder. Out: the folder.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

BERT = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 11,
    "max_position_embeddings": 64,
}

MODEL = "sentence_transformers.models."


def write_json(path: Path, content: object) -> None:
    """Writes a JSON file, and the folder for it.

    Args:
        path: the file.
        content: what it says.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def plain_folder(
    folder: Path,
    *,
    tensors: Mapping[str, tuple[int, ...]] | None = None,
    tokenizer_length: int | None = 32,
    **config: Any,
) -> Path:
    """What transformers would write.

    Args:
        folder: where.
        tensors: name -> shape; zeros.
        tokenizer_length: `model_max_length`.
        **config: over the keys of `BERT`.

    Returns:
        The folder.
    """
    write_json(folder / "config.json", BERT | config)
    length = {} if tokenizer_length is None else {"model_max_length": tokenizer_length}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", **length})
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdef"]) + "\n")
    arrays = {
        name: np.zeros(shape, np.float32) for name, shape in (tensors or {"embeddings.LayerNorm.bias": (8,)}).items()
    }
    save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def module_folder(folder: Path, *modules: tuple[str, str, Mapping[str, Any] | None], **settings: Any) -> Path:
    """Makes a plain folder one of sentence-transformers.

    Args:
        folder: a plain folder.
        *modules: path, type and config (None: no folder) of each module after the transformer.
        **settings: config_sentence_transformers.json; none: no such file.

    Returns:
        The folder.
    """
    entries = [("", MODEL + "Transformer", None), *modules]
    write_json(
        folder / "modules.json",
        [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind, _) in enumerate(entries)],
    )
    for path, _, config in modules:
        if config is not None:
            write_json(folder / path / "config.json", config)
    if settings:
        write_json(folder / "config_sentence_transformers.json", settings)
    return folder
