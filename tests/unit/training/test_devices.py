import pytest
import torch

from rankwright.encoder import engine_torch
from rankwright.errors import ConfigError
from rankwright.training.devices import autocast, make_accelerator, training_dtype

CPU = torch.device("cpu")


@pytest.mark.parametrize(("has_bfloat16", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_takes_bfloat16_where_the_cpu_has_it(
    monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool, expected: str
) -> None:
    monkeypatch.setattr(engine_torch, "cpu_has_bfloat16", lambda: has_bfloat16)
    assert training_dtype("auto", CPU) == expected
    assert training_dtype("float32", CPU) == "float32"


def test_bfloat16_is_never_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_torch, "cpu_has_bfloat16", lambda: False)
    with pytest.raises(ConfigError, match="'bfloat16' is not native"):
        training_dtype("bfloat16", CPU)


def test_float16_is_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert training_dtype("auto", torch.device("cuda")) == "float32"


def test_products_are_in_the_chosen_type_and_weights_stay_float32() -> None:
    linear = torch.nn.Linear(4, 4)
    for dtype, expected in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        with autocast(dtype, CPU):
            output = linear(torch.ones(1, 4))
        assert output.dtype == expected
        output.sum().backward()
        assert linear.weight.grad.dtype == torch.float32


def test_device_that_is_not_there_is_named() -> None:
    number = torch.cuda.device_count()
    for name in (f"cuda:{number}", "foo"):
        with pytest.raises(ConfigError, match=rf"device='{name}': not found on this machine by torch\. It has cpu"):
            make_accelerator(name)
