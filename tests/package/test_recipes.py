"""The recipes are configs that can be read, and say what their cards say."""

from pathlib import Path

import pytest

from rankwright.config import read_config
from rankwright.training import BatchPlan

FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(FOLDER.glob("*.toml"))

CARDS = {"citation": (12_584, 500, 1.2690), "russian": (12_431, 500, 0.6435), "arguments": (17_561, 500, 0.4554)}
"""Rows, and the epoch that the card's training log gives for a step."""


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_starts_from_a_hub_name_and_shows_its_command(path: Path) -> None:
    config = read_config(path)
    owner, slash, name = config.model.base.partition("/")
    assert owner and slash and name and "/" not in name
    assert config.out == f"runs/{path.stem}"
    assert f"rankwright train recipes/{path.name}" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CARDS)
def test_steps_are_those_of_the_cards_log(name: str) -> None:
    num_rows, step, epoch = CARDS[name]
    training = read_config(FOLDER / f"{name}.toml").training
    plan = BatchPlan(
        num_rows=num_rows,
        batch_size=training.per_device_train_batch_size,
        batches_per_step=training.gradient_accumulation_steps,
        seed=training.seed,
        num_epochs=training.num_train_epochs,
        max_steps=training.max_steps,
    )
    assert step / plan.steps_per_epoch == pytest.approx(epoch, abs=1e-4)
