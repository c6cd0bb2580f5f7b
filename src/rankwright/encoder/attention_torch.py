"""Attention inside each text of a packed batch, by torch.

In: queries, keys and values of packed tokens. Does: on a GPU in half precision flash attention over the packed rows;
in training on a CPU blocks; else SDPA, or explicit products, over groups of similar length. Out: packed rows.
Letters: T packed tokens, G texts of a group, H heads, L length of a group, D features of a head.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rankwright.encoder.attention_blocks import Work, attend_by_blocks
from rankwright.encoder.inputs_torch import PackedInputs


@dataclass(frozen=True)
class Attention:
    """Softmax attention inside each text of a batch.

    Attributes:
        inputs: the batch.
        heads: how many parts the features have.
        window: tokens that a query sees on each side; 0: all.
        bias: what is added to the scores by head, query and key; None: nothing.
        rate: of the dropout of attention weights.
        dropout: thins a tensor at a rate in training, else gives it back.
    """

    inputs: PackedInputs
    heads: int
    window: int
    bias: Tensor | None
    rate: float
    dropout: Callable[[Tensor, float], Tensor]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """A row for each query.

        Args:
            q: queries of all tokens, or of each text's first one.
            k: keys of all tokens.
            v: values of all tokens.

        Returns:
            A tensor like q.
        """
        first_only = len(q) == self.inputs.num_texts and len(q) != len(k)
        is_plain = self.bias is None and not (first_only and self.window)
        if is_plain and takes_packed(q.device, q.dtype, q.shape[-1] // self.heads):
            return self._packed(q, k, v, first_only=first_only)
        if self._trains() and q.device.type == "cpu":
            rate = 0.0 if self.inputs.dropout_seed is None else self.rate
            work = Work(self.inputs, heads=self.heads, window=self.window, rate=rate, first_only=first_only)
            return attend_by_blocks(q, k, v, self.bias, work)
        return self._grouped(q, k, v, first_only=first_only)

    def _trains(self) -> bool:
        return self.inputs.dropout_seed is not None or torch.is_grad_enabled()

    def _packed(self, q: Tensor, k: Tensor, v: Tensor, *, first_only: bool) -> Tensor:
        """The kernel under `torch.nn.attention.varlen_attn`, which leaves out the dropout that this one has."""
        starts_B1, longest = self.inputs.starts_B1, self.inputs.longest
        queries_B1 = torch.arange(len(starts_B1), dtype=torch.int32, device=q.device) if first_only else starts_B1
        out_THD = torch.ops.aten._flash_attention_forward(
            *(x.unflatten(-1, (self.heads, -1)) for x in (q, k, v)),
            queries_B1,
            starts_B1,
            1 if first_only else longest,
            longest,
            0.0 if self.inputs.dropout_seed is None else self.rate,
            is_causal=False,
            return_debug_mask=False,
            window_size_left=self.window or -1,
            window_size_right=self.window or -1,
        )[0]
        return out_THD.flatten(-2)

    def _grouped(self, q: Tensor, k: Tensor, v: Tensor, *, first_only: bool) -> Tensor:
        inputs, groups = self.inputs, self.inputs.groups
        sizes = [texts * length for texts, length in groups.shapes]
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
                x.view(texts, -1, self.heads, x.shape[-1] // self.heads).transpose(1, 2)
                for x in (queries[i], keys[i], values[i])
            )
            mask = _mask(groups.lengths[i], length, q_GHLD, self.window, self.bias)
            if self._trains():
                out_GHLD = self._explicit(q_GHLD, k_GHLD, v_GHLD, mask)
            else:
                out_GHLD = F.scaled_dot_product_attention(q_GHLD, k_GHLD, v_GHLD, attn_mask=mask)
            outputs.append(out_GHLD.transpose(1, 2).reshape(-1, q.shape[-1]))
        joined = torch.cat(outputs)
        return joined.index_select(0, order.argsort() if first_only else inputs.scatter_T)

    def _explicit(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """For training on a GPU without flash attention."""
        scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2))
        if mask is not None:
            scores = scores + mask
        return torch.matmul(self.dropout(scores.softmax(-1).to(v.dtype), self.rate), v)


@lru_cache(maxsize=64)
def takes_packed(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """Whether torch has a flash attention kernel for packed rows.

    Args:
        device: where.
        dtype: of queries, keys and values.
        head_size: their features.

    Returns:
        Whether it has.
    """
    return (
        device.type == "cuda"
        and dtype in (torch.float16, torch.bfloat16)
        and head_size % 8 == 0
        and head_size <= 256
        and torch.backends.cuda.is_flash_attention_available()
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


def _mask(lengths_G: np.ndarray, length: int, q: Tensor, window: int, bias: Tensor | None) -> Tensor | None:
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


def _hiding(where: np.ndarray, like: Tensor) -> Tensor:
    """Very low scores `where` nothing may be seen.

    They are finite, even where two are added: a padded row whose window has no token would get NaN from infinities, and
    pass it on to the gradients of all rows.
    """
    return torch.zeros(where.shape, dtype=like.dtype, device=like.device).masked_fill_(
        torch.from_numpy(where).to(like.device), torch.finfo(like.dtype).min / 4
    )
