"""Dropout: the share of zeros, the scale, the mask's independence, and the same mask for a recomputed layer."""

from typing import Any

import numpy as np
import pytest
import torch

from rankwright import BiEncoder
from rankwright.encoder.dropout import cheap_dropout
from rankwright.encoder.inputs_torch import PackedInputs
from rankwright.text.tokens import pack
from tests.texts import CORPUS
from tests.tiny_modules import build_dropout
from tests.tolerances import TOL

SIZE = 200_000


def mask_of(seed: int, rate: float = 0.5, size: int = SIZE) -> np.ndarray:
    """Which elements are kept."""
    return (cheap_dropout(torch.ones(size), rate, torch.Generator().manual_seed(seed)) != 0).numpy()


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.25, 0.5, 0.9])
def test_the_share_of_zeros_is_the_rate_to_the_nearest_256th(rate: float) -> None:
    rounded = round(rate * 256) / 256
    spread = (rounded * (1 - rounded) / SIZE) ** 0.5
    assert abs((1 - mask_of(0, rate).mean()) - rounded) < 5 * spread


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_what_is_kept_is_scaled_so_that_the_expectation_stays(rate: float) -> None:
    x = torch.randn(SIZE, generator=torch.Generator().manual_seed(1))
    thinned = cheap_dropout(x, rate, torch.Generator().manual_seed(2))
    kept = thinned != 0
    scale = 256 / (256 - round(rate * 256))
    torch.testing.assert_close(thinned[kept], x[kept] * scale, rtol=1e-6, atol=0)


def test_no_dropout_keeps_all() -> None:
    x = torch.randn(100)
    torch.testing.assert_close(cheap_dropout(x, 0.0, torch.Generator()), x, rtol=0, atol=0)


def test_almost_all_is_never_all() -> None:
    thinned = cheap_dropout(torch.ones(SIZE), 0.999, torch.Generator().manual_seed(0))
    assert 0 < (thinned != 0).float().mean() < 0.01
    assert thinned.max() == 256


def test_gradients_pass_where_the_value_passed() -> None:
    x = torch.randn(1000, requires_grad=True)
    thinned = cheap_dropout(x, 0.3, torch.Generator().manual_seed(0))
    thinned.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, (thinned / x).detach().where(x != 0, 0.0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (2, 4, 9, 9), (0, 4)])
def test_type_and_shape_stay(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    thinned = cheap_dropout(torch.ones(shape, dtype=dtype), 0.5, torch.Generator())
    assert thinned.dtype == dtype
    assert thinned.shape == shape


def test_masks_of_neighbouring_seeds_are_independent() -> None:
    masks = [mask_of(seed) for seed in range(4)]
    for i in range(4):
        for j in range(i):
            assert abs(correlation(masks[i], masks[j])) < 5 / SIZE**0.5


def test_elements_of_a_mask_are_independent() -> None:
    mask = mask_of(0)
    for shift in (1, 2, 3, 7, 8, 64, 384):
        assert abs(correlation(mask[:-shift], mask[shift:])) < 5 / SIZE**0.5, shift


def inputs(seed: int | None) -> PackedInputs:
    return PackedInputs.of(pack([[1, 2]], None), torch.device("cpu"), dropout_seed=seed)


def layer_mask(seed: int, layer: int) -> np.ndarray:
    packed = inputs(seed)
    packed.reseed(layer)
    return (cheap_dropout(torch.ones(SIZE), 0.5, packed.generator) != 0).numpy()


def test_layers_and_steps_have_masks_of_their_own() -> None:
    masks = [layer_mask(seed, layer) for seed in (5, 6) for layer in (0, 1, 2)]
    masks.append((cheap_dropout(torch.ones(SIZE), 0.5, inputs(5).generator) != 0).numpy())  # of the embeddings
    for i in range(len(masks)):
        for j in range(i):
            assert abs(correlation(masks[i], masks[j])) < 5 / SIZE**0.5, (i, j)


def test_a_layer_that_is_computed_again_gets_its_mask_again() -> None:
    assert np.array_equal(layer_mask(5, 1), layer_mask(5, 1))


DROPOUT = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2}


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("family", ["bert", "mpnet", "modernbert"])
def test_layers_computed_again_in_the_backward_pass_give_equal_losses_and_gradients(
    tiny: Any, family: str, pooling: str
) -> None:
    config = {"mlp_dropout": 0.2, "attention_dropout": 0.2} if family == "modernbert" else DROPOUT
    model = BiEncoder(tiny.bi_encoder(family, pooling=(pooling,), config=config), dtype="float32")
    batch = model.tokenize(list(CORPUS[:6]))
    results = []
    for recomputes in (False, True):
        module = model.trainable().train()
        calls = {"layers": 0}
        if recomputes:
            module.checkpoint_layers()
        first_layer = module.get_submodule("layers.0" if family == "modernbert" else "encoder.layer.0")
        forward = first_layer.forward

        def counted(*args: Any, forward: Any = forward, calls: Any = calls) -> Any:
            calls["layers"] += 1
            return forward(*args)

        first_layer.forward = counted
        loss = module(batch, dropout_seed=7)[:, :8].pow(3).sum()
        loss.backward()
        assert calls["layers"] == (2 if recomputes else 1)
        results.append((loss.detach(), {name: p.grad for name, p in module.named_parameters()}))
    (kept_loss, kept), (recomputed_loss, recomputed) = results
    assert torch.equal(kept_loss, recomputed_loss)
    for name, gradient in kept.items():
        assert gradient is not None, name
        torch.testing.assert_close(recomputed[name], gradient, **TOL["float32", "gradient"], msg=name)


def test_a_dropout_module_acts_in_training_and_only_there(tiny: Any) -> None:
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    base = tiny.bi_encoder("bert", normalize=False, config=still)
    model = BiEncoder(tiny.built(build_dropout, base), engine="torch", dtype="float32")
    module, tokens = model.trainable(), model.tokenize(CORPUS[:8])
    torch.testing.assert_close(module.eval()(tokens, 1), torch.from_numpy(model.encode(CORPUS[:8])))
    first, again, other = (module.train()(tokens, seed) for seed in (1, 1, 2))
    torch.testing.assert_close(first, again)
    assert not torch.allclose(first, other)
