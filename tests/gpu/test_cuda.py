"""On an NVIDIA GPU: packed attention, fused norms and recorded graphs change no number, and dropout can be repeated."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rankwright import BiEncoder, CrossEncoder
from rankwright.encoder import attention_torch
from tests.texts import CORPUS, QUERY, random_texts
from tests.tiny import FAMILIES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU"),
]

TEXTS = [*CORPUS[:8], "a", "", *random_texts(20, seed=5)]
OTHER_TYPES = ("bfloat16", "float16")
ERROR = {"float32": 1e-4, "bfloat16": 6e-2, "float16": 1e-2}
"""Largest difference of a unit vector's numbers to those of float32 on the CPU."""

each_family = pytest.mark.parametrize("family", FAMILIES)


def models(tiny: Any, family: str, pooling: str) -> dict[str, BiEncoder]:
    """The same model on the CPU and on the GPU, in each type."""
    folder = tiny.bi_encoder(family, pooling=(pooling,))
    reference = {"cpu": BiEncoder(folder, device="cpu", engine="torch", dtype="float32")}
    return reference | {dtype: BiEncoder(folder, device="cuda", dtype=dtype) for dtype in ("float32", *OTHER_TYPES)}


@each_family
@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "weightedmean", "lasttoken", "mean_sqrt_len_tokens"])
def test_a_gpu_gives_what_the_cpu_gives(tiny: Any, family: str, pooling: str) -> None:
    by_name = models(tiny, family, pooling)
    expected = by_name.pop("cpu").encode(TEXTS)
    expected /= np.abs(expected).max()
    for dtype, model in by_name.items():
        for batch_tokens in (None, 64):
            found = model.encode(TEXTS, batch_tokens=batch_tokens)
            assert np.abs(found / np.abs(found).max() - expected).max() < ERROR[dtype], (dtype, batch_tokens)


@each_family
def test_a_graph_gives_what_its_kernels_give_one_by_one(tiny: Any, family: str) -> None:
    for model in (
        BiEncoder(tiny.bi_encoder(family), device="cuda", dtype="float16"),
        CrossEncoder(tiny.cross_encoder(family), device="cuda", dtype="float16"),
    ):
        texts = [(QUERY, text) for text in CORPUS[:5]] if isinstance(model, CrossEncoder) else list(CORPUS[:5])
        engine = model.checkpoint.engine
        batches = [model.tokenize(texts[:count]) for count in (1, 2, 3, 5)]
        alone = [engine.run(batch) for batch in batches]
        for _ in range(3):
            for batch, expected in zip(batches, alone, strict=True):
                np.testing.assert_allclose(engine.run(batch), expected, atol=1e-2 * np.abs(expected).max())
        if engine.graphs is not None:
            assert all(engine.graphs.graphs.values())


def test_graphs_serve_many_threads(tiny: Any) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"), device="cuda", dtype="float16")
    expected = [model.encode(text) for text in TEXTS]
    barrier = threading.Barrier(4)

    def encode(_: int) -> list[np.ndarray]:
        barrier.wait()
        return [model.encode(text) for text in TEXTS for _ in range(3)][::3]

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(encode, range(4)):
            np.testing.assert_allclose(np.stack(found), np.stack(expected), atol=5e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [24, 384, 768, 1000])
def test_the_fused_norm_agrees_with_its_twin(dtype: torch.dtype, size: int) -> None:
    from rankwright.encoder.norms_triton import add_layer_norm

    torch.manual_seed(0)
    x_TD, residual_TD = (torch.randn(37, size, device="cuda").to(dtype) for _ in range(2))
    weight_D, bias_D = (torch.randn(size, device="cuda").to(dtype) for _ in range(2))
    for bias in (bias_D, None):
        exact = F.layer_norm(
            x_TD.double() + residual_TD.double(), (size,), weight_D.double(), None if bias is None else bias.double()
        )
        found = add_layer_norm(x_TD, residual_TD, weight_D, bias, 1e-5)
        torch.testing.assert_close(found, exact.to(dtype))
    assert len(add_layer_norm(x_TD[:0], residual_TD[:0], weight_D, bias_D, 1e-5)) == 0


def step(model: BiEncoder, batch: Any, seed: int, *, recomputes: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and gradient of the first layer's queries, under autocast."""
    module = model.trainable().cuda().train()
    if recomputes:
        module.checkpoint_layers()
    with torch.autocast("cuda", torch.bfloat16):
        output_BE = module(batch, seed)
    loss = output_BE[:, :5].float().pow(3).sum()
    loss.backward()
    gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None and p.ndim > 1}
    return loss.detach(), next(gradient for name, gradient in gradients.items() if "layer" in name)


@each_family
@pytest.mark.parametrize("which", ["attention", "hidden"])
def test_dropout_acts_and_is_decided_by_its_seed(tiny: Any, family: str, which: str) -> None:
    attention = "attention_dropout" if family in ("distilbert", "modernbert") else "attention_probs_dropout_prob"
    hidden = {"distilbert": "dropout", "modernbert": "mlp_dropout"}.get(family, "hidden_dropout_prob")
    rates = {attention: 0.0, hidden: 0.0} | {attention if which == "attention" else hidden: 0.5}
    model = BiEncoder(tiny.bi_encoder(family, config=rates))
    batch = model.tokenize(list(CORPUS[:6]))
    before = torch.cuda.get_rng_state()
    (first, gradient), (again, same), (other, _) = (step(model, batch, seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    torch.testing.assert_close(gradient, same, rtol=1e-2, atol=1e-4)  # flash attention adds its gradients in any order
    assert not torch.equal(first, other)
    assert torch.equal(torch.cuda.get_rng_state(), before), "the caller's random numbers are as they were"
    recomputed, gradient_again = step(model, batch, 3, recomputes=True)
    assert torch.equal(first, recomputed)
    torch.testing.assert_close(gradient, gradient_again, rtol=1e-2, atol=1e-4)


@each_family
def test_gradients_of_packed_attention_are_those_of_the_groups(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    names = ("attention_dropout", "attention_probs_dropout_prob", "dropout", "mlp_dropout", "hidden_dropout_prob")
    model = BiEncoder(tiny.bi_encoder(family, config=dict.fromkeys(names, 0.0)))
    batch = model.tokenize(list(CORPUS[:6]))
    packed = step(model, batch, 1)
    monkeypatch.setattr(attention_torch, "takes_packed", lambda *_: False)
    grouped = step(model, batch, 1)
    for found, expected in zip(packed, grouped, strict=True):
        torch.testing.assert_close(found, expected, rtol=5e-2, atol=5e-2 * float(expected.abs().max()))


@each_family
def test_a_step_in_half_precision_follows_float32(tiny: Any, family: str) -> None:
    names = ("attention_dropout", "attention_probs_dropout_prob", "dropout", "mlp_dropout", "hidden_dropout_prob")
    model = BiEncoder(tiny.bi_encoder(family, config=dict.fromkeys(names, 0.0)))
    batch, gradients = model.tokenize(list(CORPUS[:6])), []
    for is_half in (False, True):
        module = model.trainable().cuda().train()
        with torch.autocast("cuda", torch.bfloat16, enabled=is_half):
            output_BE = module(batch, 1)
        output_BE[:, :5].pow(3).sum().backward()
        assert output_BE.dtype == torch.float32
        gradients.append({name: parameter.grad for name, parameter in module.named_parameters()})
    exact, half = gradients
    for name, gradient in half.items():
        assert gradient.dtype == torch.float32, name
        assert torch.isfinite(gradient).all(), name
        if exact[name].norm() > 1e-3 * max(g.norm() for g in exact.values()):
            assert F.cosine_similarity(gradient.flatten(), exact[name].flatten(), dim=0) > 0.97, name
