"""The gradients of our packed encoder equal those of sentence-transformers 6.2.0, parameter by parameter."""

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tests.parity.reference import our_bi_encoder, our_cross_encoder, st_bi_encoder, st_cross_encoder
from tests.texts import CORPUS, QUERY
from tests.tiny import FAMILIES
from tests.tiny_foreign import build_foreign

NO_DROPOUT = {
    **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0),
    **dict.fromkeys(("dropout", "attention_dropout", "seq_classif_dropout"), 0.0),  # DistilBERT's keys
}
PAIRS = [(QUERY, text) for text in CORPUS]

each_family = pytest.mark.parametrize("family", FAMILIES)


def backward(outputs_BE: torch.Tensor) -> None:
    """Gradients of a sum in which no two values of the output have the same weight."""
    weights = torch.randn(outputs_BE.shape, generator=torch.Generator().manual_seed(0))
    (outputs_BE * weights).sum().backward()


def check(ours: torch.nn.Module, reference: torch.nn.Module) -> None:
    """Each gradient of ours agrees with that of the same name, to 1e-4 of the largest of all gradients of the tensor.

    A key's bias does nothing (the softmax takes it out), so a gradient of 1e-6 of the largest of all is rounding.
    """
    expected = {name: p.grad for name, p in reference.named_parameters() if p.grad is not None}
    actual = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    assert set(actual) == set(expected)
    floor = 1e-2 * max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        assert torch.isfinite(actual[name]).all(), name
        scale = max(float(gradient.abs().max()), floor)
        error = float((actual[name] - gradient).abs().max()) / scale
        assert error <= 1e-4, f"{name}: {error:.2g} of {scale:.3g}"


@each_family
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_gradients_of_a_bi_encoder_are_the_same(tiny: Any, family: str, pooling: str, checkpointed: bool) -> None:
    config = {} if family == "modernbert" else NO_DROPOUT
    folder = tiny.bi_encoder(family, pooling=(pooling,), config=config)
    reference = st_bi_encoder(folder).train()
    backward(reference(reference.preprocess(list(CORPUS)))["sentence_embedding"])
    ours = our_bi_encoder(folder)
    module = ours.trainable().train()
    if checkpointed:
        module.checkpoint_layers()
    backward(module(ours.tokenize(list(CORPUS)), 1))
    check(module, reference[0].auto_model)


@each_family
def test_gradients_of_a_cross_encoder_are_the_same(tiny: Any, family: str) -> None:
    config = {} if family == "modernbert" else NO_DROPOUT
    folder = tiny.cross_encoder(family, num_labels=3, config=config)
    reference = st_cross_encoder(folder).train()
    backward(reference(reference.preprocess(PAIRS))["scores"])
    ours = our_cross_encoder(folder)
    module = ours.trainable().train()
    backward(module(ours.tokenize(PAIRS), 1))
    check(module, reference[0].auto_model)


@pytest.mark.parametrize(
    ("family", "checkpointed"),
    [("deberta-v2", False), ("deberta-v2", True), ("albert", False), ("qwen3", False), ("qwen3", True)],
)
def test_gradients_of_a_model_that_transformers_runs_are_the_same(tiny: Any, family: str, checkpointed: bool) -> None:
    folder = tiny.built(build_foreign, family, config=NO_DROPOUT)
    reference = st_bi_encoder(folder).train()
    backward(reference(reference.preprocess(list(CORPUS)))["sentence_embedding"])
    ours = our_bi_encoder(folder, "torch")
    module = ours.trainable().train()
    if checkpointed:
        module.checkpoint_layers()
    backward(module(ours.tokenize(list(CORPUS)), 1))
    check(module.foreign, reference[0].auto_model)


@each_family
def test_the_names_of_the_parameters_are_those_of_the_checkpoint(tiny: Any, family: str) -> None:
    for kind in ("bi_encoder", "cross_encoder"):
        folder = getattr(tiny, kind)(family)
        ours = (our_bi_encoder if kind == "bi_encoder" else our_cross_encoder)(folder)
        weights = ours.trainable().state_dict()
        stored = load_file(folder / "model.safetensors")
        for name, weight in weights.items():
            np.testing.assert_array_equal(weight.numpy(), stored[name], err_msg=name)
