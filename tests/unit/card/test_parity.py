"""The Parity section: there with verify.json, and only for the weights that it was made of."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rankwright.card import render_card
from rankwright.errors import DataError
from tests.run_folders import CERTIFICATE, make_reranker, make_retriever


def certified(folder: Path, **changes: Any) -> Path:
    """A run folder with a certificate."""
    facts: Mapping[str, Any] = {**CERTIFICATE, **changes}
    (make_retriever(folder) / "verify.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


def test_a_certificate_is_shown_between_evaluation_and_training(tmp_path: Path) -> None:
    card = render_card(certified(tmp_path))
    headings = re.findall(r"^## (.*)$", card, flags=re.MULTILINE)
    assert headings[headings.index("Parity") - 1 : headings.index("Parity") + 2] == ["Evaluation", "Parity", "Training"]
    section = card.split("## Parity\n")[1].split("\n## ")[0]
    assert "beside sentence-transformers 6.2.0 on the CPU in float32, on 63 texts." in section
    assert "All 63 texts have the reference's token ids. Agrees with sentence-transformers 6.2.0." in section
    assert "| openvino | float32 | 2.6e-07 | 1.0e-05 | 3.7e-08 | 1.0000 | 150.0 | 5.00x | yes |" in section
    assert "| torch (cuda) | bfloat16 | 3.4e-03 |" in section
    assert "\n\n\n" not in card.split("\n---\n", 1)[1]


def test_texts_of_a_certificate_are_not_on_the_card(tmp_path: Path) -> None:
    card = render_card(certified(tmp_path, token_differences=1, differing_texts=["'a secret'"]))
    assert "1 of 63 texts have other token ids than the reference's. DISAGREES with" in card
    assert "secret" not in card and "a text" not in card.split("## Parity")[1].split("\n## ")[0]


def test_without_a_certificate_there_is_no_section(tmp_path: Path) -> None:
    assert "Parity" not in render_card(make_reranker(tmp_path))


def test_a_certificate_of_other_weights_is_refused(tmp_path: Path) -> None:
    certified(tmp_path, weights_sha256="0" * 64)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(DataError, match=r"verify.json: key 'weights_sha256': these are not the weights of .*verify"):
        render_card(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"verify.json: not JSON in UTF-8 .*Verify again"),
        ("{}", r"verify.json: key 'model' is missing. A finished `rankwright verify` writes it"),
        (json.dumps({**CERTIFICATE, "kind": "reranker"}), r"verify.json: key 'kind': .*got 'reranker'"),
    ],
)
def test_a_malformed_certificate_is_named(tmp_path: Path, text: str, message: str) -> None:
    (make_retriever(tmp_path) / "verify.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        render_card(tmp_path)
