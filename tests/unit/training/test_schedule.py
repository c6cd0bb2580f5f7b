import pytest
import torch
import transformers

from rankwright.training.schedule import SCHEDULES, learning_rate_factor, warmup_of


@pytest.mark.parametrize("warmup_steps", [0, 1, 7, 20])
@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_factor_is_that_of_transformers(schedule: str, warmup_steps: int) -> None:
    if schedule == "constant":
        warmup_steps = 0
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = transformers.get_scheduler(schedule, optimizer, num_warmup_steps=warmup_steps, num_training_steps=20)
    expected = []
    for _ in range(20):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    actual = [
        learning_rate_factor(step, schedule=schedule, num_steps=20, warmup_steps=warmup_steps) for step in range(1, 21)
    ]
    assert actual == pytest.approx(expected, abs=1e-15)


def test_warmup_is_the_steps_or_the_share_rounded_up() -> None:
    assert warmup_of(101, warmup_steps=0, warmup_ratio=0.1) == 11
    assert warmup_of(101, warmup_steps=5, warmup_ratio=0.0) == 5
    assert warmup_of(101, warmup_steps=0, warmup_ratio=0.0) == 0
