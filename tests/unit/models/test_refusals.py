"""What sentence-transformers has and we have not is refused with what to do instead; its other names work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SimilarityFunction

from rankwright import BiEncoder, CrossEncoder
from rankwright.errors import ConfigError, DataError, ValueRangeError
from rankwright.models.arguments import REFUSED_ATTRIBUTES
from tests.tiny import FAMILIES

PAIRS = [("a query", "a document"), ("a query", "another document, a longer one")]
Both = BiEncoder | CrossEncoder


@pytest.fixture(scope="module")
def folders(tiny: Any) -> dict[type[Both], Path]:
    return {BiEncoder: tiny.bi_encoder("bert", normalize=False), CrossEncoder: tiny.cross_encoder("bert")}


@pytest.fixture(scope="module")
def bi_encoder(folders: dict[type[Both], Path]) -> BiEncoder:
    return BiEncoder(folders[BiEncoder], dtype="float32")


@pytest.fixture(scope="module")
def cross_encoder(folders: dict[type[Both], Path]) -> CrossEncoder:
    return CrossEncoder(folders[CrossEncoder], dtype="float32")


each_class = pytest.mark.parametrize("kind", [BiEncoder, CrossEncoder])


@each_class
def test_the_first_argument_of_st_is_the_name(folders: dict[type[Both], Path], kind: type[Both]) -> None:
    assert kind(model_name_or_path=folders[kind]).folder == kind(str(folders[kind])).folder
    with pytest.raises(TypeError, match=rf"{kind.__name__}\(\) needs a name"):
        kind()


@each_class
def test_processor_kwargs_is_tokenizer_kwargs(folders: dict[type[Both], Path], kind: type[Both]) -> None:
    assert kind(folders[kind], processor_kwargs={"model_max_length": 9}).max_length == 9


@each_class
def test_config_kwargs_is_refused(folders: dict[type[Both], Path], kind: type[Both]) -> None:
    with pytest.raises(ConfigError, match=r"config_kwargs=\{'num_labels': 2\} has no effect .* Use num_labels="):
        kind(folders[kind], config_kwargs={"num_labels": 2})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda bi, ce: ce.rank("a", ["b"], device="cuda:7"), "this model is on 'cpu'"),
        (lambda bi, ce: bi.to(torch.float16), r"to\(torch.float16\) names a type, no device\. .* pass dtype='float32'"),
        (lambda bi, ce: bi[0], r"BiEncoder has no modules to index\. .* trainable\(\)"),
        (lambda bi, ce: ce[0], r"CrossEncoder has no modules to index\. .* trainable\(\)"),
    ],
)
def test_what_cannot_take_effect_is_refused(
    bi_encoder: BiEncoder, cross_encoder: CrossEncoder, call: Callable[..., object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        call(bi_encoder, cross_encoder)


def test_what_changes_nothing_is_taken(bi_encoder: BiEncoder, cross_encoder: CrossEncoder) -> None:
    np.testing.assert_array_equal(bi_encoder.encode(["a"], chunk_size=2), bi_encoder.encode(["a"]))
    scores = cross_encoder.predict(PAIRS, chunk_size=2, num_workers=2)
    np.testing.assert_array_equal(scores, cross_encoder.predict(PAIRS))
    ranks = cross_encoder.rank("a", ["b", "c"])
    assert ranks == cross_encoder.rank("a", ["b", "c"], apply_softmax=True, chunk_size=2, num_workers=2, device="cpu")
    assert ranks == cross_encoder.rank("a", ["b", "c"], convert_to_numpy=True)  # so Haystack's ranker calls it
    assert ranks == cross_encoder.rank("a", ["b", "c"], convert_to_tensor=True)  # and so the cards of Jina's rerankers
    for model in (bi_encoder, cross_encoder):
        assert model.eval() is model
        assert model.get_max_seq_length() == model.max_length


@pytest.mark.parametrize("name", REFUSED_ATTRIBUTES)
def test_what_a_model_of_st_has_and_ours_has_not_names_what_to_use(bi_encoder: BiEncoder, name: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(bi_encoder, name)
    assert str(caught.value) == f"'BiEncoder' object has no attribute {name!r}. {REFUSED_ATTRIBUTES[name]}"


def test_any_other_attribute_is_missing_as_ever(cross_encoder: CrossEncoder) -> None:
    assert not hasattr(cross_encoder, "save_to_hub")
    with pytest.raises(AttributeError, match=r"^'CrossEncoder' object has no attribute 'nonsense'\.$"):
        _ = cross_encoder.nonsense  # type: ignore[attr-defined]


def test_the_similarity_can_be_set(folders: dict[type[Both], Path]) -> None:
    model = BiEncoder(folders[BiEncoder], dtype="float32")
    a = model.encode(["a text", "another"])
    model.similarity_fn_name = "dot"
    np.testing.assert_allclose(model.similarity(a, a), a @ a.T, rtol=1e-6)
    model.similarity_fn_name = SimilarityFunction.MANHATTAN
    assert model.spec.similarity == "manhattan"
    with pytest.raises(ConfigError, match="similarity='nope': expected one of cosine"):
        model.similarity_fn_name = "nope"


def test_the_activation_has_the_names_of_st(folders: dict[type[Both], Path]) -> None:
    model = CrossEncoder(folders[CrossEncoder], dtype="float32")
    scores = model.predict(PAIRS)
    model.activation_fn = "identity"
    assert model.activation == model.activation_fn == model.default_activation_function == "identity"
    np.testing.assert_allclose(1 / (1 + np.exp(-model.predict(PAIRS))), scores, rtol=1e-5)


def test_the_tokenizer_is_called_as_that_of_transformers(bi_encoder: BiEncoder) -> None:
    tokenizer = bi_encoder.tokenizer
    assert tokenizer("a text") == {"input_ids": tokenizer.encode("a text")}
    assert tokenizer(["a text", "b"]) == {"input_ids": [tokenizer.encode("a text"), tokenizer.encode("b")]}
    assert tokenizer.vocab_size == tokenizer.backend.get_vocab_size(with_added_tokens=False)
    with pytest.raises(DataError, match="text 1 is 5: expected a string"):
        tokenizer(["a", 5])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({"query": "a", "document": "b"}, r"pairs are \{'query': 'a'"),
        ("ab", "pairs are 'ab'"),
        ([{"query": "a", "document": "b"}], r"pair 0 is \{'query': 'a'.* Take \(row\['query'\], row\['document'\]\)"),
        ([("a", "b"), "cd"], "pair 1 is 'cd'"),
        ([{"a", "b"}], "pair 0 is"),
    ],
)
def test_what_is_not_a_pair_is_refused(cross_encoder: CrossEncoder, pairs: Any, message: str) -> None:
    with pytest.raises(
        DataError, match=f"{message}.*" if "Take" in message else rf"{message}.*\(\"query\", \"document\"\)"
    ):
        cross_encoder.predict(pairs)


def test_pairs_come_in_any_sequence(cross_encoder: CrossEncoder) -> None:
    expected = cross_encoder.predict(PAIRS)
    queries, documents = zip(*PAIRS, strict=True)
    np.testing.assert_array_equal(cross_encoder.predict(zip(queries, documents, strict=True)), expected)
    np.testing.assert_array_equal(cross_encoder.predict(np.array(PAIRS)), expected)
    np.testing.assert_array_equal(cross_encoder.predict([np.array(pair) for pair in PAIRS]), expected)
    assert cross_encoder.predict(np.array(PAIRS[0])) == expected[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_maximum_length_without_positions_is_refused(tiny: Any, family: str, engine: str) -> None:
    model = BiEncoder(tiny.bi_encoder(family), engine=engine, device="cpu", dtype="float32")
    longest = model.spec.architecture.longest_text
    for value in (longest + 1, 0, -5):
        with pytest.raises(ValueRangeError, match=rf"max_length must be from 1 to {longest} for .*, got {value}\."):
            model.max_seq_length = value
    model.max_length = longest
    assert np.isfinite(model.encode("word " * (2 * longest))).all()
    assert model.truncation.num_truncated == 1
