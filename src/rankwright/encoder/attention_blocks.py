"""Attention in training on a CPU, with its gradients, block by block, so that scores stay in the cache.

In: queries, keys and values of packed tokens. Does: texts of one length together, long texts by some of their heads;
the backward pass computes the scores again, in place of keeping them. Out: packed rows.
Letters: T packed tokens, F features; of a block: G texts, H heads, L tokens, Q queries (L, or the first one),
D features of a head, N = G x H.

Source:
    Dao et al. 2022, section 3.1 (blocks, and recomputed scores), https://arxiv.org/abs/2205.14135
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rankwright.encoder.dropout import draw_kept, kept_scale
from rankwright.encoder.inputs_torch import PackedInputs

BLOCK_SCORES = 1 << 19
"""Scores of a block: three arrays of them, in float32, fill 6 MB."""


@dataclass(frozen=True)
class Work:
    """What is computed for a batch.

    Attributes:
        inputs: the batch.
        heads: how many parts the features have.
        window: tokens that a query sees on each side; 0: all.
        rate: of the dropout of attention weights; 0: none.
        first_only: whether queries are those of each text's first token.
    """

    inputs: PackedInputs
    heads: int
    window: int
    rate: float
    first_only: bool

    def blocks(self) -> Iterator["Block"]:
        """In a fixed order, in which the masks of dropout are drawn."""
        starts_B1, groups = self.inputs.starts_B1.tolist(), self.inputs.equal_groups
        rows = torch.from_numpy(groups.gather_P).split([texts * length for texts, length in groups.shapes])
        for (num_texts, length), texts, rows_of_texts in zip(groups.shapes, groups.texts, rows, strict=True):
            alone, start = num_texts == 1, starts_B1[texts[0]]
            of_texts = slice(texts[0], texts[0] + 1) if alone else torch.from_numpy(texts)
            of_tokens = slice(start, start + length) if alone else rows_of_texts
            num_queries = 1 if self.first_only else length
            step = max(1, BLOCK_SCORES // max(1, num_texts * num_queries * length))
            for head in range(0, self.heads, step):
                heads = slice(head, head + step)  # of the last block perhaps fewer
                yield Block(of_texts if self.first_only else of_tokens, of_tokens, heads, num_texts, self.heads)


@dataclass(frozen=True)
class Block:
    """Some heads of some texts of one length.

    Attributes:
        query_rows: rows of queries and outputs; a slice where there is one text, so that nothing is copied.
        rows: rows of keys and values, likewise.
        heads: which heads.
        num_texts: G.
        num_heads: heads of all blocks.
    """

    query_rows: slice | Tensor
    rows: slice | Tensor
    heads: slice
    num_texts: int
    num_heads: int

    def read(self, x_TF: Tensor, rows: slice | Tensor) -> Tensor:
        """The block of x, as (N, Q or L, D)."""
        return self._heads_of(x_TF[rows]).flatten(0, 1)

    def write(self, x_TF: Tensor, rows: slice | Tensor, values_NLD: Tensor) -> None:
        """Put the block into x."""
        values_GHLD = values_NLD.unflatten(0, (self.num_texts, -1))
        if isinstance(rows, slice):
            self._heads_of(x_TF[rows]).copy_(values_GHLD)
        else:
            x_THD = x_TF.unflatten(-1, (self.num_heads, -1))
            x_THD[rows, self.heads] = values_GHLD.transpose(1, 2).flatten(0, 1)

    def _heads_of(self, rows_F: Tensor) -> Tensor:
        num_rows, size = rows_F.shape
        rows_GLHD = rows_F.view(self.num_texts, num_rows // self.num_texts, self.num_heads, size // self.num_heads)
        return rows_GLHD[:, :, self.heads].transpose(1, 2)


def attend_by_blocks(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, work: Work) -> Tensor:
    """Softmax attention inside each text, with dropout, once differentiable.

    Args:
        q: queries of all tokens, or of each text's first one.
        k: keys of all tokens.
        v: values of all tokens.
        bias: what is added to the scores by head, query and key; None: nothing.
        work: the rest.

    Returns:
        A tensor like q.
    """
    return cast(Tensor, _Attention.apply(q, k, v, bias, work))  # type: ignore[no-untyped-call]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, work: Work) -> Tensor:
        out, kept = torch.empty_like(q), []
        for block in work.blocks():
            q_NQD, k_NLD = block.read(q, block.query_rows), block.read(k, block.rows)
            weights_NQL = _weights(q_NQD, k_NLD, bias, block, work)
            if work.rate:
                kept.append(draw_kept(weights_NQL.shape, work.rate, work.inputs.generator))
                weights_NQL.mul_(kept[-1].to(q.dtype))
            out_NQD = _product(weights_NQL, block.read(v, block.rows), kept_scale(work.rate))
            block.write(out, block.query_rows, out_NQD)
        ctx.save_for_backward(q, k, v, bias, *kept)
        ctx.work = work
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, bias, *kept = ctx.saved_tensors
        work, (d_out,) = ctx.work, gradients
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        d_bias = None if bias is None else torch.zeros_like(bias)
        kept_scaled, scale = kept_scale(work.rate), (q.shape[-1] // work.heads) ** -0.5
        for i, block in enumerate(work.blocks()):
            q_NQD, k_NLD, v_NLD = block.read(q, block.query_rows), block.read(k, block.rows), block.read(v, block.rows)
            d_out_NQD = block.read(d_out, block.query_rows)
            weights_NQL = _weights(q_NQD, k_NLD, bias, block, work)
            kept_NQL = kept[i].to(q.dtype) if kept else None
            thinned_NQL = weights_NQL if kept_NQL is None else weights_NQL * kept_NQL
            block.write(dv, block.rows, _product(thinned_NQL.mT, d_out_NQD, kept_scaled))
            d_weights_NQL = _product(d_out_NQD, v_NLD.mT, kept_scaled)
            if kept_NQL is not None:
                d_weights_NQL.mul_(kept_NQL)
            d_scores_NQL = torch._softmax_backward_data(d_weights_NQL, weights_NQL, -1, q.dtype)
            if d_bias is not None:
                queries, keys = d_scores_NQL.shape[1:]
                of_texts = d_scores_NQL.unflatten(0, (block.num_texts, -1))
                d_bias[block.heads, :queries, :keys] += of_texts.sum(0)
            block.write(dq, block.query_rows, _product(d_scores_NQL, k_NLD, scale))
            block.write(dk, block.rows, _product(d_scores_NQL.mT, q_NQD, scale))
        return dq, dk, dv, d_bias, None


def _weights(q_NQD: Tensor, k_NLD: Tensor, bias: Tensor | None, block: Block, work: Work) -> Tensor:
    """Attention weights of a block, before dropout."""
    scores_NQL = _product(q_NQD, k_NLD.mT, q_NQD.shape[-1] ** -0.5)
    queries, keys = scores_NQL.shape[1:]
    if bias is not None:
        scores_NQL.unflatten(0, (block.num_texts, -1)).add_(bias[block.heads, :queries, :keys])
    if 0 < work.window < keys:
        token = torch.arange(keys)
        scores_NQL.masked_fill_((token - token[:queries, None]).abs() > work.window, float("-inf"))
    return torch.softmax(scores_NQL, -1, out=scores_NQL)


def _product(x_NAB: Tensor, y_NBC: Tensor, scale: float) -> Tensor:
    return torch.baddbmm(x_NAB.new_empty(()), x_NAB, y_NBC, beta=0, alpha=scale)
