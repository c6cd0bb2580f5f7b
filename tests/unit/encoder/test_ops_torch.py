"""What only the torch module has: gradients, a state dict with the names of the checkpoint, constants on its device."""

from typing import Any

import numpy as np
import pytest
import torch

from rankwright import BiEncoder, CrossEncoder
from rankwright.encoder.activations_torch import ACTIVATIONS, activation_function
from rankwright.encoder.ops_torch import TorchEncoder
from rankwright.encoder.packing import group_by_length
from rankwright.text.tokens import pack
from tests.texts import CORPUS, QUERY
from tests.tiny import FAMILIES
from tests.tolerances import TOL


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_finite_and_reach_every_parameter(tiny: Any, family: str) -> None:
    model = BiEncoder(tiny.bi_encoder(family))
    module = model.trainable().train()
    module(model.tokenize(list(CORPUS)), dropout_seed=1)[:, :5].sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_padding_longer_than_the_window_leaves_the_gradients_alone(tiny: Any) -> None:
    """ModernBERT's window of 4 tokens each side; the padded rows of the shorter text see no token at all."""
    model = BiEncoder(tiny.bi_encoder("modernbert", config={"mlp_dropout": 0.0, "attention_dropout": 0.0}))
    draw = np.random.default_rng(0)
    texts = [draw.integers(0, 600, length).tolist() for length in (60, 53)]
    batch = pack(texts, None)
    assert group_by_length(batch.starts_B1).shapes == [(2, 60)]
    together, apart = model.trainable(), model.trainable()
    together(batch)[:, :5].sum().backward()
    for text in texts:
        apart(pack([text], None))[:, :5].sum().backward()
    expected = dict(apart.named_parameters())
    for name, parameter in together.named_parameters():
        assert parameter.grad is not None, name
        torch.testing.assert_close(
            parameter.grad, expected[name].grad, **TOL["float32", "gradient"], msg=lambda text, name=name: name + text
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_state_dict_has_the_names_of_the_checkpoint(tiny: Any, family: str) -> None:
    for model in (BiEncoder(tiny.bi_encoder(family, dense=24)), CrossEncoder(tiny.cross_encoder(family))):
        state = model.trainable().state_dict()
        assert state.keys() == model.checkpoint.parameters.keys()
        for name, tensor in state.items():
            np.testing.assert_array_equal(tensor.numpy(), model.checkpoint.parameters[name], err_msg=name)
            assert tensor.dtype == torch.float32


def test_making_a_module_draws_no_random_numbers(tiny: Any) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"))
    before = torch.get_rng_state()
    module = TorchEncoder(model.spec)
    module.train()
    assert all(parameter.is_meta for parameter in module.parameters())
    model.trainable()(model.tokenize(["a text"]), dropout_seed=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_logits_are_float32_before_the_activation(tiny: Any) -> None:
    model = CrossEncoder(tiny.cross_encoder("bert"), activation="sigmoid", dtype="float32")
    pairs = [(QUERY, text) for text in CORPUS]
    module, batch = model.trainable().eval(), model.tokenize(pairs)
    logits = module(batch).detach()
    assert logits.shape == (len(CORPUS), 1)
    torch.testing.assert_close(
        logits[:, 0].numpy(), model.predict(pairs, activation="identity"), **TOL["float32", "score"]
    )
    with torch.autocast("cpu", torch.bfloat16):
        half = module(batch)
    assert half.dtype == torch.float32
    assert not torch.equal(half, logits)


@pytest.mark.parametrize(("name", "expected"), [("gelu", 0.8413447), ("gelu_new", 0.8411920), ("silu", 0.7310586)])
def test_known_values_of_activations(name: str, expected: float) -> None:
    assert float(activation_function(name)(torch.tensor(1.0))) == pytest.approx(expected, abs=1e-6)


def test_every_activation_is_a_function_of_a_tensor() -> None:
    for name in (*ACTIVATIONS, "torch.nn.modules.activation.Tanh", "torch.nn.modules.linear.Identity"):
        assert activation_function(name)(torch.zeros(2, 3)).shape == (2, 3), name
