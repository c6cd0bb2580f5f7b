"""Models of each family with random weights of MiniLM-L6's size: speed does not depend on what a model has learnt.

In: MiniLM-L6's tokenizer. Out: a checkpoint folder for each family; all read the same token ids.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")

BERT_SIZES = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "vocab_size": 30522,
    "max_position_embeddings": 514,
    "pad_token_id": 0,
}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", BERT_SIZES),
    "roberta": ("Roberta", BERT_SIZES),
    "xlm-roberta": ("XLMRoberta", BERT_SIZES),
    "camembert": ("Camembert", BERT_SIZES),
    "distilbert": (
        "DistilBert",
        {
            "dim": 384,
            "n_layers": 6,
            "n_heads": 12,
            "hidden_dim": 1536,
            "vocab_size": 30522,
            "max_position_embeddings": 514,
        },
    ),
    "mpnet": ("MPNet", BERT_SIZES | {"pad_token_id": 1}),
    "electra": ("Electra", BERT_SIZES | {"embedding_size": 128}),
    "modernbert": ("ModernBert", BERT_SIZES | {"intermediate_size": 768, "bos_token_id": 0, "eos_token_id": 0}),
}
"""Our name of a family -> the start of its classes' names in transformers, and its sizes. Gated units halve
intermediate_size: ModernBERT's feed-forward has two matrices in place of one."""

SIZES: dict[str, tuple[str, dict[str, Any]]] = {
    "minilm-l12": ("Bert", BERT_SIZES | {"num_hidden_layers": 12}),
    "bert-base": (
        "Bert",
        BERT_SIZES | {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072},
    ),
}
"""The same for models of other sizes, which the rows of a GPU take."""

STATIC = "static"
"""The family without a transformer: a table of MiniLM-L6's vocabulary and size."""

NAMES = (*FAMILIES, STATIC)


def write_family(family: str, base: Path, folder: Path) -> None:
    """Write a bi-encoder of a family.

    Args:
        family: one of `NAMES` or `SIZES`.
        base: MiniLM-L6, whose tokenizer is taken.
        folder: where.
    """
    if family == STATIC:
        write_static(base, folder)
        return
    import torch
    import transformers

    torch.manual_seed(0)
    name, sizes = (FAMILIES | SIZES)[family]
    config = getattr(transformers, f"{name}Config")(**sizes)
    getattr(transformers, f"{name}Model")(config).save_pretrained(folder)
    for file in TOKENIZER_FILES:
        shutil.copyfile(base / file, folder / file)
    settings = json.loads((base / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings |= {"tokenizer_class": "BertTokenizer", "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    modules.append({"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"})
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": sizes.get("dim", sizes.get("hidden_size")), "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")


def write_static(base: Path, folder: Path) -> None:
    """Write a StaticEmbedding with MiniLM-L6's tokenizer and random rows."""
    folder.mkdir(parents=True)
    tokenizer = json.loads((base / "tokenizer.json").read_text(encoding="utf-8")) | {
        "truncation": None,
        "padding": None,
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    table = np.random.default_rng(0).normal(size=(BERT_SIZES["vocab_size"], BERT_SIZES["hidden_size"]))
    save_file({"embedding.weight": table.astype(np.float32)}, folder / "model.safetensors")
    module = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"}
    (folder / "modules.json").write_text(json.dumps([module]), encoding="utf-8")
