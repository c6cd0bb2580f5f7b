"""Checkpoints opened: the routes of a router, the states of tokens, and models of a kind that is none of ours."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers.base.modules import Dense, Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from rankwright import BiEncoder
from rankwright.errors import ConfigError
from rankwright.models.loading import UntrainedWarning
from tests.texts import CORPUS
from tests.tiny import HIDDEN
from tests.tiny_modules import build_static, save_modules


def with_router(folder: Path, base: Path, **options: Any) -> Path:
    """A model with a head for queries and one for passages, and none for documents."""
    router = Router({"query": [Dense(HIDDEN, 16)], "passage": [Dense(HIDDEN, 16)]}, **options)
    return save_modules(folder, [Transformer(str(base)), Pooling(HIDDEN, "mean"), router])


def test_a_task_without_a_route_is_an_error_that_names_those_with_one(tiny: Any) -> None:
    model = BiEncoder(tiny.built(with_router, tiny.bi_encoder("bert"), default_route="passage"))
    assert model.encode("a").shape == model.encode_query("a").shape == (16,)
    with pytest.raises(ConfigError) as caught:
        model.encode_document("a")
    assert str(caught.value) == (
        f"{model.folder}: its router sends texts of task='document' nowhere. Pass task= one of 'query', 'passage'."
    )
    assert model.encode("a", task="passage").shape == (16,)


def with_lengths(folder: Path, base: Path) -> Path:
    """A model that cuts queries to 8 tokens, and documents later."""
    short = Transformer(str(base))
    short.max_seq_length = 8
    documents = [Transformer(str(base)), Pooling(HIDDEN, "mean")]
    return save_modules(folder, [Router.for_query_document([short, Pooling(HIDDEN, "mean")], documents)])


def test_texts_of_a_route_are_said_to_be_cut_to_its_own_length(tiny: Any, caplog: pytest.LogCaptureFixture) -> None:
    model = BiEncoder(tiny.built(with_lengths, tiny.bi_encoder("bert")))
    with caplog.at_level(logging.INFO, logger="rankwright"):
        model.encode_query("a " * 20)
    assert model.max_length > 8
    assert "1 of 1 texts were cut to 8 tokens" in caplog.text


def test_a_model_with_a_router_has_no_int8(tiny: Any) -> None:
    model = BiEncoder(tiny.built(with_router, tiny.bi_encoder("bert"), default_route="passage"))
    with pytest.raises(ConfigError, match=r"int8 is for models of one graph; this one has a router\."):
        model.quantize(["a text"])


def test_a_text_without_a_task_is_an_error_where_the_router_has_no_default(tiny: Any) -> None:
    folder = tiny.built(with_router, tiny.bi_encoder("bert"), default_route=None, allow_empty_key=False)
    model = BiEncoder(folder)
    assert not np.array_equal(model.encode_query("a"), model.encode("a", task="passage"))
    with pytest.raises(ConfigError, match=r"its router sends texts of task=None nowhere\. Pass task= one of 'query'"):
        model.encode("a")


def test_a_task_is_nothing_to_a_model_without_a_router(tiny: Any) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"))
    np.testing.assert_array_equal(model.encode_document("a"), model.encode("a"))


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_states_of_tokens_leave_out_what_comes_after_the_pooling(tiny: Any, engine: str) -> None:
    model = BiEncoder(tiny.bi_encoder("bert", dense=8), engine=engine)
    states = model.checkpoint.states
    assert states.spec.modules == ()
    assert states.parameters.keys() == {name for name in model.checkpoint.parameters if "Dense" not in name}
    assert model.encode(CORPUS[0], output_value="token_embeddings").shape[1] == HIDDEN


def test_a_model_without_a_transformer_has_no_states_of_tokens(tiny: Any) -> None:
    model = BiEncoder(tiny.built(build_static))
    with pytest.raises(ConfigError, match="a model without a transformer has no states of tokens, only embeddings"):
        model.encode("a", output_value="token_embeddings")


@pytest.mark.parametrize("saved", ["SparseEncoder", "MultiVectorEncoder"])
def test_a_model_of_another_kind_is_said_to_be_untrained(tiny: Any, tmp_path: Path, saved: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.bi_encoder("bert", pooling=("cls",)), folder)
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"model_type": saved}))
    with pytest.warns(
        UntrainedWarning, match=f"holds a {saved}: as a bi-encoder it gets mean pooling.*use, of sentence-tr"
    ):
        model = BiEncoder(folder)
    assert str(model.spec.modules[0]).startswith("Pooling(modes=('mean',)")
