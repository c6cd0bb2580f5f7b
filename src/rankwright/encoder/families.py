"""Weight names and config keys of each Hugging Face family, as data.

In: config.json. Out: `Architecture`, and the `Family` that names its tensors. A new family is one entry of `FAMILIES`
plus, at most, one new function in `architecture.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rankwright.encoder.spec import Architecture
from rankwright.errors import ModelFormatError
from rankwright.json_values import COUNT, FLAG, OBJECT, POSITIVE, RATE, SIZE, Expected, one_of_texts, value_of, whole

BERT_NAMES = {
    "words": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "types": "embeddings.token_type_embeddings",
    "embedding_norm": "embeddings.LayerNorm",
    "layer": "encoder.layer.{i}",
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "output_norm": "output.LayerNorm",
}

DISTILBERT_NAMES = {
    "words": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "embedding_norm": "embeddings.LayerNorm",
    "layer": "transformer.layer.{i}",
    "query": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "attention_output": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "up": "ffn.lin1",
    "down": "ffn.lin2",
    "output_norm": "output_layer_norm",
}

MPNET_NAMES = BERT_NAMES | {
    "query": "attention.attn.q",
    "key": "attention.attn.k",
    "value": "attention.attn.v",
    "attention_output": "attention.attn.o",
    "attention_norm": "attention.LayerNorm",
    "relative_bias": "encoder.relative_attention_bias",
}

MODERNBERT_NAMES = {
    "words": "embeddings.tok_embeddings",
    "embedding_norm": "embeddings.norm",
    "layer": "layers.{i}",
    "attention_norm": "attn_norm",
    "query_key_value": "attn.Wqkv",
    "attention_output": "attn.Wo",
    "output_norm": "mlp_norm",
    "up": "mlp.Wi",
    "down": "mlp.Wo",
    "final_norm": "final_norm",
}

BERT_KEYS = {
    "num_layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "num_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "vocab_size": "vocab_size",
    "max_positions": "max_position_embeddings",
    "type_vocab_size": "type_vocab_size",
    "norm_eps": "layer_norm_eps",
    "activation": "hidden_act",
    "hidden_dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "classifier_dropout": "classifier_dropout",
    "initializer_range": "initializer_range",
}

BERT_DEFAULTS: dict[str, Any] = {
    "type_vocab_size": 2,
    "norm_eps": 1e-12,
    "activation": "gelu",
    "hidden_dropout": 0.1,
    "attention_dropout": 0.1,
    "initializer_range": 0.02,
}


@dataclass(frozen=True)
class Head:
    """A classification head: dense, activation, norm where there is one, then the output layer.

    Paths are in the whole model; `{prefix}` stands for the encoder's place in it.
    """

    dense: str
    output: str
    norm: str | None = None
    drops_input: bool = True


@dataclass(frozen=True)
class Family:
    """Where a family keeps its weights, and what its config calls its sizes.

    `prefix` is the encoder's place in a model with a head. `layer` is a key of `LAYERS` in
    `architecture.py`; `position_ids_start` is the pad id from which positions count, or its config key. `kept` names
    the tensors of the encoder that embeddings do not need.
    """

    prefix: str
    names: Mapping[str, str]
    keys: Mapping[str, str]
    head: Head
    layer: str = "post_norm"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    position_ids_start: int | str | None = None
    kept: tuple[str, ...] = ()


POOLER = ("pooler.dense.weight", "pooler.dense.bias")

ROBERTA_HEAD = Head(dense="classifier.dense", output="classifier.out_proj")

ROBERTA = Family(
    prefix="roberta",
    names=BERT_NAMES,
    keys=BERT_KEYS,
    head=ROBERTA_HEAD,
    defaults=BERT_DEFAULTS,
    position_ids_start="pad_token_id",
    kept=POOLER,
)

FAMILIES: dict[str, Family] = {
    "bert": Family(
        prefix="bert",
        names=BERT_NAMES,
        keys=BERT_KEYS,
        head=Head(dense="{prefix}.pooler.dense", output="classifier", drops_input=False),
        defaults=BERT_DEFAULTS,
        kept=POOLER,
    ),
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "camembert": ROBERTA,
    "distilbert": Family(
        prefix="distilbert",
        names=DISTILBERT_NAMES,
        keys={
            "num_layers": "n_layers",
            "hidden_size": "dim",
            "num_heads": "n_heads",
            "intermediate_size": "hidden_dim",
            "vocab_size": "vocab_size",
            "max_positions": "max_position_embeddings",
            "activation": "activation",
            "hidden_dropout": "dropout",
            "attention_dropout": "attention_dropout",
            "classifier_dropout": "seq_classif_dropout",
            "initializer_range": "initializer_range",
        },
        head=Head(dense="pre_classifier", output="classifier", drops_input=False),
        defaults=BERT_DEFAULTS | {"type_vocab_size": 0, "classifier_activation": "relu", "classifier_dropout": 0.2},
    ),
    "electra": Family(
        prefix="electra",
        names=BERT_NAMES | {"embedding_projection": "embeddings_project"},
        keys=BERT_KEYS | {"embedding_size": "embedding_size"},
        head=ROBERTA_HEAD,
        defaults=BERT_DEFAULTS | {"classifier_activation": "gelu", "embedding_size": 128},
    ),
    "mpnet": Family(
        prefix="mpnet",
        names=MPNET_NAMES,
        keys=BERT_KEYS | {"relative_buckets": "relative_attention_num_buckets"},
        head=ROBERTA_HEAD,
        defaults=BERT_DEFAULTS | {"type_vocab_size": 0, "relative_buckets": 32},
        position_ids_start=1,
        kept=POOLER,
    ),
    "modernbert": Family(
        prefix="model",
        names=MODERNBERT_NAMES,
        keys={
            "num_layers": "num_hidden_layers",
            "hidden_size": "hidden_size",
            "num_heads": "num_attention_heads",
            "intermediate_size": "intermediate_size",
            "vocab_size": "vocab_size",
            "max_positions": "max_position_embeddings",
            "norm_eps": "norm_eps",
            "activation": "hidden_activation",
            "norm_bias": "norm_bias",
            "use_bias": "attention_bias",
            "hidden_dropout": "mlp_dropout",
            "attention_dropout": "attention_dropout",
            "classifier_dropout": "classifier_dropout",
            "classifier_pooling": "classifier_pooling",
            "classifier_activation": "classifier_activation",
            "classifier_bias": "classifier_bias",
            "initializer_range": "initializer_range",
        },
        head=Head(dense="head.dense", norm="head.norm", output="classifier", drops_input=False),
        layer="pre_norm_gated",
        defaults={
            "norm_eps": 1e-5,
            "activation": "gelu",
            "norm_bias": False,
            "use_bias": False,
            "classifier_pooling": "cls",
            "classifier_activation": "gelu",
            "classifier_bias": False,
        },
    ),
}

MAX_ROTARY = 1 << 27
"""Numbers of a rotary table, which no tensor of the checkpoint bounds; a million positions of 128."""

REQUIRED = ("num_layers", "hidden_size", "num_heads", "intermediate_size", "vocab_size", "max_positions")

ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "relu", "silu", "swish", "tanh", "sigmoid")
"""The activations that a config may name, which both engines have."""

LAYERS = whole(1, 10_000)

_ACTIVATION = one_of_texts(*ACTIVATIONS)
_EXPECTED: dict[str, Expected] = {
    "num_layers": LAYERS,
    "max_positions": whole(1, 2**20),
    "norm_eps": POSITIVE,
    "initializer_range": POSITIVE,
    "activation": _ACTIVATION,
    "classifier_activation": _ACTIVATION,
    "classifier_pooling": one_of_texts("cls", "mean"),
    **dict.fromkeys(("hidden_dropout", "attention_dropout", "classifier_dropout"), RATE),
    **dict.fromkeys(("use_bias", "norm_bias", "classifier_bias"), FLAG),
}
"""What the values of an `Architecture` must be like; those that are not here are sizes."""


def architecture_from_config(config: Mapping[str, Any], place: object = "config.json") -> Architecture:
    """The architecture that a Hugging Face config.json describes.

    Args:
        config: the parsed file; its model_type is a key of `FAMILIES`.
        place: the file, for messages.

    Returns:
        Family and sizes.

    Raises:
        ModelFormatError: a missing size, a value that means nothing, or a feature that we do not run.
    """
    model_type = str(config["model_type"])
    family = FAMILIES[model_type]
    values = dict(family.defaults)
    for name, key in family.keys.items():
        found = value_of(config, key, _EXPECTED.get(name, SIZE), place)
        if found is not None:
            values[name] = found
    missing = [family.keys[name] for name in REQUIRED if name not in values]
    if missing:
        raise ModelFormatError(f"{place}: a {model_type} config needs {', '.join(missing)}, which it lacks.")
    if config.get("position_embedding_type") not in (None, "absolute"):
        raise ModelFormatError(
            f"{place}: position_embedding_type {config['position_embedding_type']!r} is not supported, "
            "only 'absolute' is. Convert the model, or use sentence-transformers for it."
        )
    if values["hidden_size"] % values["num_heads"]:
        raise ModelFormatError(
            f"{place}: {family.keys['num_heads']} {values['num_heads']} does not divide "
            f"{family.keys['hidden_size']} {values['hidden_size']}. Correct the one that is wrong."
        )
    if values.get("classifier_dropout") is None:
        values["classifier_dropout"] = values.get("hidden_dropout", 0.0)
    start = family.position_ids_start
    if isinstance(start, str):
        start = value_of(config, start, COUNT, place, 1)
    if start is not None and start + 1 >= values["max_positions"]:
        key = family.keys["max_positions"]
        raise ModelFormatError(f"{place}: {key} {values['max_positions']} has none left after pad_token_id {start}.")
    values["position_ids_start"] = start
    if family.layer == "pre_norm_gated":
        values |= _local_layers(config, values, place)
    return Architecture(family=model_type, **values)


def _local_layers(config: Mapping[str, Any], values: Mapping[str, Any], place: object) -> dict[str, tuple[Any, ...]]:
    """Window and rotary base of each ModernBERT layer, from the config keys of transformers 4 or 5."""
    num_layers, head_size = values["num_layers"], values["hidden_size"] // values["num_heads"]
    if head_size % 2 or values["max_positions"] * head_size > MAX_ROTARY:
        raise ModelFormatError(
            f"{place}: rotary positions need heads of an even size, and tables of at most {MAX_ROTARY} numbers; it "
            f"describes {values['max_positions']} positions for heads of size {head_size}. Correct the sizes."
        )
    period = value_of(config, "global_attn_every_n_layers", SIZE, place, 3)
    types = config.get("layer_types") or [
        "sliding_attention" if i % period else "full_attention" for i in range(num_layers)
    ]
    known = ("sliding_attention", "full_attention")
    if not isinstance(types, list) or len(types) != num_layers or any(kind not in known for kind in types):
        raise ModelFormatError(
            f"{place}: layer_types is {types!r:.80}, expected a list of {num_layers} times one of {', '.join(known)}."
        )
    ropes = value_of(config, "rope_parameters", OBJECT, place, {})
    by_kind = {kind: value_of(ropes, kind, OBJECT, place, {}) for kind in known}
    others = {str(rope.get("rope_type", "default")) for rope in (ropes, *by_kind.values())} - {"default"}
    if others:
        raise ModelFormatError(f"{place}: rope_type {sorted(others)} is not supported, only 'default' is.")
    bases = {
        kind: value_of(by_kind[kind], "rope_theta", POSITIVE, place) or value_of(config, key, POSITIVE, place, default)
        for kind, key, default in (
            ("full_attention", "global_rope_theta", 160_000.0),
            ("sliding_attention", "local_rope_theta", 10_000.0),
        )
    }
    half_window = value_of(config, "local_attention", SIZE, place, 128) // 2
    if config.get("mlp_bias", False) != config.get("attention_bias", False):
        raise ModelFormatError(f"{place}: mlp_bias and attention_bias differ, which is not supported.")
    return {
        "windows": tuple(half_window if kind == "sliding_attention" else 0 for kind in types),
        "rotary_bases": tuple(float(bases[kind]) for kind in types),
    }
