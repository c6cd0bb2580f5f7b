"""The description executed by torch, packed: linear layers see T tokens, attention works inside each text.

In: `TokenBatch`. Does: `architecture.forward` on the real `nn.Linear`, `nn.Embedding` and `nn.LayerNorm` at their
Hugging Face paths. Out: embeddings_BE or logits_BN. Letters: T packed tokens, B texts, L tokens of the longest one, D
features, H heads.
"""

import os
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from functools import cache, partial
from importlib.util import find_spec
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.random import fork_rng

from rankwright.encoder import architecture
from rankwright.encoder.activations_torch import activation_function
from rankwright.encoder.attention_torch import Attention
from rankwright.encoder.dropout import cheap_dropout
from rankwright.encoder.families import FAMILIES
from rankwright.encoder.foreign import build_foreign, recompute_layers, run_foreign
from rankwright.encoder.half_torch import half_precision
from rankwright.encoder.inputs_torch import PackedInputs
from rankwright.encoder.ops_trace import Parameters, parameters
from rankwright.encoder.pooling_torch import pool
from rankwright.encoder.spec import ModelSpec
from rankwright.text import TokenBatch


class TorchEncoder(nn.Module):
    """The model as an `nn.Module`, whose state dict has the Hugging Face names.

    Parameters are on the meta device until `load_state_dict(state, assign=True)` gives them values, so that making a
    model draws no random numbers.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self._tables: dict[tuple[int, torch.device], tuple[np.ndarray, Tensor]] = {}
        layer_paths = _layer_paths(spec)
        for module in parameters(spec):
            _attach(self, module.path, _build(module), layer_paths)
        if spec.foreign is not None:
            self.foreign = build_foreign(spec)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As `nn.Module` does it; of tensors that a model of transformers shares, one name is enough."""
        if self.spec.foreign is None:
            return super().load_state_dict(state_dict, strict=strict, assign=assign)
        found = super().load_state_dict(state_dict, strict=False, assign=assign)
        self.foreign.tie_weights()
        tensors = self.state_dict()
        given = {tensor.data_ptr() for name, tensor in tensors.items() if name not in found.missing_keys}
        lacking = [name for name in found.missing_keys if tensors[name].data_ptr() not in given]
        if strict and lacking:
            raise RuntimeError(f"{len(lacking)} tensors of the model are not in the state dict, as {lacking[0]!r}.")
        return found

    def forward(self, batch: TokenBatch | PackedInputs, dropout_seed: int = 0) -> Tensor:
        """Embeddings_BE, or logits_BN before the activation, in float32.

        Args:
            batch: B texts or pairs, perhaps on the device already.
            dropout_seed: decides all dropout masks of this pass; dropout acts only in training mode.

        Returns:
            One row for each text.
        """
        if isinstance(batch, PackedInputs):
            return architecture.forward(TorchOps(self, self, batch), self.spec).float()
        device = next(self.parameters()).device
        # GPUs and transformers draw from the caller's generators, which are given back as they were
        with fork_rng([device] if device.type == "cuda" else []) if self.training else nullcontext():
            inputs = PackedInputs.of(batch, device, dropout_seed=dropout_seed if self.training else None)
            is_native = self.spec.foreign is None
            casts = is_native and device.type == "cuda" and torch.is_autocast_enabled("cuda")
            with half_precision(self) if casts else nullcontext():
                return self.forward(inputs)

    def checkpoint_layers(self) -> None:
        """Recompute each layer in the backward pass instead of keeping what it computed.

        Raises:
            ConfigError: a model of transformers for which it cannot do that.
        """
        if self.spec.foreign is not None:
            recompute_layers(self.foreign)
        for layer in self.modules():
            if isinstance(layer, Layer):
                layer.is_checkpointed = True

    def layer_forward(
        self, index: int, scope: nn.Module, x: Tensor, bias: Any, inputs: PackedInputs, first_only: bool
    ) -> Tensor:
        """Layer `index`, called by the `Layer` module so that hooks around it run."""
        ops = TorchOps(self, scope, inputs)
        inputs.reseed(index)
        return architecture.transformer_layer(ops, self.spec.architecture, index, x, bias, first_only=first_only)


class Path(nn.Module):
    """A step of a Hugging Face module path: holds modules, computes nothing."""


class Layer(nn.Module):
    """A transformer layer. Its forward runs, so that FSDP, gradient checkpointing and hooks find what they expect."""

    is_checkpointed = False

    def forward(
        self, root: list[TorchEncoder], index: int, x: Tensor, bias: Any, inputs: PackedInputs, first_only: bool
    ) -> Tensor:
        """The layer's output; `root` is in a list so that torch does not take it for a child."""
        return root[0].layer_forward(index, self, x, bias, inputs, first_only)


class TorchOps:
    """`architecture.Ops` on torch tensors: token states x_TD, or vectors x_BD after `first` and `pool`."""

    def __init__(self, root: TorchEncoder, scope: nn.Module, inputs: PackedInputs) -> None:
        self.root, self.scope, self.inputs = root, scope, inputs

    def at(self, path: str) -> Self:
        return type(self)(self.root, _submodule(self.scope, path), self.inputs)

    def embed(self, path: str, ids: str, rows: int, size: int) -> Tensor:
        return _submodule(self.scope, path)(self.inputs.ids[ids])

    def embed_mean(self, path: str, rows: int, size: int) -> Tensor:
        table = _submodule(self.scope, path).weight
        return F.embedding_bag(self.inputs.ids["ids"], table, self.inputs.starts_B1[:-1], mode="mean")

    def foreign(self) -> Tensor:
        inputs = self.inputs
        if inputs.dropout_seed is not None:
            torch.manual_seed(inputs.dropout_seed)  # transformers draws its masks from the global generators
        assert inputs.lengths_B is not None
        ids = {name: ids_T.long() for name, ids_T in inputs.ids.items()}
        return run_foreign(self.root.foreign, self.root.spec, ids, inputs.lengths_B)

    def linear(self, path: str, x: Tensor, size: int, *, bias: bool = True) -> Tensor:
        return _called(_submodule(self.scope, path), x)

    def layer_norm(
        self, path: str, x: Tensor, *, eps: float, bias: bool = True, residual: Tensor | None = None
    ) -> Tensor:
        norm = _submodule(self.scope, path)
        if residual is None:
            return _called(norm, x)
        if x.is_cuda and not torch.is_grad_enabled() and x.dtype == residual.dtype and has_triton():
            from rankwright.encoder.norms_triton import add_layer_norm

            return add_layer_norm(x, residual, norm.weight, norm.bias, eps)
        return _called(norm, x + residual)

    def activation(self, kind: str, x: Tensor) -> Tensor:
        return activation_function(kind)(x)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def multiply(self, x: Tensor, y: Tensor) -> Tensor:
        return x * y

    def split(self, x: Tensor, parts: int) -> list[Tensor]:
        return list(x.chunk(parts, dim=-1))

    def concat(self, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts, dim=-1)

    def dropout(self, x: Tensor, rate: float) -> Tensor:
        if self.inputs.dropout_seed is None or rate == 0:
            return x
        if x.is_cuda:  # one kernel, which draws from the generator of the device
            return F.dropout(x, rate)
        return cheap_dropout(x, rate, self.inputs.generator)

    def rotate(self, x: Tensor, cos_PD: np.ndarray, sin_PD: np.ndarray) -> Tensor:
        cos_T1D = self._table(cos_PD, x)[self.inputs.ids["positions"]][:, None]
        sin_T1D = self._table(sin_PD, x)[self.inputs.ids["positions"]][:, None]
        x_THD = x.unflatten(-1, (-1, cos_PD.shape[1])).float()
        first, second = x_THD.chunk(2, dim=-1)
        rotated = x_THD * cos_T1D + torch.cat((-second, first), dim=-1) * sin_T1D
        return rotated.flatten(-2).to(x.dtype)

    def relative_bias(self, path: str, bucket_R: np.ndarray, rows: int, heads: int) -> Tensor:
        longest, middle = self.inputs.longest, len(bucket_R) // 2
        distance_LL = np.arange(longest)[None, :] - np.arange(longest)[:, None]
        rows_LL = torch.from_numpy(bucket_R[distance_LL + middle]).to(self.inputs.starts_B1.device)
        return _submodule(self.scope, path)(rows_LL).permute(2, 0, 1)

    def attention(
        self, q: Tensor, k: Tensor, v: Tensor, *, heads: int, window: int, bias: Tensor | None, dropout: float
    ) -> Tensor:
        attend = Attention(self.inputs, heads=heads, window=window, bias=bias, rate=dropout, dropout=self.dropout)
        return attend(q, k, v)

    def layer(self, index: int, x: Tensor, bias: Tensor | None, *, first_only: bool) -> Tensor:
        path = FAMILIES[self.root.spec.architecture.family].names["layer"].format(i=index)
        layer = _submodule(self.scope, path)
        arguments = ([self.root], index, x, bias, self.inputs, first_only)
        if getattr(layer, "is_checkpointed", False) and torch.is_grad_enabled():
            from torch.utils.checkpoint import checkpoint

            # the copies in half precision that this pass has, for when it is computed again
            held = {name: tensor for name, tensor in layer.named_parameters() if tensor.dtype != torch.float32}
            return checkpoint(partial(functional_call, layer, held), arguments, use_reentrant=False)
        return layer(*arguments)

    def first(self, x: Tensor) -> Tensor:
        return x[self.inputs.starts_B1[:-1]]

    def pool(self, x: Tensor, mode: str, *, include_prompt: bool) -> Tensor:
        return pool(x, self.inputs, mode, skip=0 if include_prompt else self.inputs.prompt_length)

    def normalize(self, x: Tensor) -> Tensor:
        return F.normalize(x.float(), dim=-1, eps=1e-12)

    def _table(self, values: np.ndarray, x: Tensor) -> Tensor:
        """A constant of the description as a tensor on x's device, made once."""
        key = (id(values), x.device)
        if key not in self.root._tables:
            # the array is kept beside its tensor, so that no other array can ever have its id
            self.root._tables[key] = (values, torch.from_numpy(values).to(x.device))
        return self.root._tables[key][1]


def _submodule(module: nn.Module, path: str) -> Any:
    """`module.get_submodule(path)` without its checks, which take as long as to start a kernel."""
    for name in path.split("."):
        module = module._modules[name]  # type: ignore[assignment]
    return module


@cache
def has_triton() -> bool:
    """Whether kernels written in Triton can be run: it calls a C compiler; asked where there is a GPU."""
    compilers = (os.environ.get("CC"), "cc", "gcc", "clang")
    return find_spec("triton") is not None and any(shutil.which(name) for name in compilers if name)


def _called(module: nn.Module, x: Tensor) -> Tensor:
    """The module's output; what pooling gives in float32 is brought to the type of its weights first."""
    weight = getattr(module, "weight", None)
    if isinstance(weight, Tensor) and weight.dtype in (torch.bfloat16, torch.float16) and x.dtype == torch.float32:
        return module(x.to(weight.dtype))
    return module(x)


def _layer_paths(spec: ModelSpec) -> set[str]:
    family = FAMILIES.get(spec.architecture.family)
    if family is None:
        return set()
    prefix = f"{family.prefix}." if spec.kind == "cross-encoder" and not spec.modules else ""
    return {prefix + family.names["layer"].format(i=i) for i in range(spec.architecture.num_layers)}


def _build(module: Parameters) -> nn.Module:
    if module.kind == "layer_norm":
        return nn.LayerNorm(module.shape[0], eps=module.eps, bias=module.bias, device="meta")
    if module.kind == "embedding":
        return nn.Embedding(module.shape[0], module.shape[1], device="meta")
    return nn.Linear(module.shape[1], module.shape[0], bias=module.bias, device="meta")


def _attach(root: nn.Module, path: str, module: nn.Module, layer_paths: set[str]) -> None:
    """Put `module` at `path`, making the steps on the way."""
    *steps, name = path.split(".")
    node, walked = root, ""
    for step in steps:
        walked = f"{walked}.{step}" if walked else step
        if not hasattr(node, step):
            node.add_module(step, Layer() if walked in layer_paths else Path())
        node = node.get_submodule(step)
    node.add_module(name, module)
