"""Attention by blocks gives what plain attention inside each text gives, and the gradients of what it gave."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rankwright.encoder import attention_blocks
from rankwright.encoder.attention_blocks import Work, attend_by_blocks
from rankwright.encoder.inputs_torch import PackedInputs
from rankwright.text.tokens import pack

HEADS, FEATURES = 3, 6
LENGTHS = (5, 2, 7, 2, 1, 5, 2)
TOKENS, LONGEST = sum(LENGTHS), max(LENGTHS)
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "window": {"window": 2},
    "dropout": {"rate": 0.25},
    "first tokens": {"first_only": True, "rate": 0.25},
    "first tokens, window": {"first_only": True, "window": 2},
}
each_variant = pytest.mark.parametrize("variant", VARIANTS)
each_bias = pytest.mark.parametrize("has_bias", [False, True], ids=["no bias", "bias"])


@pytest.fixture(params=[1 << 19, 30], ids=["large blocks", "heads apart"], autouse=True)
def block_scores(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_blocks, "BLOCK_SCORES", request.param)


def work(**facts: Any) -> Work:
    batch = pack([[5] * length for length in LENGTHS], None)
    inputs = PackedInputs.of(batch, torch.device("cpu"), dropout_seed=1)
    return replace(Work(inputs, heads=HEADS, window=0, rate=0.0, first_only=False), **facts)


def tensors(of: Work, *, has_bias: bool) -> list[Any]:
    draw = torch.Generator().manual_seed(0)
    sizes = [(len(LENGTHS) if of.first_only else TOKENS, FEATURES), (TOKENS, FEATURES), (TOKENS, FEATURES)]
    sizes += [(HEADS, LONGEST, LONGEST)] if has_bias else []
    found = [torch.randn(size, generator=draw, dtype=torch.float64, requires_grad=True) for size in sizes]
    return [*found, None][:4]


def seeded(of: Work) -> Callable[..., Tensor]:
    """The function whose masks are always the same."""

    def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        of.inputs.reseed(0)
        return attend_by_blocks(q, k, v, bias, of)

    return attend


def expected(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, of: Work) -> Tensor:
    """Text after text, by torch's own attention."""
    starts, rows = np.concatenate([[0], np.cumsum(LENGTHS)]), []
    for i, length in enumerate(LENGTHS):
        own = slice(starts[i], starts[i + 1])
        queries = slice(i, i + 1) if of.first_only else own
        q_HLD, k_HLD, v_HLD = (
            x[at].unflatten(-1, (HEADS, -1)).transpose(0, 1) for x, at in ((q, queries), (k, own), (v, own))
        )
        distance = torch.arange(length) - torch.arange(q_HLD.shape[1])[:, None]
        mask = torch.zeros(distance.shape, dtype=q.dtype)
        mask = mask.masked_fill(distance.abs() > of.window, float("-inf")) if of.window else mask
        mask = mask if bias is None else mask + bias[:, : q_HLD.shape[1], :length]
        rows.append(F.scaled_dot_product_attention(q_HLD, k_HLD, v_HLD, attn_mask=mask).transpose(0, 1).flatten(1))
    return torch.cat(rows)


@each_bias
@each_variant
def test_outputs_are_those_of_each_text_alone(variant: str, has_bias: bool) -> None:
    of = replace(work(**VARIANTS[variant]), rate=0.0)
    arguments = tensors(of, has_bias=has_bias)
    torch.testing.assert_close(seeded(of)(*arguments), expected(*arguments, of), rtol=1e-12, atol=1e-12)


@each_bias
@each_variant
def test_gradients_are_the_differences_of_outputs(variant: str, has_bias: bool) -> None:
    of = work(**VARIANTS[variant])
    torch.autograd.gradcheck(seeded(of), tensors(of, has_bias=has_bias), fast_mode=True)


def test_dropout_keeps_the_expectation() -> None:
    of = work(rate=0.25)
    arguments = tensors(of, has_bias=False)
    with torch.no_grad():
        mean = torch.stack([attend_by_blocks(*arguments, of) for _ in range(500)]).mean(0)
        torch.testing.assert_close(mean, expected(*arguments, of), rtol=0, atol=0.3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_smaller_types_are_kept_and_close(dtype: torch.dtype) -> None:
    of = work()
    exact = tensors(of, has_bias=False)
    small: list[Any] = [x if x is None else x.detach().to(dtype).requires_grad_() for x in exact]
    outputs, wanted = seeded(of)(*small), expected(*exact, of)
    outputs.sum().backward()
    wanted.sum().backward()
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(outputs.double(), wanted, rtol=tolerance, atol=tolerance)
    for own, other in zip(small[:3], exact[:3], strict=True):
        assert own.grad.dtype == dtype
        torch.testing.assert_close(own.grad.double(), other.grad, rtol=4 * tolerance, atol=4 * tolerance)


def test_scores_are_not_kept_for_the_backward_pass() -> None:
    kept: list[Tensor] = []

    def note(x: Tensor) -> Tensor:
        kept.append(x)
        return x

    of = work(rate=0.25)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        seeded(of)(*tensors(of, has_bias=False))
    assert [x.numel() for x in kept if x.is_floating_point()] == [TOKENS * FEATURES] * 3
    assert sum(x.numel() for x in kept if x.dtype == torch.uint8) == HEADS * sum(n * n for n in LENGTHS)


def test_second_derivatives_are_refused_not_wrong() -> None:
    of = work()
    arguments = tensors(of, has_bias=False)
    (gradient,) = torch.autograd.grad(seeded(of)(*arguments).square().sum(), arguments[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
