"""The description built as an OpenVINO graph, from weights by name and without torch.

In: `ModelSpec` and weights. Does: `architecture.forward` over graph nodes. Out: `openvino.Model` with inputs of
`INPUTS` and one output. Letters: B texts, L padded tokens, D features, H heads.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any, Self

import numpy as np

from rankwright.encoder import architecture
from rankwright.encoder.core_openvino import import_openvino
from rankwright.encoder.families import FAMILIES
from rankwright.encoder.spec import ModelSpec
from rankwright.errors import ModelFormatError

Node = Any

INPUTS = ("ids", "mask", "positions", "types", "pooled", "packed", "starts")
"""Graph inputs. (B, L): token ids, 1.0 for tokens, position ids, type ids, 1.0 for tokens that pooling reads.
Of models without a transformer: the packed ids and one more (T + 1,), and the offsets of the texts (B + 1,)."""

OPENVINO_ACTIVATIONS: dict[str, tuple[Any, ...]] = {
    "gelu": ("gelu", "erf"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "gelu_fast": ("gelu", "tanh"),
    "relu": ("relu",),
    "silu": ("swish",),
    "swish": ("swish",),
    "tanh": ("tanh",),
    "sigmoid": ("sigmoid",),
    "torch.nn.modules.activation.Tanh": ("tanh",),
    "torch.nn.modules.activation.ReLU": ("relu",),
    "torch.nn.modules.activation.GELU": ("gelu", "erf"),
    "torch.nn.modules.activation.Sigmoid": ("sigmoid",),
    "torch.nn.modules.activation.SiLU": ("swish",),
    "torch.nn.modules.activation.Mish": ("mish",),
    "torch.nn.modules.activation.ELU": ("elu", 1.0),
    "torch.nn.modules.activation.SELU": ("selu", np.float32(1.6732632423543772), np.float32(1.0507009873554805)),
    "torch.nn.modules.activation.LeakyReLU": ("prelu", np.float32(0.01)),
    "torch.nn.modules.activation.ReLU6": ("clamp", 0.0, 6.0),
    "torch.nn.modules.activation.Hardswish": ("hswish",),
    "torch.nn.modules.activation.Softplus": ("softplus",),
    "torch.nn.modules.activation.Softsign": ("softsign",),
    "torch.nn.modules.linear.Identity": (),
}


def build_graph(ops: "OpenVINOOps") -> Any:
    """The graph of a model.

    Args:
        ops: the model, and float32 arrays by Hugging Face name, whose memory the graph shares: they must outlive it.

    Returns:
        An `openvino.Model` with dynamic B and L.

    Raises:
        ModelFormatError: an activation that the graph has no node for.
    """
    openvino = import_openvino()
    output = architecture.forward(ops, ops.spec)
    used = [ops.inputs[name] for name in INPUTS if name in ops.inputs]
    return openvino.Model([output, *ops.more_outputs()], used, "rankwright")


class OpenVINOOps:
    """`architecture.Ops` on graph nodes: token states (B, L, D), or vectors (B, D) after `first` and `pool`."""

    def __init__(self, spec: ModelSpec, weights: Mapping[str, np.ndarray]) -> None:
        import_openvino()
        from openvino import opset15

        self.op = opset15
        self.spec, self.weights, self.prefix = spec, weights, ""
        self.inputs: dict[str, Node] = {}
        self.constants: dict[Any, Any] = {}

    def at(self, path: str) -> Self:
        scope = copy(self)  # inputs and constants are shared
        scope.prefix = f"{self.prefix}{path}."
        return scope

    def more_outputs(self) -> list[Node]:
        """What the graph gives beside the model's output; known after the forward pass."""
        return []

    def embed(self, path: str, ids: str, rows: int, size: int) -> Node:
        table = self._weight(f"{path}.weight")
        if ids == "types" and not self.spec.uses_type_ids:
            return self.op.gather(table, self._ints(0), self._ints(0))
        return self.op.gather(table, self._input(ids), self._ints(0))

    def embed_mean(self, path: str, rows: int, size: int) -> Node:
        nothing = self.op.constant(np.int32(-1))  # as the default index, makes the bag of a text without tokens zeros
        table, ids, starts = self._weight(f"{path}.weight"), self._input("packed"), self._input("starts")
        return self.op.embedding_bag_offsets(table, ids, starts, default_index=nothing, reduction="mean")

    def foreign(self) -> Node:
        raise NotImplementedError("make_engine gives models that transformers runs to torch")

    def linear(self, path: str, x: Node, size: int, *, bias: bool = True) -> Node:
        product = self.op.matmul(x, self._weight(f"{path}.weight"), False, True)
        return self.op.add(product, self._weight(f"{path}.bias")) if bias else product

    def layer_norm(self, path: str, x: Node, *, eps: float, bias: bool = True, residual: Node | None = None) -> Node:
        x = x if residual is None else self.add(x, residual)
        normed = self.op.mvn(x, self._ints([-1]), normalize_variance=True, eps=eps, eps_mode="inside_sqrt")
        scaled = self.op.multiply(normed, self._weight(f"{path}.weight"))
        return self.op.add(scaled, self._weight(f"{path}.bias")) if bias else scaled

    def activation(self, kind: str, x: Node) -> Node:
        found = OPENVINO_ACTIVATIONS.get(kind)
        if found is None:
            raise ModelFormatError(
                f"activation {kind!r} has no OpenVINO node here. Known: {', '.join(OPENVINO_ACTIVATIONS)}. "
                "Use engine='torch' for this model."
            )
        return getattr(self.op, found[0])(x, *found[1:]) if found else x

    def add(self, x: Node, y: Node) -> Node:
        return self.op.add(x, y)

    def multiply(self, x: Node, y: Node) -> Node:
        return self.op.multiply(x, y)

    def split(self, x: Node, parts: int) -> list[Node]:
        return list(self.op.split(x, self._ints(-1), parts).outputs())

    def concat(self, parts: list[Node]) -> Node:
        return self.op.concat(parts, -1)

    def dropout(self, x: Node, rate: float) -> Node:
        return x

    def rotate(self, x: Node, cos_PD: np.ndarray, sin_PD: np.ndarray) -> Node:
        size = cos_PD.shape[1]
        cos, sin = (
            self.op.unsqueeze(self.op.gather(self._constant(t), self._input("positions"), self._ints(0)), self._ints(2))
            for t in (cos_PD, sin_PD)
        )
        x_BLHD = self.op.reshape(x, self._ints([0, 0, -1, size]), True)
        first, second = self.split(x_BLHD, 2)
        turned = self.op.concat([self.op.negative(second), first], -1)
        rotated = self.op.add(self.op.multiply(x_BLHD, cos), self.op.multiply(turned, sin))
        return self.op.reshape(rotated, self._ints([0, 0, -1]), True)

    def relative_bias(self, path: str, bucket_R: np.ndarray, rows: int, heads: int) -> Node:
        distance_LL = self._distance()
        table = self.op.constant(np.ascontiguousarray(self._array(f"{path}.weight")[bucket_R].T))
        index = self.op.add(distance_LL, self._ints(len(bucket_R) // 2))
        return self.op.unsqueeze(self.op.gather(table, index, self._ints(1)), self._ints(0))

    def attention(
        self, q: Node, k: Node, v: Node, *, heads: int, window: int, bias: Node | None, dropout: float
    ) -> Node:
        first_only = self._is_vector(q)
        if first_only:
            q = self.op.unsqueeze(q, self._ints(1))
        q, k, v = (self._heads(x, heads) for x in (q, k, v))
        mask = self._attention_mask(window, bias, first_only=first_only)
        out = self.op.transpose(self.op.scaled_dot_product_attention(q, k, v, mask), self._ints([0, 2, 1, 3]))
        out = self.op.reshape(out, self._ints([0, 0, -1]), True)
        return self.op.squeeze(out, self._ints(1)) if first_only else out

    def layer(self, index: int, x: Node, bias: Node | None, *, first_only: bool) -> Node:
        arch = self.spec.architecture
        scope = self.at(FAMILIES[arch.family].names["layer"].format(i=index))
        return architecture.transformer_layer(scope, arch, index, x, bias, first_only=first_only)

    def first(self, x: Node) -> Node:
        return self.op.gather(x, self._ints(0), self._ints(1))

    def pool(self, x: Node, mode: str, *, include_prompt: bool) -> Node:
        mask_BL = self._input("mask" if include_prompt else "pooled")
        mask_BL1 = self.op.unsqueeze(mask_BL, self._ints(2))
        if mode == "max":
            shown_BL1 = self.op.greater(mask_BL1, self._floats(0))
            highest_BD = self.op.reduce_max(self.op.select(shown_BL1, x, self._floats(-np.inf)), self._ints([1]))
            if include_prompt:
                return highest_BD
            # reduce_max stops at the lowest float
            is_empty_B1 = self.op.equal(self.op.reduce_max(mask_BL, self._ints([1]), True), self._floats(0))
            return self.op.select(is_empty_B1, self._floats(-np.inf), highest_BD)
        if mode == "cls" or mode == "lasttoken":
            edge_BL = self._edge(mask_BL, reverse=mode == "lasttoken")
            if mode == "cls" and not include_prompt:  # as in ST: the first of all where the prompt is all there is
                is_empty_B1 = self.op.subtract(self._floats(1), self.op.reduce_max(mask_BL, self._ints([1]), True))
                edge_BL = self.op.add(edge_BL, self.op.multiply(self._edge(self._input("mask")), is_empty_B1))
            picked = self.op.multiply(x, self.op.unsqueeze(edge_BL, self._ints(2)))
            return self.op.reduce_sum(picked, self._ints([1]))
        if mode == "weightedmean":
            places_BL = self.op.cum_sum(self._input("mask"), self._ints(1))
            mask_BL1 = self.op.multiply(mask_BL1, self.op.unsqueeze(places_BL, self._ints(2)))
        total = self.op.reduce_sum(self.op.multiply(x, mask_BL1), self._ints([1]))
        count = self.op.maximum(self.op.reduce_sum(mask_BL1, self._ints([1])), self._floats(1e-9))
        return self.op.divide(total, self.op.sqrt(count) if mode == "mean_sqrt_len_tokens" else count)

    def _edge(self, mask_BL: Node, *, reverse: bool = False) -> Node:
        """1 at the first (or last) 1 of each row of the mask."""
        counts_BL = self.op.cum_sum(mask_BL, self._ints(1), reverse=reverse)
        return self.op.multiply(self.op.convert(self.op.equal(counts_BL, self._floats(1)), "f32"), mask_BL)

    def normalize(self, x: Node) -> Node:
        norm = self.op.sqrt(self.op.reduce_sum(self.op.multiply(x, x), self._ints([-1]), True))
        return self.op.divide(x, self.op.maximum(norm, self._floats(1e-12)))

    def _is_vector(self, x: Node) -> bool:
        """Whether x is one vector for each text, not one for each token."""
        port = x.output(0) if hasattr(x, "outputs") else x
        return bool(port.get_partial_shape().rank.get_length() == 2)

    def _heads(self, x: Node, heads: int) -> Node:
        x = self.op.reshape(x, self._ints([0, 0, heads, self.spec.architecture.hidden_size // heads]), True)
        return self.op.transpose(x, self._ints([0, 2, 1, 3]))

    def _attention_mask(self, window: int, bias: Node | None, *, first_only: bool) -> Node:
        """What is added to the scores: (B, 1, 1, L), or (B, 1 or H, L, L) with a window or a bias; made once a kind."""
        key = ("mask", window, bias is not None, first_only)
        if key in self.constants:
            return self.constants[key]
        masked = self.op.multiply(self.op.subtract(self._input("mask"), self._floats(1)), self._floats(1e9))
        mask = self.op.unsqueeze(masked, self._ints([1, 2]))
        if window:
            far_LL = self.op.greater(self.op.absolute(self._distance()), self._ints(window))
            hidden = self.op.multiply(self.op.convert(far_LL, "f32"), self._floats(-1e9))
            hidden = self.op.unsqueeze(hidden, self._ints([0, 1]))
            mask = self.op.add(mask, self._first_row(hidden) if first_only else hidden)
        if bias is not None:
            mask = self.op.add(mask, self._first_row(bias) if first_only else bias)
        self.constants[key] = mask
        return mask

    def _first_row(self, x: Node) -> Node:
        return self.op.gather(x, self._ints([0]), self._ints(2))

    def _distance(self) -> Node:
        """Key position minus query position, (L, L)."""
        if "distance" not in self.constants:
            length = self.op.gather(self.op.shape_of(self._input("ids")), self._ints(1), self._ints(0))
            places = self.op.range(self._ints(0), length, self._ints(1), output_type="i64")
            self.constants["distance"] = self.op.subtract(
                self.op.unsqueeze(places, self._ints(0)), self.op.unsqueeze(places, self._ints(1))
            )
        return self.constants["distance"]

    def _input(self, name: str) -> Node:
        if name not in self.inputs:
            dtype = np.float32 if name in ("mask", "pooled") else np.int32
            shape = [-1] if name in ("packed", "starts") else [-1, -1]
            self.inputs[name] = self.op.parameter(shape, dtype, name=name)
        return self.inputs[name]

    def _array(self, name: str) -> np.ndarray:
        return self.weights[self.prefix + name]

    def _weight(self, name: str) -> Node:
        name = self.prefix + name
        if name not in self.constants:
            self.constants[name] = self.op.constant(self.weights[name], shared_memory=True)
        return self.constants[name]

    def _constant(self, values: np.ndarray) -> Node:
        if id(values) not in self.constants:
            # the array is kept beside its node, so that no other array can have its id
            self.constants[id(values)] = (values, self.op.constant(values))
        return self.constants[id(values)][1]

    def _ints(self, values: int | list[int]) -> Node:
        return self.op.constant(np.asarray(values, dtype=np.int64))

    def _floats(self, value: float) -> Node:
        return self.op.constant(np.float32(value))
