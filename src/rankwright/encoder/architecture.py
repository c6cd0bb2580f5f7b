"""The forward pass of every family, written once over a small set of operations.

In: `Architecture`, and an `Ops` that holds a batch and the weights. Does: embeddings, layers, pooling, heads.
Out: what the `Ops` computes: torch tensors, OpenVINO nodes, or (in `ops_trace.py`) the list of parameters.

Values (`X`) are opaque here: token states of the batch, or vectors, one for each text, after `first` and `pool`.
"""

from functools import lru_cache
from typing import Any, Protocol, Self

import numpy as np

from rankwright.encoder.families import FAMILIES, Family
from rankwright.encoder.spec import (
    STATIC,
    Architecture,
    Dense,
    Dropout,
    LayerNorm,
    LogitScore,
    ModelSpec,
    Module,
    Normalize,
    Pooling,
)

X = Any


class Ops(Protocol):
    """What an engine must be able to do. Paths are Hugging Face module paths below `at(...)`."""

    def at(self, path: str) -> Self:
        """The same operations, with paths below `path`."""

    def embed(self, path: str, ids: str, rows: int, size: int) -> X:
        """Rows of an embedding table; `ids` names an input of the batch: "ids", "positions" or "types"."""

    def embed_mean(self, path: str, rows: int, size: int) -> X:
        """The mean of each text's rows of an embedding table; zeros for a text without tokens."""

    def foreign(self) -> X:
        """What a model that transformers runs gives: token states, or logits if it has a head of its own."""

    def linear(self, path: str, x: X, size: int, *, bias: bool = True) -> X:
        """A linear layer to `size` features."""

    def layer_norm(self, path: str, x: X, *, eps: float, bias: bool = True, residual: X | None = None) -> X:
        """Layer norm over the features of x, or of x + residual."""

    def activation(self, kind: str, x: X) -> X:
        """An activation by its Hugging Face name ("gelu") or its path ("torch.nn.modules.activation.Tanh")."""

    def add(self, x: X, y: X) -> X:
        """The sum."""

    def multiply(self, x: X, y: X) -> X:
        """The product."""

    def split(self, x: X, parts: int) -> list[X]:
        """Equal parts of the features."""

    def concat(self, parts: list[X]) -> X:
        """Features side by side."""

    def dropout(self, x: X, rate: float) -> X:
        """In training, inverted dropout; else x."""

    def rotate(self, x: X, cos_PD: np.ndarray, sin_PD: np.ndarray) -> X:
        """Rotary position embedding of each head; tables by position and the features of a head."""

    def relative_bias(self, path: str, bucket_R: np.ndarray, rows: int, heads: int) -> X:
        """A bias for each head and distance; `bucket_R[distance + L - 1]` is the row of the table."""

    def attention(self, q: X, k: X, v: X, *, heads: int, window: int, bias: X | None, dropout: float) -> X:
        """Softmax attention inside each text; `window` tokens each side (0: all)."""

    def layer(self, index: int, x: X, bias: X | None, *, first_only: bool) -> X:
        """`transformer_layer` below the path of layer `index`, as a module of its own where the engine has modules."""

    def first(self, x: X) -> X:
        """The state of each text's first token."""

    def pool(self, x: X, mode: str, *, include_prompt: bool) -> X:
        """One vector for each text, by a mode of `POOLING_MODES`."""

    def normalize(self, x: X) -> X:
        """The vector over its L2 norm, which counts as at least 1e-12."""


def forward(ops: Ops, spec: ModelSpec) -> X:
    """Embeddings or token states of a bi-encoder, or logits of a cross-encoder.

    Where only the first token is read, the last layer computes its queries, feed-forward and norms for it alone.
    """
    arch, first_only = spec.architecture, False
    if spec.foreign is not None:
        x = ops.foreign()
    elif arch.family == STATIC:
        x = ops.embed_mean("embedding", arch.vocab_size, arch.hidden_size)
    elif spec.kind == "cross-encoder" and not spec.modules:
        return classification(ops, spec, FAMILIES[arch.family])
    else:
        first_only = _reads_first_token_only(spec)
        x = encode(ops, arch, FAMILIES[arch.family], first_only=first_only)
    for module in spec.modules:
        x = apply_module(ops, module, x, is_pooled=first_only)
    return x


def apply_module(ops: Ops, module: Module, x: X, *, is_pooled: bool) -> X:
    """What a module makes of token states or vectors; with `is_pooled` x holds the first token's states already."""
    match module:
        case Pooling():
            modes = () if is_pooled else module.modes
            pooled = [ops.pool(x, mode, include_prompt=module.include_prompt) for mode in modes]
            return x if is_pooled else pooled[0] if len(pooled) == 1 else ops.concat(pooled)
        case Dense():
            scope = ops.at(module.name)
            h = ops.activation(module.activation, scope.linear("linear", x, module.out_features, bias=module.use_bias))
            if not module.adds_input:
                return h
            resized = module.in_features != module.out_features
            return ops.add(h, scope.linear("residual", x, module.out_features, bias=False) if resized else x)
        case LayerNorm():
            return ops.at(module.name).layer_norm("norm", x, eps=1e-5)
        case Dropout():
            return ops.dropout(x, module.rate)
        case Normalize():
            return ops.normalize(x)
        case LogitScore():  # the foreign model's logits are those of its two tokens
            return x


def encode(ops: Ops, arch: Architecture, family: Family, *, first_only: bool) -> X:
    """Token states after the last layer; only the first token's with `first_only`."""
    names = family.names
    x = embeddings(ops, arch, family)
    bias = None
    if arch.relative_buckets:
        buckets_R = relative_buckets(arch.max_positions, arch.relative_buckets)
        bias = ops.relative_bias(names["relative_bias"], buckets_R, arch.relative_buckets, arch.num_heads)
    for i in range(arch.num_layers):
        x = ops.layer(i, x, bias, first_only=first_only and i == arch.num_layers - 1)
    if "final_norm" in names:
        x = ops.layer_norm(names["final_norm"], x, eps=arch.norm_eps, bias=arch.norm_bias)
    return x


def embeddings(ops: Ops, arch: Architecture, family: Family) -> X:
    """Word embeddings, with positions and types where the family has tables for them."""
    names, size = family.names, arch.embedding_size or arch.hidden_size
    x = ops.embed(names["words"], "ids", arch.vocab_size, size)
    if arch.type_vocab_size:
        x = ops.add(x, ops.embed(names["types"], "types", arch.type_vocab_size, size))
    if "positions" in names:
        x = ops.add(x, ops.embed(names["positions"], "positions", arch.max_positions, size))
    x = ops.layer_norm(names["embedding_norm"], x, eps=arch.norm_eps, bias=arch.norm_bias)
    x = ops.dropout(x, arch.hidden_dropout)
    return x if size == arch.hidden_size else ops.linear(names["embedding_projection"], x, arch.hidden_size)


def transformer_layer(ops: Ops, arch: Architecture, index: int, x: X, bias: X | None, *, first_only: bool) -> X:
    """One layer; with `first_only` its result is the first token's state alone."""
    family = FAMILIES[arch.family]
    return LAYERS[family.layer](ops, arch, family.names, index, x, bias, first_only)


def post_norm_layer(ops: Ops, arch: Architecture, names: Any, index: int, x: X, bias: X | None, first_only: bool) -> X:
    """BERT's layer: attention and feed-forward, each with a residual and then a norm.

    Source:
        Vaswani et al. 2017, section 3, https://arxiv.org/abs/1706.03762
    """
    k = ops.linear(names["key"], x, arch.hidden_size)
    v = ops.linear(names["value"], x, arch.hidden_size)
    x = ops.first(x) if first_only else x
    q = ops.linear(names["query"], x, arch.hidden_size)
    a = ops.attention(q, k, v, heads=arch.num_heads, window=0, bias=bias, dropout=arch.attention_dropout)
    a = ops.dropout(ops.linear(names["attention_output"], a, arch.hidden_size), arch.hidden_dropout)
    x = ops.layer_norm(names["attention_norm"], a, eps=arch.norm_eps, residual=x)
    h = ops.activation(arch.activation, ops.linear(names["up"], x, arch.intermediate_size))
    h = ops.dropout(ops.linear(names["down"], h, arch.hidden_size), arch.hidden_dropout)
    return ops.layer_norm(names["output_norm"], h, eps=arch.norm_eps, residual=x)


def pre_norm_gated_layer(
    ops: Ops, arch: Architecture, names: Any, index: int, x: X, bias: X | None, first_only: bool
) -> X:
    """ModernBERT's layer: norms before, rotary positions, a window in local layers, a gated feed-forward.

    Source:
        Warner et al. 2024, section 2.1, https://arxiv.org/abs/2412.13663
    """
    size, use_bias = arch.hidden_size, arch.use_bias
    # The first layer has no norm of its own: the embeddings were just normalised.
    h = x if index == 0 else ops.layer_norm(names["attention_norm"], x, eps=arch.norm_eps, bias=arch.norm_bias)
    q, k, v = ops.split(ops.linear(names["query_key_value"], h, 3 * size, bias=use_bias), 3)
    cos_PD, sin_PD = rotary_tables(arch.max_positions, size // arch.num_heads, arch.rotary_bases[index])
    q, k = ops.rotate(q, cos_PD, sin_PD), ops.rotate(k, cos_PD, sin_PD)
    if first_only:
        q, x = ops.first(q), ops.first(x)
    window = arch.windows[index]
    a = ops.attention(q, k, v, heads=arch.num_heads, window=window, bias=bias, dropout=arch.attention_dropout)
    a = ops.linear(names["attention_output"], a, size, bias=use_bias)
    x = ops.add(x, ops.dropout(a, arch.attention_dropout))
    h = ops.layer_norm(names["output_norm"], x, eps=arch.norm_eps, bias=arch.norm_bias)
    h, gate = ops.split(ops.linear(names["up"], h, 2 * arch.intermediate_size, bias=use_bias), 2)
    h = ops.dropout(ops.multiply(ops.activation(arch.activation, h), gate), arch.hidden_dropout)
    return ops.add(x, ops.linear(names["down"], h, size, bias=use_bias))


LAYERS = {"post_norm": post_norm_layer, "pre_norm_gated": pre_norm_gated_layer}


def classification(ops: Ops, spec: ModelSpec, family: Family) -> X:
    """Logits of a sequence classification model: the first token (or the mean), dense, activation, output layer."""
    arch, head = spec.architecture, family.head
    reads_mean = arch.classifier_pooling == "mean"
    x = encode(ops.at(family.prefix), arch, family, first_only=not reads_mean)
    if reads_mean:
        x = ops.pool(x, "mean", include_prompt=True)
    if head.drops_input:
        x = ops.dropout(x, arch.classifier_dropout)
    dense = head.dense.format(prefix=family.prefix)
    x = ops.linear(dense, x, arch.hidden_size, bias=arch.classifier_bias)
    x = ops.activation(arch.classifier_activation, x)
    if head.norm is not None:
        x = ops.layer_norm(head.norm, x, eps=arch.norm_eps, bias=arch.norm_bias)
    x = ops.dropout(x, arch.classifier_dropout)
    return ops.linear(head.output, x, spec.num_labels)


@lru_cache(maxsize=8)
def rotary_tables(positions: int, size: int, base: float) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine by position (P) and feature of a head (D), in float32 throughout as transformers has them.

    Source:
        Su et al. 2021, eq. 34, https://arxiv.org/abs/2104.09864
    """
    frequencies = 1.0 / np.float32(base) ** (np.arange(0, size, 2, dtype=np.float32) / np.float32(size))
    angles_PD = np.tile(np.arange(positions, dtype=np.float32)[:, None] * frequencies, 2)
    return np.cos(angles_PD), np.sin(angles_PD)


@lru_cache(maxsize=8)
def relative_buckets(length: int, num_buckets: int, max_distance: int = 128) -> np.ndarray:
    """Bucket of each distance key - query from -(length - 1) to length - 1: exact when near, logarithmic when far.

    Source:
        Raffel et al. 2020, section 2.1, https://arxiv.org/abs/1910.10683
    """
    distance = np.arange(-(length - 1), length)
    half, far = num_buckets // 2, np.abs(distance)
    exact = half // 2
    ratio = np.log(np.maximum(far, 1).astype(np.float32) / exact) / np.float32(np.log(max_distance / exact))
    logarithmic = np.minimum(exact + (ratio * (half - exact)).astype(np.int64), half - 1)
    return np.where(distance > 0, half, 0) + np.where(far < exact, far, logarithmic)


def _reads_first_token_only(spec: ModelSpec) -> bool:
    pooling = next((module for module in spec.modules if isinstance(module, Pooling)), None)
    return pooling is not None and pooling.modes == ("cls",) and pooling.include_prompt
