"""Every name that sentence-transformers gives an argument works, or is refused with the name that does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rankwright import BiEncoder, CrossEncoder
from rankwright.errors import ConfigError, DataError, ShapeError, ValueRangeError
from rankwright.models.arguments import dtype_of, engine_of, max_length_of, one_of
from tests.texts import CORPUS

TEXTS = ["a first text", "another, longer text of the two"]
PAIRS = [("a query", "a document"), ("a query", "another document, a longer one")]
PROMPTS = {"query": "query: ", "document": "passage: "}


@pytest.fixture(scope="module")
def folder(tiny: Any) -> Path:
    return tiny.bi_encoder("bert", normalize=False, settings={"prompts": PROMPTS})


@pytest.fixture(scope="module")
def bi_encoder(folder: Path) -> BiEncoder:
    return BiEncoder(folder, dtype="float32")


@pytest.fixture(scope="module")
def cross_encoder(tiny: Any) -> CrossEncoder:
    return CrossEncoder(tiny.cross_encoder("bert"), dtype="float32")


def test_one_value_under_either_name_or_the_default() -> None:
    assert one_of({"new": 0, "old": None}) == 0
    assert one_of({"new": None, "old": False}) is False
    assert one_of({"new": None, "old": None}, "default") == "default"
    with pytest.raises(TypeError) as caught:
        one_of({"new": None, "old": 1, "older": 1})
    assert str(caught.value) == "'old' and 'older' are two names for the same argument: pass 'new' only."


@pytest.mark.parametrize("name", ["sentences", "inputs"])
def test_texts_have_the_names_of_st(bi_encoder: BiEncoder, name: str) -> None:
    np.testing.assert_array_equal(bi_encoder.encode(**{name: TEXTS}), bi_encoder.encode(TEXTS))
    np.testing.assert_array_equal(bi_encoder.encode_query(**{name: TEXTS}), bi_encoder.encode_query(TEXTS))


@pytest.mark.parametrize("name", ["sentences", "inputs"])
def test_pairs_have_the_names_of_st(cross_encoder: CrossEncoder, name: str) -> None:
    np.testing.assert_array_equal(cross_encoder.predict(**{name: PAIRS}), cross_encoder.predict(PAIRS))


def test_normalize_embeddings_is_normalize(bi_encoder: BiEncoder) -> None:
    plain, unit = bi_encoder.encode(TEXTS), bi_encoder.encode(TEXTS, normalize_embeddings=True)
    assert np.abs(np.linalg.norm(plain, axis=1) - 1).min() > 0.1
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(unit, bi_encoder.encode(TEXTS, normalize=True))


@pytest.mark.parametrize("name", ["show_progress", "show_progress_bar"])
def test_progress_is_shown_on_stderr(
    bi_encoder: BiEncoder,
    cross_encoder: CrossEncoder,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes stderr for a terminal
    for run in (lambda **o: bi_encoder.encode(TEXTS, **o), lambda **o: cross_encoder.predict(PAIRS, **o)):
        run(**{name: False})
        assert capsys.readouterr().err == ""
        run(**{name: True})
        shown = capsys.readouterr()
        assert "texts" in shown.err
        assert shown.out == ""


def sizes_of(model: BiEncoder | CrossEncoder, run: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each batch has that the engine is given."""
    engine: Any = model.checkpoint.engine
    sizes, original = [], engine.run
    monkeypatch.setattr(engine, "run", lambda batch, **how: (sizes.append(len(batch)), original(batch, **how))[1])
    run()
    return sizes


def test_batch_size_caps_the_texts_of_a_batch(bi_encoder: BiEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = list(CORPUS[:10])
    assert sizes_of(bi_encoder, lambda: bi_encoder.encode(texts, batch_size=4), monkeypatch) == [2, 4, 4]
    assert max(sizes_of(bi_encoder, lambda: bi_encoder.encode(texts), monkeypatch)) > 4


def test_batch_size_caps_the_pairs_of_a_batch(cross_encoder: CrossEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [("a query", text) for text in CORPUS[:6]]
    assert sizes_of(cross_encoder, lambda: cross_encoder.predict(pairs, batch_size=2), monkeypatch) == [2, 2, 2]
    sizes = sizes_of(cross_encoder, lambda: cross_encoder.rank("q", CORPUS[:3], batch_size=1), monkeypatch)
    assert sizes == [1, 1, 1]


def test_batch_tokens_is_a_budget_of_padded_tokens(bi_encoder: BiEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = sizes_of(bi_encoder, lambda: bi_encoder.encode(CORPUS[:9], batch_tokens=1), monkeypatch)
    assert sizes == [1] * 9


@pytest.mark.parametrize("name", ["batch_size", "batch_tokens"])
def test_a_batch_of_nothing_is_an_error(bi_encoder: BiEncoder, name: str) -> None:
    with pytest.raises(ValueRangeError, match=f"{name} must be at least 1, got 0"):
        bi_encoder.encode(TEXTS, **{name: 0})


def test_tensors_come_where_they_are_asked_for(bi_encoder: BiEncoder, cross_encoder: CrossEncoder) -> None:
    for run in (lambda **o: bi_encoder.encode(TEXTS, **o), lambda **o: cross_encoder.predict(PAIRS, **o)):
        plain = run()
        assert isinstance(plain, np.ndarray)
        assert plain.dtype == np.float32
        tensor, rows = run(convert_to_tensor=True), run(convert_to_numpy=False)
        assert isinstance(tensor, torch.Tensor)
        np.testing.assert_array_equal(tensor.numpy(), plain)
        assert isinstance(rows, list)
        assert all(isinstance(row, torch.Tensor) for row in rows)
        np.testing.assert_array_equal(torch.stack(rows).numpy(), plain)
        assert isinstance(run(convert_to_numpy=False, convert_to_tensor=True), torch.Tensor)


@pytest.mark.parametrize(
    "activation", ["identity", "torch.nn.modules.linear.Identity", torch.nn.Identity(), lambda x: x]
)
def test_activation_fn_is_a_name_a_module_or_a_function(cross_encoder: CrossEncoder, activation: Any) -> None:
    logits = cross_encoder.predict(PAIRS, activation_fn=activation)
    np.testing.assert_array_equal(logits, cross_encoder.predict(PAIRS, activation=activation))
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), cross_encoder.predict(PAIRS), rtol=1e-5)


def test_an_activation_may_drop_the_axis_of_the_label(cross_encoder: CrossEncoder) -> None:
    logits = cross_encoder.predict(PAIRS, activation="identity")
    np.testing.assert_array_equal(cross_encoder.predict(PAIRS, activation_fn=lambda x: x.squeeze(-1)), logits)


def test_activation_fct_is_activation(cross_encoder: CrossEncoder) -> None:
    expected = cross_encoder.predict(PAIRS, activation="tanh")
    np.testing.assert_array_equal(cross_encoder.predict(PAIRS, activation_fct=torch.nn.Tanh()), expected)
    (best,) = cross_encoder.rank("a query", [PAIRS[0][1]], activation_fct=torch.nn.Tanh())
    assert best["score"] == pytest.approx(expected[0])


@pytest.mark.parametrize("name", ["activation", "activation_fn", "default_activation_function"])
def test_a_models_own_activation_has_the_names_of_st(tiny: Any, cross_encoder: CrossEncoder, name: str) -> None:
    model = CrossEncoder(tiny.cross_encoder("bert"), dtype="float32", **{name: torch.nn.Tanh()})
    expected = cross_encoder.predict(PAIRS, activation=torch.nn.Tanh())
    np.testing.assert_array_equal(model.predict(PAIRS), expected)
    assert isinstance(model.activation_fn, torch.nn.Tanh)
    ranks = model.rank("a query", [document for _, document in PAIRS])
    assert sorted(r["score"] for r in ranks) == pytest.approx(sorted(expected.tolist()))


@pytest.mark.parametrize(
    "model_kwargs",
    [
        {"torch_dtype": torch.float32},
        {"dtype": torch.float32},
        {"torch_dtype": "float32"},
        {"torch_dtype": "fp32", "attn_implementation": "sdpa"},
    ],
)
def test_model_kwargs_give_the_type(folder: Path, tiny: Any, model_kwargs: dict[str, Any]) -> None:
    assert BiEncoder(folder, model_kwargs=model_kwargs).dtype == "float32"
    assert CrossEncoder(tiny.cross_encoder("bert"), model_kwargs=model_kwargs).dtype == "float32"
    assert CrossEncoder(tiny.cross_encoder("bert"), automodel_args=model_kwargs).dtype == "float32"


def test_a_type_is_a_name_or_a_torch_type() -> None:
    assert dtype_of(None, None) == "auto"
    assert dtype_of("auto", {}) == "auto"
    assert dtype_of(torch.bfloat16, None) == "bfloat16"
    assert dtype_of("half", None) == "float16"
    assert dtype_of(None, {"torch_dtype": "auto"}) == "auto"


def test_tokenizer_kwargs_give_the_maximum_length(folder: Path) -> None:
    model = BiEncoder(folder, tokenizer_kwargs={"model_max_length": 7})
    assert model.max_length == model.max_seq_length == 7
    assert max_length_of(None, None) is None
    assert max_length_of(9, {}) == 9


def test_backend_is_the_engine(folder: Path) -> None:
    assert BiEncoder(folder, backend="torch").checkpoint.engine.name == "torch"
    assert BiEncoder(folder, backend="openvino").checkpoint.engine.name == "openvino"
    assert engine_of(None, None) == "auto"
    assert engine_of(None, "auto") == "auto"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: engine_of("onnx", None), r"backend='onnx': .* Use engine='auto', 'openvino' or 'torch'"),
        (lambda: dtype_of("int4", None), r"dtype='int4': expected 'auto', 'float32', 'bfloat16', 'float16' or 'int8'"),
        (
            lambda: dtype_of(None, {"device_map": "auto"}),
            r"model_kwargs has the key 'device_map'.* dtype=, engine= and",
        ),
        (
            lambda: max_length_of(None, {"padding_side": "left"}),
            r"tokenizer_kwargs has the key 'padding_side'.* knows 'model_max_length'",
        ),
        (
            lambda: max_length_of(None, None, {"padding_side": "left"}),
            r"processor_kwargs has the key 'padding_side'.* knows 'model_max_length'",
        ),
    ],
)
def test_what_has_no_meaning_here_names_what_has(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"dtype": "float32", "model_kwargs": {"dtype": "float32"}}, ("dtype", r"model_kwargs\['dtype'\]")),
        ({"max_length": 8, "tokenizer_kwargs": {"model_max_length": 8}}, ("max_length", "tokenizer_kwargs")),
        ({"max_length": 8, "processor_kwargs": {"model_max_length": 8}}, ("max_length", "processor_kwargs")),
        ({"tokenizer_kwargs": {}, "processor_kwargs": {}}, ("tokenizer_kwargs", "processor_kwargs")),
        ({"model_name_or_path": "x"}, ("name", "model_name_or_path")),
        ({"engine": "torch", "backend": "torch"}, ("engine", "backend")),
        ({"similarity": "dot", "similarity_fn_name": "dot"}, ("similarity", "similarity_fn_name")),
    ],
)
def test_both_names_of_a_models_argument_are_an_error(
    folder: Path, options: dict[str, Any], names: tuple[str, str]
) -> None:
    with pytest.raises(TypeError, match=f"{names[0]}.*{names[1]}.*two names for the same argument: pass"):
        BiEncoder(folder, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"texts": TEXTS, "sentences": TEXTS},
        {"sentences": TEXTS, "inputs": TEXTS},
        {"texts": TEXTS, "normalize": True, "normalize_embeddings": False},
        {"texts": TEXTS, "show_progress": True, "show_progress_bar": True},
    ],
)
def test_both_names_of_an_argument_of_encode_are_an_error(bi_encoder: BiEncoder, options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="two names for the same argument"):
        bi_encoder.encode(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"pairs": PAIRS, "sentences": PAIRS},
        {"pairs": PAIRS, "inputs": PAIRS},
        {"pairs": PAIRS, "activation": "tanh", "activation_fn": "tanh"},
        {"pairs": PAIRS, "show_progress": False, "show_progress_bar": False},
    ],
)
def test_both_names_of_an_argument_of_predict_are_an_error(
    cross_encoder: CrossEncoder, options: dict[str, Any]
) -> None:
    with pytest.raises(TypeError, match="two names for the same argument"):
        cross_encoder.predict(**options)


def test_both_names_of_the_activation_of_a_model_are_an_error(tiny: Any) -> None:
    with pytest.raises(TypeError, match="'activation' and 'activation_fn' are two names"):
        CrossEncoder(tiny.cross_encoder("bert"), activation="tanh", activation_fn="tanh")


def test_a_misspelt_argument_fails_at_the_call(bi_encoder: BiEncoder, cross_encoder: CrossEncoder) -> None:
    with pytest.raises(TypeError, match="normalise"):
        bi_encoder.encode(TEXTS, normalise=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="batchsize"):
        cross_encoder.predict(PAIRS, batchsize=2)  # type: ignore[call-arg]


def test_nothing_to_work_on_is_an_error(bi_encoder: BiEncoder, cross_encoder: CrossEncoder) -> None:
    with pytest.raises(TypeError, match=r"encode\(\) needs texts: a string or a list of strings"):
        bi_encoder.encode()
    with pytest.raises(TypeError, match=r"predict\(\) needs pairs: a pair of strings, or a list of pairs"):
        cross_encoder.predict()


def test_an_unknown_output_value_is_refused_by_name(bi_encoder: BiEncoder) -> None:
    with pytest.raises(
        ConfigError, match="output_value='tokens': expected 'sentence_embedding', 'token_embeddings' or"
    ):
        bi_encoder.encode(TEXTS, output_value="tokens")


def test_where_to_look_for_a_name_is_handed_to_the_hub(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import rankwright.models.loading as loading

    asked: list[dict[str, Any]] = []
    found = {"bi-encoder": tiny.bi_encoder("bert"), "cross-encoder": tiny.cross_encoder("bert")}

    def resolve(name: str, *, kind: str, **where: Any) -> Path:
        asked.append({"name": name, **where})
        return found[kind]

    monkeypatch.setattr(loading, "resolve", resolve)
    where = {"revision": "v2", "cache_folder": "cache", "token": "secret", "local_files_only": True}
    BiEncoder("owner/name", trust_remote_code=True, **where)
    CrossEncoder("owner/name", trust_remote_code=True, **where)
    assert asked == [{"name": "owner/name", **where, "takes_code": True}] * 2


def test_another_device_at_the_call_names_to(bi_encoder: BiEncoder, cross_encoder: CrossEncoder) -> None:
    for run in (lambda d: bi_encoder.encode("a", device=d), lambda d: cross_encoder.predict(PAIRS, device=d)):
        run("cpu")
        with pytest.raises(ConfigError) as caught:
            run("cuda")
        assert str(caught.value) == "device='cuda': this model is on 'cpu'. Use model.to('cuda')."


class Frame(list[str]):
    """Gives the names of its columns, as a table of pandas does."""

    columns = ("a",)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"text": "hello"}, "dict"),
        ({"a", "b"}, "set"),
        (b"abc", "bytes"),
        (3, "int"),
        (np.array("hi"), "ndarray"),
        (np.array([["a"], ["b"]]), "ndarray"),
        (Frame(["a"]), "Frame"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(bi_encoder: BiEncoder, given: Any, kind: str) -> None:
    """Its keys, letters or columns would be taken for texts."""
    with pytest.raises(DataError, match=rf"(?s)^texts are a {kind}, .*: expected a string, or a list of strings\.$"):
        bi_encoder.encode(given)


@pytest.mark.parametrize("given", [{"a", "b"}, Frame(["query", "document"])])
def test_what_is_no_list_of_pairs_is_refused(cross_encoder: CrossEncoder, given: Any) -> None:
    """The names of two columns would be scored as one pair."""
    with pytest.raises(
        DataError, match=r"^pairs are .*: expected \(\"query\", \"document\"\), or a list of such pairs"
    ):
        cross_encoder.predict(given)


def test_texts_come_from_any_list(bi_encoder: BiEncoder) -> None:
    expected = bi_encoder.encode(TEXTS)
    keys = dict.fromkeys(TEXTS).keys()
    for given in (tuple(TEXTS), iter(TEXTS), np.array(TEXTS), np.array(TEXTS, dtype=object), keys):
        np.testing.assert_array_equal(bi_encoder.encode(given), expected)


@pytest.mark.parametrize("kind", ["bi_encoder", "cross_encoder"])
@pytest.mark.parametrize(
    ("query", "documents", "top_k", "error", "words"),
    [
        (["a", "b"], TEXTS, None, DataError, r"the query is \['a', 'b'\]: expected one string. Call rank\(\) once"),
        ("a", "abc", None, DataError, "the documents are 'abc': expected a list of strings"),
        ("a", TEXTS, 0, ValueRangeError, "top_k must be at least 1, got 0"),
        ("a", TEXTS, -1, ValueRangeError, "top_k must be at least 1, got -1"),
    ],
)
def test_what_cannot_be_ranked_is_refused(
    kind: str, query: Any, documents: Any, top_k: int, error: Any, words: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(error, match=words):
        request.getfixturevalue(kind).rank(query, documents, top_k=top_k)


@pytest.mark.parametrize("kind", ["bi_encoder", "cross_encoder"])
def test_documents_to_rank_come_from_any_list(kind: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    assert model.rank("a", np.array(TEXTS)) == model.rank("a", iter(TEXTS)) == model.rank("a", TEXTS)
    assert model.rank("a", []) == []


def test_a_task_chooses_no_prompt(bi_encoder: BiEncoder) -> None:
    """As in sentence-transformers: `encode_query` and `encode_document` do."""
    np.testing.assert_array_equal(bi_encoder.encode("a", task="query"), bi_encoder.encode("a", prompt=""))
    np.testing.assert_array_equal(bi_encoder.encode_query("a"), bi_encoder.encode("a", prompt_name="query"))
    np.testing.assert_array_equal(bi_encoder.encode_query("a", prompt=""), bi_encoder.encode("a", prompt=""))
    np.testing.assert_array_equal(bi_encoder.encode_query("a", "document"), bi_encoder.encode_document("a"))
    with pytest.raises(ConfigError, match="prompt_name='': this model's prompts are"):
        bi_encoder.encode_query("a", prompt_name="")
    with pytest.raises(ConfigError, match="task='search': expected"):
        bi_encoder.encode("a", task="search")


def test_prompts_are_texts(tiny: Any) -> None:
    with pytest.raises(ConfigError, match="prompts: 'query' is 3, expected a string"):
        BiEncoder(tiny.bi_encoder("bert"), prompts={"query": 3})


def test_a_precision_is_for_sentence_embeddings(bi_encoder: BiEncoder) -> None:
    np.testing.assert_array_equal(bi_encoder.encode(TEXTS, precision=None), bi_encoder.encode(TEXTS))
    for output_value in ("token_embeddings", None):
        with pytest.raises(ConfigError, match="precision='binary' is for sentence embeddings"):
            bi_encoder.encode(TEXTS, precision="binary", output_value=output_value)


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_levels_that_look_like_bits_are_said(bi_encoder: BiEncoder, precision: str) -> None:
    size = bi_encoder.get_embedding_dimension()
    with pytest.warns(UserWarning, match=rf"{precision} embeddings of {size // 8} numbers look like {size} bits"):
        bi_encoder.encode(TEXTS, precision=precision, truncate_dim=size // 8)


def test_embeddings_that_do_not_fit_are_refused(bi_encoder: BiEncoder) -> None:
    rows = bi_encoder.encode(CORPUS[:3])
    for compare in (bi_encoder.similarity, bi_encoder.similarity_pairwise):
        with pytest.raises(ShapeError, match="embeddings of 1 and 32 numbers cannot be compared"):
            compare(rows[:, :1], rows)
    with pytest.raises(ShapeError, match="row i with row i, but there are 2 and 3 rows"):
        bi_encoder.similarity_pairwise(rows[:2], rows)


@pytest.mark.parametrize("wrong", [5, None, float("nan"), {"text": "a"}])
def test_what_is_no_text_in_a_list_is_refused_with_its_place(bi_encoder: BiEncoder, wrong: Any) -> None:
    with pytest.raises(DataError, match=rf"text 1 is {wrong!r}: expected a string"):
        bi_encoder.encode(["a", wrong])
