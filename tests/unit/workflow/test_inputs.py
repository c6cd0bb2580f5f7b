"""What a run starts from: the base as the config wants it, and settings that the base gives no effect."""

from pathlib import Path
from typing import Any

import pytest

from rankwright import CrossEncoder
from rankwright.config import read_config
from rankwright.errors import ConfigError
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


def test_prompts_that_a_cross_encoder_is_not_trained_with_are_refused(tiny: Any, tmp_path: Path) -> None:
    """The default prompt of the base is put before queries in training and afterwards, and may be another."""
    asked = {"kind": "cross-encoder", "model.prompts": {"query": "question: "}}
    base = tiny.cross_encoder("bert")
    with pytest.raises(
        ConfigError, match=r"prompts in \[model\] names 'query', which has no effect on a cross-encoder"
    ):
        base_model(read_config(None, flags={**asked, "model.base": str(base)}))
    prompted = CrossEncoder(base, prompts={"query": "q: "}, default_prompt_name="query")
    prompted.save(tmp_path / "base")
    assert base_model(read_config(None, flags={**asked, "model.base": str(tmp_path / "base")})).prompts == {
        "query": "question: "
    }


def test_a_prompt_of_documents_that_another_one_hides_is_refused(tiny: Any) -> None:
    """encode_document takes the prompt named document, which every bi-encoder has, as in sentence-transformers."""
    asked = {"kind": "bi-encoder", "model.base": str(tiny.bi_encoder("bert"))}
    with pytest.raises(
        ConfigError, match=r"names 'passage', which has no effect on training: .* 'document', ''\. Call"
    ):
        base_model(read_config(None, flags={**asked, "model.prompts": {"query": "q: ", "passage": "p: "}}))
    kept = base_model(read_config(None, flags={**asked, "model.prompts": {"query": "q: ", "document": "p: "}}))
    assert kept.prompts == {"query": "q: ", "document": "p: "}
