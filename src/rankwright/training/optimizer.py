"""AdamW: made for a module, and its state as plain tensors by parameter name.

In: a module. Out: the optimizer; tensors such as `exp_avg.encoder.weight`, which hold no code and no classes.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def make_adamw(
    module: nn.Module, *, learning_rate: float, weight_decay: float, betas: tuple[float, float], epsilon: float
) -> torch.optim.AdamW:
    """AdamW over the parameters that are trained; matrices decay, biases and norms do not.

    Args:
        module: on the device on which it is trained.
        learning_rate: of the first step; the loop sets that of each step.
        weight_decay: of matrices.
        betas: decay of the mean of gradients and of squared gradients.
        epsilon: against division by zero.

    Returns:
        The optimizer.
    """
    trained = list(_trained(module).values())
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    # One kernel for all parameters, on the CPU too: there foreach took about three times as long (MiniLM-L6, 2 cores).
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, eps=epsilon, fused=True)


def optimizer_tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of the optimizer by name of state and parameter, such as `exp_avg.encoder.weight`."""
    return {
        f"{key}.{name}": torch.as_tensor(value)
        for name, parameter in _trained(module).items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(module: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave.

    Args:
        module: the one that the optimizer trains.
        optimizer: changed in place.
        tensors: by name of state and parameter; others are passed over.
    """
    state = optimizer.state_dict()
    order = {id(parameter): i for i, parameter in enumerate(p for g in optimizer.param_groups for p in g["params"])}
    state["state"] = {
        order[id(parameter)]: {key: tensors[f"{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
        for name, parameter in _trained(module).items()
        if f"step.{name}" in tensors
    }
    optimizer.load_state_dict(state)


def _trained(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
