import torch
from torch import Tensor, nn

from rankwright.training.optimizer import load_optimizer_tensors, make_adamw, optimizer_tensors


def small() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1))
    module[1].weight.requires_grad_(False)
    return module


def adamw(module: nn.Module) -> torch.optim.AdamW:
    return make_adamw(module, learning_rate=0.1, weight_decay=0.5, betas=(0.8, 0.9), epsilon=1e-6)


def step(module: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor) -> None:
    module(x).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_step_is_that_of_the_formula() -> None:
    module = nn.Linear(1, 1)
    with torch.no_grad():
        module.weight.fill_(2.0)
        module.bias.fill_(3.0)
    step(module, adamw(module), torch.ones(1, 1))
    # The corrected means are the gradient and its square: the step is 0.1 x its sign; only weights decay.
    torch.testing.assert_close(module.weight.detach(), torch.tensor([[2.0 * (1 - 0.1 * 0.5) - 0.1]]), rtol=1e-5, atol=0)
    torch.testing.assert_close(module.bias.detach(), torch.tensor([2.9]), rtol=1e-5, atol=0)


def test_restored_state_goes_on_with_the_same_bits() -> None:
    module, x = small(), torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    optimizer = adamw(module)
    for _ in range(3):
        step(module, optimizer, x)
    other = small()
    other.load_state_dict(module.state_dict())
    restored = adamw(other)
    load_optimizer_tensors(other, restored, {k: v.clone() for k, v in optimizer_tensors(module, optimizer).items()})
    fresh = small()
    fresh.load_state_dict(module.state_dict())
    for one, its_optimizer in ((module, optimizer), (other, restored), (fresh, adamw(fresh))):
        step(one, its_optimizer, x)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))
    assert not torch.equal(module[0].weight, fresh[0].weight)


def test_state_is_named_by_parameter_and_leaves_out_frozen_ones() -> None:
    module = small()
    optimizer = adamw(module)
    assert optimizer_tensors(module, optimizer) == {}
    step(module, optimizer, torch.ones(2, 3))
    names = {f"{key}.{name}" for key in ("step", "exp_avg", "exp_avg_sq") for name, _ in module.named_parameters()}
    assert set(optimizer_tensors(module, optimizer)) == {name for name in names if not name.endswith("1.weight")}
