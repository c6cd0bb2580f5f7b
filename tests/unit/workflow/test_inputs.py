"""What a run starts from: the base as the config wants it, and settings that the base gives no effect."""

from typing import Any

import pytest

from rankwright import CrossEncoder
from rankwright.config import read_config
from rankwright.models.activations import IDENTITY, SIGMOID
from rankwright.workflow.inputs import base_model


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"loss.name": "mean_squared_error"}, IDENTITY),
        ({"loss.name": "mean_squared_error", "model.activation": SIGMOID}, SIGMOID),
        ({}, SIGMOID),
    ],
)
def test_a_model_that_learns_labels_by_its_logits_answers_with_them(
    tiny: Any, flags: dict[str, object], expected: str
) -> None:
    """Behind a sigmoid it would answer 0.73 where it has learned 1."""
    given = {"kind": "cross-encoder", "model.base": str(tiny.cross_encoder("bert")), **flags}
    model = base_model(read_config(None, flags=given))
    assert isinstance(model, CrossEncoder)
    assert model.activation == expected
