"""Seeded tiny models put together of sentence-transformers' modules and saved by it, and static tables.

In: folders of `tiny.py` and `tiny_foreign.py`. Out: folders.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from sentence_transformers.cross_encoder.modules.logit_score import LogitScore
from sentence_transformers.sentence_transformer.modules import Dropout, Pooling, StaticEmbedding
from sentence_transformers.sentence_transformer.modules.layer_norm import LayerNorm
from torch import nn

from tests.tiny import HIDDEN, draw, wordpiece, write_json

STATIC_SIZE = 24
ROWS = 300
"""Rows of a model2vec table that tokens share."""


def save_modules(folder: Path, modules: Sequence[nn.Module], **options: Any) -> Path:
    """Draws what is not a transformer, and saves a bi-encoder as sentence-transformers does.

    Args:
        folder: where.
        modules: in order.
        options: prompts and the like.

    Returns:
        The folder.
    """
    for seed, module in enumerate(modules):
        if isinstance(module, (Dense, LayerNorm, Router)):
            draw_modules(module, seed=seed)
    SentenceTransformer(modules=list(modules), device="cpu", **options).save(str(folder), create_model_card=False)
    return folder


def draw_modules(module: nn.Module, *, seed: int) -> None:
    """Draws a module, or those of a router that are no transformer.

    Args:
        module: the module.
        seed: decides the values.
    """
    routed = [part for route in module.sub_modules.values() for part in route] if isinstance(module, Router) else []
    for i, part in enumerate(routed or [module]):
        if not isinstance(part, (Transformer, StaticEmbedding)):
            draw(part, seed=10 * seed + i)  # no two routes alike


def transformer(
    folder: Path, task: str = "feature-extraction", chat_options: Mapping[str, Any] | None = None
) -> Transformer:
    """The transformer of a folder, in float32.

    Args:
        folder: of a tiny model.
        task: what for.
        chat_options: what its chat template is told beside the messages.

    Returns:
        ST's module.
    """
    return Transformer(
        str(folder),
        transformer_task=task,
        model_kwargs={"dtype": torch.float32},
        processing_kwargs=chat_options and {"chat_template": dict(chat_options)},
    )


def static_embedding(seed: int = 0) -> StaticEmbedding:
    """A table of 24 numbers for each token.

    Args:
        seed: decides them.

    Returns:
        ST's module.
    """
    tokenizer = wordpiece()
    table = torch.randn((tokenizer.get_vocab_size(), STATIC_SIZE), generator=torch.Generator().manual_seed(seed))
    return StaticEmbedding(tokenizer, embedding_weights=table)


def build_static(folder: Path, *, normalize: bool = True) -> Path:
    """Writes a bi-encoder without a transformer.

    Args:
        folder: where.
        normalize: whether the last module divides by the length.

    Returns:
        The folder.
    """
    return save_modules(folder, [static_embedding(), *([Normalize()] if normalize else [])])


def build_model2vec(folder: Path, *, modules: bool, is_shared: bool = True, normalize: bool = True) -> Path:
    """Writes a folder as model2vec does.

    Args:
        folder: where; made here.
        modules: whether it has the modules.json of its later versions.
        is_shared: whether tokens share rows and have weights, as in models with a quantised vocabulary.
        normalize: what its config says.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True)
    tokenizer, draws = wordpiece(), np.random.default_rng(1)
    vocabulary = tokenizer.get_vocab_size()
    tokenizer.save(str(folder / "tokenizer.json"))
    rows = ROWS if is_shared else vocabulary
    tensors = {"embeddings": draws.standard_normal((rows, STATIC_SIZE)).astype(np.float32)}
    if is_shared:
        tensors["mapping"] = draws.integers(0, rows, vocabulary)
        tensors["weights"] = draws.uniform(0.1, 2.0, vocabulary)
    save_file(tensors, folder / "model.safetensors")
    config = {"model_type": "model2vec", "architectures": ["StaticModel"], "normalize": normalize}
    write_json(folder / "config.json", config)
    if modules:
        names = ["StaticEmbedding", *(["Normalize"] if normalize else [])]
        entries = [
            {
                "idx": i,
                "name": str(i),
                "path": f"{i}_{name}" if i else ".",
                "type": f"sentence_transformers.models.{name}",
            }
            for i, name in enumerate(names)
        ]
        write_json(folder / "modules.json", entries)
    return folder


def build_residual(folder: Path, base: Path) -> Path:
    """Writes a bi-encoder with dense layers that add their input, of the same and of another size, and a norm."""
    modules = [
        transformer(base),
        Pooling(HIDDEN, "mean"),
        Dense(HIDDEN, HIDDEN, activation_function=nn.ReLU(), use_residual=True),
        Dense(HIDDEN, 20, bias=False, use_residual=True),
        LayerNorm(20),
    ]
    return save_modules(folder, modules)


def build_dropout(folder: Path, base: Path) -> Path:
    """Writes a bi-encoder with dropout before its dense layer."""
    return save_modules(folder, [transformer(base), Pooling(HIDDEN, "mean"), Dropout(0.3), Dense(HIDDEN, 20)])


def build_token_dense(folder: Path, base: Path) -> Path:
    """Writes a bi-encoder with a dense layer on the states of tokens, of which the first is taken."""
    dense = Dense(HIDDEN, 24, module_input_name="token_embeddings")
    return save_modules(folder, [transformer(base), dense, Pooling(24, "cls")])


def build_token_normalize(folder: Path, base: Path) -> Path:
    """Writes a bi-encoder that divides the states of tokens by their lengths before it pools them."""
    normalize = Normalize(module_input_name="token_embeddings", module_output_name="token_embeddings")
    return save_modules(folder, [transformer(base), normalize, Pooling(HIDDEN, "mean")])


def build_pooling(
    folder: Path, base: Path, *, modes: tuple[str, ...], include_prompt: bool = True, **options: Any
) -> Path:
    """Writes a bi-encoder whose pooling concatenates modes in the given order, as v5.4 and later can say it."""
    pooling = Pooling(HIDDEN, modes, include_prompt=include_prompt)
    return save_modules(folder, [transformer(base), pooling], **options)


def build_two_towers(folder: Path, base: Path) -> Path:
    """Writes a bi-encoder with a table for queries and a transformer for documents."""
    documents = [transformer(base), Pooling(HIDDEN, "mean"), Dense(HIDDEN, STATIC_SIZE)]
    router = Router.for_query_document([static_embedding(seed=2)], documents)
    return save_modules(folder, [router, Normalize()], prompts={"query": "query: ", "document": "passage: "})


def build_two_heads(folder: Path, base: Path, *, is_old: bool = False) -> Path:
    """Writes a bi-encoder with one transformer, and a dense layer each for queries and documents.

    Args:
        folder: where.
        base: the transformer's.
        is_old: as the Asym module of sentence-transformers before v5 wrote it.

    Returns:
        The folder.
    """
    router = Router({"query": [Dense(HIDDEN, 16)], "document": [Dense(HIDDEN, 16)]})
    save_modules(folder, [transformer(base), Pooling(HIDDEN, "mean"), router])
    if is_old:
        (folder / "2_Router").rename(folder / "2_Asym")
        path = folder / "2_Asym" / "router_config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
        types = dict.fromkeys(config["types"], "sentence_transformers.models.Dense.Dense")
        parameters = {"allow_empty_key": True}
        write_json(path.with_name("config.json"), config | {"types": types, "parameters": parameters})
        entries = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        entries[2] |= {"path": "2_Asym", "type": "sentence_transformers.models.Asym"}
        write_json(folder / "modules.json", entries)
    return folder


def build_modular(folder: Path, base: Path, *, num_labels: int = 1) -> Path:
    """Writes a cross-encoder of a transformer, a pooling, and dense layers that give the scores."""
    modules = [
        transformer(base),
        Pooling(HIDDEN, "cls"),
        Dense(HIDDEN, HIDDEN, activation_function=nn.GELU()),
        Dense(HIDDEN, num_labels, activation_function=nn.Identity(), module_output_name="scores"),
    ]
    for seed, module in enumerate(modules[2:]):
        draw(module, seed=seed)
    CrossEncoder(modules=modules, device="cpu").save(str(folder), create_model_card=False)
    return folder


def build_logit_score(
    folder: Path,
    base: Path,
    *,
    true_id: int,
    false_id: int | None = None,
    chat_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Path:
    """Writes a cross-encoder of a language model and the score that the logits of its tokens make."""
    modules = [transformer(base, "text-generation", chat_options), LogitScore(true_id, false_id)]
    CrossEncoder(modules=modules, device="cpu", **options).save(str(folder), create_model_card=False)
    return folder
