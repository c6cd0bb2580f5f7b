"""The learning rate of each step, as transformers defines it.

In: step, number of steps, warm-up. Out: what the highest learning rate is multiplied with.
"""

import math
from collections.abc import Callable


def linear(progress: float) -> float:
    """Falls from 1 to 0 in a straight line."""
    return 1.0 - progress


def cosine(progress: float) -> float:
    """Falls from 1 to 0 along half a cosine."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def constant(progress: float) -> float:
    """Stays at 1."""
    return 1.0


SCHEDULES: dict[str, Callable[[float], float]] = {
    "linear": linear,
    "cosine": cosine,
    "constant": constant,
    "constant_with_warmup": constant,
}
"""Name in the config -> share of the steps after the warm-up that are done, 0 to 1 -> factor."""


def warmup_of(num_steps: int, *, warmup_steps: int, warmup_ratio: float) -> int:
    """Steps of the warm-up: as given, else the share of all steps, rounded up."""
    return warmup_steps or math.ceil(num_steps * warmup_ratio)


def learning_rate_factor(step: int, *, schedule: str, num_steps: int, warmup_steps: int) -> float:
    """What the highest learning rate is multiplied with at a step.

    Args:
        step: from 1; with a warm-up the first step has a factor of 0.
        schedule: a key of `SCHEDULES`.
        num_steps: steps in all.
        warmup_steps: steps in which the factor rises in a straight line from 0.

    Returns:
        0 to 1.

    Source:
        transformers 5.23, `optimization.get_scheduler` (definitions)

    Example:
        >>> [learning_rate_factor(step, schedule="linear", num_steps=4, warmup_steps=2) for step in (1, 2, 3, 4)]
        [0.0, 0.5, 1.0, 0.5]
    """
    done = step - 1
    if done < warmup_steps:
        return done / warmup_steps
    return SCHEDULES[schedule]((done - warmup_steps) / max(1, num_steps - warmup_steps))
