"""Parameters in half precision for a pass, here on the CPU; autocast on a GPU is in tests/gpu."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankwright import BiEncoder
from rankwright.encoder.half_torch import half_precision
from rankwright.encoder.inputs_torch import PackedInputs
from tests.texts import CORPUS
from tests.tiny import FAMILIES

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def autocast_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda _device: torch.bfloat16)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("recomputes", [False, True])
def test_gradients_reach_the_float32_parameters(tiny: Any, family: str, recomputes: bool) -> None:
    model, gradients = BiEncoder(tiny.bi_encoder(family), dtype="float32"), []
    batch = model.tokenize(list(CORPUS[:6]))
    for is_half in (False, True):
        module = model.trainable().eval()
        if recomputes:
            module.checkpoint_layers()
        inputs = PackedInputs.of(batch, CPU, dropout_seed=None)
        if is_half:
            with half_precision(module):
                assert all(tensor.dtype == torch.bfloat16 for _, tensor in module.named_parameters())
                output_BE = module(inputs)
        else:
            output_BE = module(inputs)
        output_BE[:, :5].pow(3).sum().backward()
        gradients.append({name: parameter.grad for name, parameter in module.named_parameters()})
    exact, half = gradients
    largest = max(float(gradient.norm()) for gradient in exact.values())
    for name, gradient in half.items():
        assert gradient.dtype == torch.float32, name
        if exact[name].norm() > 1e-2 * largest:
            assert F.cosine_similarity(gradient.flatten(), exact[name].flatten(), dim=0) > 0.95, name


def test_the_parameters_are_back_after_an_error() -> None:
    module = nn.Linear(3, 2)
    before = dict(module.named_parameters())
    with pytest.raises(ValueError, match="stop"), half_precision(module):
        raise ValueError("stop")
    assert all(before[name] is parameter for name, parameter in module.named_parameters())


def test_a_shared_parameter_is_copied_once_and_gets_both_gradients() -> None:
    module = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    module[1].weight = module[0].weight
    with half_precision(module):
        assert module[0].weight is module[1].weight
        module(torch.ones(2, 4, dtype=torch.bfloat16)).sum().backward()
    assert module[0].weight.grad is not None
    assert module[0].weight.grad.dtype == torch.float32


def test_parameters_of_another_kind_are_left_to_autocast() -> None:
    module = nn.Linear(3, 2).double()
    with half_precision(module):
        assert module.weight.dtype == torch.float64
