"""The description executed by torch, packed: linear layers see T tokens, attention works inside each text.

In: `TokenBatch`. Does: `architecture.forward` on the real `nn.Linear`, `nn.Embedding` and `nn.LayerNorm` at their
Hugging Face paths. Out: embeddings_BE or logits_BN. Letters: T packed tokens, P padded rows, G texts of a group, L
their length.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.random import fork_rng

from rankwright.encoder import architecture
from rankwright.encoder.activations_torch import activation_function
from rankwright.encoder.dropout import cheap_dropout
from rankwright.encoder.families import FAMILIES
from rankwright.encoder.foreign import build_foreign, recompute_layers, run_foreign
from rankwright.encoder.ops_trace import Parameters, parameters
from rankwright.encoder.packing import AttentionGroups, group_by_length
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
        return found

    def forward(self, batch: TokenBatch, dropout_seed: int = 0) -> Tensor:
        """Embeddings_BE, or logits_BN before the activation, in float32.

        Args:
            batch: B texts or pairs.
            dropout_seed: decides all dropout masks of this pass; dropout acts only in training mode.

        Returns:
            One row for each text.
        """
        device = next(self.parameters()).device
        inputs = PackedInputs.of(batch, device, dropout_seed=dropout_seed if self.training else None)
        return architecture.forward(TorchOps(self, self, inputs), self.spec).float()

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
        self, index: int, scope: nn.Module, x: Tensor, bias: Any, inputs: "PackedInputs", first_only: bool
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
        self, root: list[TorchEncoder], index: int, x: Tensor, bias: Any, inputs: "PackedInputs", first_only: bool
    ) -> Tensor:
        """The layer's output; `root` is in a list so that torch does not take it for a child."""
        return root[0].layer_forward(index, self, x, bias, inputs, first_only)


@dataclass
class PackedInputs:
    """A batch on the device, with what attention and dropout need to know of it."""

    ids: dict[str, Tensor]
    starts_B1: np.ndarray
    groups: AttentionGroups
    gather_P: Tensor
    scatter_T: Tensor
    prompt_length: int
    dropout_seed: int | None
    generator: torch.Generator

    @classmethod
    def of(cls, batch: TokenBatch, device: torch.device, *, dropout_seed: int | None) -> Self:
        """The inputs of `batch`; a `dropout_seed` of None switches dropout off."""
        groups = group_by_length(batch.starts_B1)
        types_T = np.zeros_like(batch.ids_T) if batch.type_ids_T is None else batch.type_ids_T
        named = {"ids": batch.ids_T, "positions": batch.position_ids_T, "types": types_T}
        return cls(
            ids={name: torch.from_numpy(ids_T.astype(np.int64)).to(device) for name, ids_T in named.items()},
            starts_B1=batch.starts_B1.astype(np.int64),
            groups=groups,
            gather_P=torch.from_numpy(groups.gather_P).to(device),
            scatter_T=torch.from_numpy(groups.scatter_T).to(device),
            prompt_length=batch.prompt_length,
            dropout_seed=dropout_seed,
            generator=torch.Generator("cpu").manual_seed(dropout_seed or 0),
        )

    def reseed(self, layer: int) -> None:
        """Start the draws of a layer: a function of seed and layer, so that a recomputed layer drops the same."""
        if self.dropout_seed is not None:
            self.generator.manual_seed((self.dropout_seed * 1_000_003 + layer + 1) % (1 << 63))


class TorchOps:
    """`architecture.Ops` on torch tensors: token states x_TD, or vectors x_BD after `first` and `pool`."""

    def __init__(self, root: TorchEncoder, scope: nn.Module, inputs: PackedInputs) -> None:
        self.root, self.scope, self.inputs = root, scope, inputs

    def at(self, path: str) -> Self:
        return type(self)(self.root, self.scope.get_submodule(path), self.inputs)

    def embed(self, path: str, ids: str, rows: int, size: int) -> Tensor:
        return self.scope.get_submodule(path)(self.inputs.ids[ids])

    def embed_mean(self, path: str, rows: int, size: int) -> Tensor:
        table: Any = self.scope.get_submodule(path).weight
        starts_B = torch.from_numpy(self.inputs.starts_B1[:-1]).to(table.device)
        return F.embedding_bag(self.inputs.ids["ids"], table, starts_B, mode="mean")

    def foreign(self) -> Tensor:
        ids, seed = self.inputs.ids, self.inputs.dropout_seed
        device = ids["ids"].device
        # transformers draws its masks from the global generators
        with nullcontext() if seed is None else fork_rng([device] if device.type == "cuda" else []):
            if seed is not None:
                torch.manual_seed(seed)
            return run_foreign(self.root.foreign, self.root.spec, ids, self.inputs.starts_B1)

    def linear(self, path: str, x: Tensor, size: int, *, bias: bool = True) -> Tensor:
        return _called(self.scope.get_submodule(path), x)

    def layer_norm(self, path: str, x: Tensor, *, eps: float, bias: bool = True) -> Tensor:
        return _called(self.scope.get_submodule(path), x)

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
        return cheap_dropout(x, rate, self.inputs.generator)

    def rotate(self, x: Tensor, cos_PD: np.ndarray, sin_PD: np.ndarray) -> Tensor:
        cos_T1D = self._table(cos_PD, x)[self.inputs.ids["positions"]][:, None]
        sin_T1D = self._table(sin_PD, x)[self.inputs.ids["positions"]][:, None]
        x_THD = x.unflatten(-1, (-1, cos_PD.shape[1])).float()
        first, second = x_THD.chunk(2, dim=-1)
        rotated = x_THD * cos_T1D + torch.cat((-second, first), dim=-1) * sin_T1D
        return rotated.flatten(-2).to(x.dtype)

    def relative_bias(self, path: str, bucket_R: np.ndarray, rows: int, heads: int) -> Tensor:
        longest = int(np.diff(self.inputs.starts_B1).max(initial=1))
        middle = len(bucket_R) // 2
        distance_LL = np.arange(longest)[None, :] - np.arange(longest)[:, None]
        rows_LL = torch.from_numpy(bucket_R[distance_LL + middle]).to(self.inputs.gather_P.device)
        return self.scope.get_submodule(path)(rows_LL).permute(2, 0, 1)

    def attention(
        self, q: Tensor, k: Tensor, v: Tensor, *, heads: int, window: int, bias: Tensor | None, dropout: float
    ) -> Tensor:
        inputs, groups = self.inputs, self.inputs.groups
        sizes = [texts * length for texts, length in groups.shapes]
        first_only = len(q) == len(inputs.starts_B1) - 1 and len(q) != len(k)
        keys = k.index_select(0, inputs.gather_P).split(sizes)
        values = v.index_select(0, inputs.gather_P).split(sizes)
        if first_only:
            order = torch.from_numpy(np.concatenate(groups.texts)).to(q.device)
            queries = q.index_select(0, order).split([texts for texts, _ in groups.shapes])
        else:
            queries = q.index_select(0, inputs.gather_P).split(sizes)
        outputs = []
        for i, (texts, length) in enumerate(groups.shapes):
            q_GHLD, k_GHLD, v_GHLD = (
                x.view(texts, -1, heads, x.shape[-1] // heads).transpose(1, 2) for x in (queries[i], keys[i], values[i])
            )
            mask = self._mask(groups.lengths[i], length, q_GHLD, window, bias)
            out_GHLD = self._attend(q_GHLD, k_GHLD, v_GHLD, mask, dropout)
            outputs.append(out_GHLD.transpose(1, 2).reshape(-1, q.shape[-1]))
        joined = torch.cat(outputs)
        return joined.index_select(0, order.argsort() if first_only else inputs.scatter_T)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
        """Explicit products in training (flash attention's backward is slower on CPU, and has no seeded dropout)."""
        if self.inputs.dropout_seed is None and not torch.is_grad_enabled():
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2))
        if mask is not None:
            scores = scores + mask
        return torch.matmul(self.dropout(scores.softmax(-1).to(v.dtype), dropout), v)

    def _mask(self, lengths_G: np.ndarray, length: int, q: Tensor, window: int, bias: Tensor | None) -> Tensor | None:
        """What is added to the scores of a group: bias by head and distance, and what hides beyond window and text."""
        rows = q.shape[2]
        parts = [] if bias is None else [bias[:, :rows, :length].to(q.dtype)]
        if window and length > window:
            distance_LL = np.abs(np.arange(length)[None, :] - np.arange(rows)[:, None])
            parts.append(_hiding(distance_LL > window, q))
        if int(lengths_G.min()) < length:
            padding_GL = np.arange(length)[None, :] >= lengths_G[:, None]
            parts.append(_hiding(padding_GL, q)[:, None, None, :])
        return sum(parts[1:], start=parts[0]) if parts else None

    def layer(self, index: int, x: Tensor, bias: Tensor | None, *, first_only: bool) -> Tensor:
        path = FAMILIES[self.root.spec.architecture.family].names["layer"].format(i=index)
        layer = self.scope.get_submodule(path)
        arguments = ([self.root], index, x, bias, self.inputs, first_only)
        if getattr(layer, "is_checkpointed", False) and torch.is_grad_enabled():
            from torch.utils.checkpoint import checkpoint

            return checkpoint(layer, *arguments, use_reentrant=False)
        return layer(*arguments)

    def first(self, x: Tensor) -> Tensor:
        return x[torch.from_numpy(self.inputs.starts_B1[:-1]).to(x.device)]

    def pool(self, x: Tensor, mode: str, *, include_prompt: bool) -> Tensor:
        skip = 0 if include_prompt else self.inputs.prompt_length
        starts_B, ends_B = self.inputs.starts_B1[:-1], self.inputs.starts_B1[1:]
        firsts_B, starts_B = starts_B, np.minimum(starts_B + skip, ends_B)
        is_empty_B = starts_B == ends_B
        if mode == "cls":
            return x[torch.from_numpy(np.where(is_empty_B, firsts_B, starts_B)).to(x.device)]
        if mode == "lasttoken":
            return x[torch.from_numpy(ends_B - 1).to(x.device)] * torch.from_numpy(~is_empty_B).to(x)[:, None]
        segments = [x[start:end].float() for start, end in zip(starts_B, ends_B, strict=True)]
        return torch.stack([POOL[mode](segment_LD, skip) for segment_LD in segments])

    def normalize(self, x: Tensor) -> Tensor:
        return F.normalize(x.float(), dim=-1, eps=1e-12)

    def _table(self, values: np.ndarray, x: Tensor) -> Tensor:
        """A constant of the description as a tensor on x's device, made once."""
        key = (id(values), x.device)
        if key not in self.root._tables:
            # the array is kept beside its tensor, so that no other array can ever have its id
            self.root._tables[key] = (values, torch.from_numpy(values).to(x.device))
        return self.root._tables[key][1]


def _called(module: nn.Module, x: Tensor) -> Tensor:
    """The module's output; what pooling gives in float32 is brought to the type of its weights first."""
    weight = getattr(module, "weight", None)
    if isinstance(weight, Tensor) and weight.dtype in (torch.bfloat16, torch.float16) and x.dtype == torch.float32:
        return module(x.to(weight.dtype))
    return module(x)


def _mean(x_LD: Tensor, skip: int) -> Tensor:
    return x_LD.sum(0) / max(len(x_LD), 1e-9)


def _max(x_LD: Tensor, skip: int) -> Tensor:
    return x_LD.amax(0) if len(x_LD) else x_LD.new_full(x_LD.shape[1:], -torch.inf)


def _mean_sqrt_len(x_LD: Tensor, skip: int) -> Tensor:
    return x_LD.sum(0) / max(len(x_LD), 1e-9) ** 0.5


def _weighted_mean(x_LD: Tensor, skip: int) -> Tensor:
    weights_L = torch.arange(skip + 1, skip + len(x_LD) + 1, dtype=x_LD.dtype, device=x_LD.device)
    return (weights_L @ x_LD) / weights_L.sum().clamp(min=1e-9)


POOL = {"mean": _mean, "max": _max, "mean_sqrt_len_tokens": _mean_sqrt_len, "weightedmean": _weighted_mean}


def _hiding(where: np.ndarray, like: Tensor) -> Tensor:
    """Very low scores `where` nothing may be seen.

    They are finite, even where two are added: a padded row whose window has no token would get NaN from infinities, and
    pass it on to the gradients of all rows.
    """
    return torch.zeros(where.shape, dtype=like.dtype, device=like.device).masked_fill_(
        torch.from_numpy(where).to(like.device), torch.finfo(like.dtype).min / 4
    )


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
