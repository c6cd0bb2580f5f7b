"""What both model classes do beside scoring: settings, saving, copies, opening by kind, words about themselves."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rankwright import BiEncoder, CrossEncoder
from rankwright.errors import ConfigError, DataError, HubError, ModelFormatError, ValueRangeError
from rankwright.models.inference import run_texts
from rankwright.models.loading import UntrainedWarning
from rankwright.models.opening import kind_of, open_model
from rankwright.text import Truncation
from tests.texts import CORPUS, QUERY, random_texts
from tests.tolerances import assert_agrees

TEXTS = list(CORPUS[:6])
PAIRS = [(QUERY, text) for text in TEXTS]
PROMPTS = {"query": "query: ", "document": "passage: "}


@pytest.fixture
def bi_encoder(tiny: Any) -> BiEncoder:
    return BiEncoder(tiny.bi_encoder("bert", settings={"prompts": PROMPTS}), dtype="float32")


@pytest.fixture
def cross_encoder(tiny: Any) -> CrossEncoder:
    return CrossEncoder(tiny.cross_encoder("bert"), dtype="float32")


def test_one_text_is_a_row_of_a_list(bi_encoder: BiEncoder) -> None:
    rows = bi_encoder.encode(TEXTS[:1])
    assert rows.shape == (1, 32)
    np.testing.assert_array_equal(bi_encoder.encode(TEXTS[0]), rows[0])
    np.testing.assert_array_equal(bi_encoder.encode(tuple(TEXTS[:1])), rows)
    np.testing.assert_array_equal(bi_encoder.encode(np.array(TEXTS[:1])), rows)


def test_one_pair_is_a_row_of_a_list(cross_encoder: CrossEncoder, tiny: Any) -> None:
    scores = cross_encoder.predict(PAIRS[:1])
    assert scores.shape == (1,)
    assert cross_encoder.predict(PAIRS[0]) == scores[0]
    assert np.ndim(cross_encoder.predict(PAIRS[0])) == 0
    assert cross_encoder.predict(list(PAIRS[0])) == scores[0]
    np.testing.assert_array_equal(cross_encoder.predict([list(PAIRS[0])]), scores)
    several = CrossEncoder(tiny.cross_encoder("bert", num_labels=3), dtype="float32")
    assert several.predict(PAIRS[0]).shape == (3,)
    assert several.predict(PAIRS[:1]).shape == (1, 3)


def test_no_texts_give_no_rows(bi_encoder: BiEncoder, cross_encoder: CrossEncoder, tiny: Any) -> None:
    assert bi_encoder.encode([]).shape == (0, 32)
    assert bi_encoder.encode([], truncate_dim=8, normalize=True).shape == (0, 8)
    assert bi_encoder.encode([], convert_to_tensor=True).shape == (0, 32)
    assert bi_encoder.rank("q", []) == []
    assert cross_encoder.predict([]).shape == (0,)
    assert cross_encoder.predict([], convert_to_tensor=True).shape == (0,)
    assert cross_encoder.rank("q", []) == []
    assert CrossEncoder(tiny.cross_encoder("bert", num_labels=3)).predict([], apply_softmax=True).shape == (0, 3)


def test_more_texts_than_a_chunk_come_in_order(bi_encoder: BiEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = random_texts(100, seed=4, most_words=20)
    expected = bi_encoder.encode(texts)
    monkeypatch.setattr(engine := bi_encoder.checkpoint.engine, "pace", replace(engine.pace, chunk_texts=7))
    np.testing.assert_allclose(bi_encoder.encode(texts), expected, rtol=0, atol=1e-6)


def test_progress_counts_every_text(bi_encoder: BiEncoder) -> None:
    done: list[int] = []
    run_texts(bi_encoder.checkpoint.engine, bi_encoder.tokenizer, TEXTS, progress=done.append)
    assert sum(done) == len(TEXTS)
    with pytest.raises(ValueRangeError, match="run_texts needs at least one text, got none"):
        run_texts(bi_encoder.checkpoint.engine, bi_encoder.tokenizer, [])


def test_a_bad_text_in_a_later_chunk_is_an_error(bi_encoder: BiEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine := bi_encoder.checkpoint.engine, "pace", replace(engine.pace, chunk_texts=2))
    with pytest.raises(DataError, match=r"None: expected a string"):
        bi_encoder.encode([*TEXTS, None])  # type: ignore[list-item]


def test_what_is_no_pair_is_an_error(cross_encoder: CrossEncoder) -> None:
    with pytest.raises(DataError, match=r"text 1 is \('a', 'b', 'c'\): expected a string, or a pair of two strings"):
        cross_encoder.predict([("a", "b"), ("a", "b", "c")])  # type: ignore[list-item]


def test_what_truncation_cost_is_kept_and_said(bi_encoder: BiEncoder, caplog: pytest.LogCaptureFixture) -> None:
    bi_encoder.max_seq_length = 5
    with caplog.at_level(logging.INFO, logger="rankwright"):
        bi_encoder.encode(["a b c d e f", "a", "a b c d"])
    assert bi_encoder.truncation == Truncation(3, 2, 4)
    assert "2 of 3 texts were cut to 5 tokens (4 tokens lost)" in caplog.text
    bi_encoder.encode(["a"])
    assert bi_encoder.truncation == Truncation(1, 0, 0)


@pytest.mark.parametrize("name", ["max_length", "max_seq_length"])
def test_the_maximum_length_is_settable(bi_encoder: BiEncoder, name: str) -> None:
    whole = bi_encoder.encode(CORPUS[0])
    setattr(bi_encoder, name, 6)
    assert bi_encoder.max_length == bi_encoder.max_seq_length == bi_encoder.spec.max_length == 6
    assert bi_encoder.tokenize([CORPUS[0]]).num_tokens == 6
    assert np.abs(bi_encoder.encode(CORPUS[0]) - whole).max() > 1e-3


def test_attributes_have_the_names_of_st(bi_encoder: BiEncoder, cross_encoder: CrossEncoder) -> None:
    assert bi_encoder.device == cross_encoder.device == "cpu"
    assert bi_encoder.get_sentence_embedding_dimension() == bi_encoder.get_embedding_dimension() == 32
    assert bi_encoder.similarity_fn_name == "cosine"
    assert bi_encoder.prompts == PROMPTS
    assert bi_encoder.default_prompt_name is None
    assert bi_encoder.max_seq_length == cross_encoder.max_seq_length == 128
    assert len(bi_encoder.tokenizer) == bi_encoder.spec.architecture.vocab_size
    assert bi_encoder.tokenizer.decode(bi_encoder.tokenizer.encode("a text")) == "a text"
    assert (bi_encoder.kind, cross_encoder.kind) == ("bi-encoder", "cross-encoder")


def test_to_gives_the_model_itself_and_the_same_numbers(bi_encoder: BiEncoder, cross_encoder: CrossEncoder) -> None:
    before = bi_encoder.encode(TEXTS)
    assert bi_encoder.to("cpu") is bi_encoder
    np.testing.assert_array_equal(bi_encoder.encode(TEXTS), before)
    assert cross_encoder.to("cpu").checkpoint.wishes.device == "cpu"
    assert bi_encoder.to("cuda:1").checkpoint.wishes.device == "cuda:1"


def test_a_model_in_words(tiny: Any) -> None:
    folder = tiny.bi_encoder("roberta", pooling=("cls", "mean"), dense=24, include_prompt=False)
    assert str(BiEncoder(folder)) == (
        "BiEncoder(\n"
        f"  (0): Transformer(roberta: 3 layers, hidden 32, 4 heads, vocabulary {len(BiEncoder(folder).tokenizer)}, "
        "max_length 512)\n"
        "  (1): Pooling(cls + mean, without the prompt)\n"
        "  (2): Dense(64 -> 24, Tanh)\n"
        "  (3): Normalize()\n"
        ")"
    )
    described = str(CrossEncoder(tiny.cross_encoder("bert", num_labels=3)))
    assert described.startswith("CrossEncoder(\n  (0): Transformer(bert: 3 layers")
    assert described.endswith("  (1): Classification(32 -> 3, Identity)\n)")


def test_an_unknown_prompt_names_the_known_ones(bi_encoder: BiEncoder, tiny: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        bi_encoder.encode(TEXTS, prompt_name="web")
    expected = "prompt_name='web': this model's prompts are 'query', 'document'. Pass prompt= to use a text."
    assert str(caught.value) == expected
    with pytest.raises(ConfigError, match="prompts are none"):
        CrossEncoder(tiny.cross_encoder("bert"), default_prompt_name="web")


def test_an_unknown_task_is_an_error(bi_encoder: BiEncoder) -> None:
    with pytest.raises(ConfigError, match="task='search': expected 'query' or 'document'"):
        bi_encoder.encode(TEXTS, task="search")


def test_the_prompt_of_a_task_is_that_of_encode(bi_encoder: BiEncoder) -> None:
    assert [bi_encoder.prompt_of(task) for task in ("query", "document", None)] == ["query: ", "passage: ", ""]
    np.testing.assert_array_equal(bi_encoder.encode_query("a"), bi_encoder.encode("a", prompt="query: "))
    np.testing.assert_array_equal(bi_encoder.encode_document("a"), bi_encoder.encode("a", prompt_name="document"))
    assert not np.array_equal(bi_encoder.encode_query("a"), bi_encoder.encode("a"))


@pytest.mark.parametrize("dim", [0, 33, -1])
def test_a_size_outside_the_model_is_an_error(bi_encoder: BiEncoder, dim: int) -> None:
    with pytest.raises(ValueRangeError, match=f"truncate_dim={dim}: expected 1 to 32, the model's embedding size"):
        bi_encoder.encode(TEXTS, truncate_dim=dim)


def test_a_model_of_one_size_says_it_everywhere(tiny: Any) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"), truncate_dim=8)
    assert model.get_sentence_embedding_dimension() == model.encode("a").shape[0] == 8
    assert model.encode("a", truncate_dim=16).shape == (16,)


def test_documents_are_ranked_by_similarity(bi_encoder: BiEncoder) -> None:
    documents = [*TEXTS, *TEXTS[:1] * 29]  # ties: equal texts keep their order
    ranks = bi_encoder.rank(QUERY, documents, return_documents=True)
    query_1E, documents_BE = bi_encoder.encode_query([QUERY]), bi_encoder.encode_document(documents)
    scores = bi_encoder.similarity_pairwise(query_1E, documents_BE)
    assert_agrees(scores, bi_encoder.similarity(query_1E, documents_BE)[0], "embedding")
    assert [r["score"] for r in ranks] == sorted(scores.tolist(), reverse=True)
    assert all(r["text"] == documents[r["corpus_id"]] and r["score"] == scores[r["corpus_id"]] for r in ranks)
    order = [r["corpus_id"] for r in ranks]
    assert order[order.index(0) :][:30] == [0, *range(len(TEXTS), len(TEXTS) + 29)]
    assert bi_encoder.rank(QUERY, documents, top_k=2) == [{k: r[k] for k in ("corpus_id", "score")} for r in ranks[:2]]


def test_documents_are_ranked_by_score(cross_encoder: CrossEncoder, tiny: Any) -> None:
    ranks = cross_encoder.rank(QUERY, TEXTS, top_k=3, return_documents=True)
    scores = cross_encoder.predict(PAIRS)
    assert [r["corpus_id"] for r in ranks] == np.argsort(-scores, kind="stable")[:3].tolist()
    assert [r["text"] for r in ranks] == [TEXTS[r["corpus_id"]] for r in ranks]
    logits = cross_encoder.predict(PAIRS, activation="identity")
    ranked = [r["score"] for r in cross_encoder.rank(QUERY, TEXTS, activation="identity")]
    assert ranked == sorted(logits.tolist(), reverse=True)
    assert not np.array_equal(logits, scores)
    several = CrossEncoder(tiny.cross_encoder("bert", num_labels=3))
    with pytest.raises(ConfigError, match=r"rank\(\) needs a model with 1 label, this one has 3\. Use predict\(\)"):
        several.rank(QUERY, TEXTS)


def test_softmax_is_over_several_labels_only(cross_encoder: CrossEncoder, tiny: Any) -> None:
    np.testing.assert_array_equal(cross_encoder.predict(PAIRS, apply_softmax=True), cross_encoder.predict(PAIRS))
    several = CrossEncoder(tiny.cross_encoder("bert", num_labels=3), dtype="float32")
    np.testing.assert_allclose(several.predict(PAIRS, apply_softmax=True).sum(1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("class_", [BiEncoder, CrossEncoder])
def test_other_weights_are_in_a_new_model_and_the_first_is_left_alone(tiny: Any, class_: type) -> None:
    model = class_(tiny.bi_encoder("bert") if class_ is BiEncoder else tiny.cross_encoder("bert"), dtype="float32")
    run = (lambda m: m.encode(TEXTS)) if class_ is BiEncoder else (lambda m: m.predict(PAIRS))
    before = run(model)
    other = {name: array * np.float32(0.5) for name, array in model.checkpoint.parameters.items()}
    twin = model.with_parameters(other)
    assert np.abs(run(twin) - before).max() > 1e-3
    np.testing.assert_array_equal(run(model), before)
    twin.max_length = 4
    assert model.max_length == 128
    prompts = dict(model.prompts)
    twin.prompts["query"] = "changed: "
    assert model.prompts == prompts


def test_save_pretrained_has_the_arguments_of_st(tiny: Any, tmp_path: Path) -> None:
    model = CrossEncoder(tiny.cross_encoder("bert"))
    model.save_pretrained(path=tmp_path / "a", model_name="a", create_model_card=False, safe_serialization=True)
    assert CrossEncoder(tmp_path / "a").num_labels == 1
    for refused in ({"safe_serialization": False}, {"train_datasets": ["some/pairs"]}):
        with pytest.raises(ConfigError, match=f"^{next(iter(refused))}="):
            model.save_pretrained(tmp_path / "b", **refused)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("save", ["save", "save_pretrained"])
@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_a_saved_bi_encoder_is_the_same_to_the_bit(tiny: Any, tmp_path: Path, family: str, save: str) -> None:
    folder = tiny.bi_encoder(family, dense=24, settings={"prompts": PROMPTS})
    model = BiEncoder(folder, dtype="float32", similarity="dot", truncate_dim=16, max_length=20)
    getattr(model, save)(tmp_path / "saved")
    again = BiEncoder(tmp_path / "saved", dtype="float32")
    np.testing.assert_array_equal(again.encode(TEXTS), model.encode(TEXTS))
    np.testing.assert_array_equal(again.encode_query(TEXTS), model.encode_query(TEXTS))
    assert (again.similarity_fn_name, again.truncate_dim, again.max_length) == ("dot", 16, 20)
    assert again.prompts == PROMPTS
    assert str(again) == str(model)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "mpnet"])
def test_a_saved_cross_encoder_is_the_same_to_the_bit(tiny: Any, tmp_path: Path, family: str) -> None:
    model = CrossEncoder(tiny.cross_encoder(family), dtype="float32", activation=torch.nn.Tanh(), max_length=30)
    model.save(tmp_path / "saved")
    again = CrossEncoder(tmp_path / "saved", dtype="float32")
    np.testing.assert_array_equal(again.predict(PAIRS), model.predict(PAIRS))
    assert again.max_length == 30
    assert str(again) == str(model)


def test_a_new_head_is_saved_and_no_longer_new(tiny: Any, tmp_path: Path) -> None:
    folder = tiny.bi_encoder("bert")
    with pytest.warns(
        UntrainedWarning, match=r"drawn at random, .* mean nothing\. Train it, or .* BiEncoder\("
    ) as told:
        model = CrossEncoder(folder, num_labels=2, dtype="float32")
    assert len(told) == 1
    assert model.spec.head_is_new
    model.save(tmp_path / "saved")
    again = CrossEncoder(tmp_path / "saved", dtype="float32")
    assert not again.spec.head_is_new
    np.testing.assert_array_equal(again.predict(PAIRS), model.predict(PAIRS))


def test_a_cross_encoder_opened_as_a_bi_encoder_is_told_of(tiny: Any) -> None:
    folder = tiny.cross_encoder("bert")
    with pytest.warns(UntrainedWarning, match=r"mean pooling, for which nobody trained it\. .* CrossEncoder\("):
        BiEncoder(folder)


def test_a_trained_copy_is_saved_by_its_tensors(bi_encoder: BiEncoder, tmp_path: Path) -> None:
    half = {name: array * np.float32(0.5) for name, array in bi_encoder.checkpoint.parameters.items()}
    bi_encoder.save(tmp_path / "half", half)
    again = BiEncoder(tmp_path / "half", dtype="float32")
    np.testing.assert_array_equal(again.encode(TEXTS), bi_encoder.with_parameters(half).encode(TEXTS))


def test_a_model_opens_as_what_its_files_say(tiny: Any) -> None:
    assert isinstance(open_model(tiny.bi_encoder("bert")), BiEncoder)
    assert isinstance(open_model(tiny.cross_encoder("bert")), CrossEncoder)
    with pytest.warns(UntrainedWarning, match="no classification head"):
        assert isinstance(open_model(tiny.bi_encoder("bert"), kind="cross-encoder"), CrossEncoder)
    with pytest.raises(ConfigError, match="kind='reranker': expected one of bi-encoder, cross-encoder"):
        open_model(tiny.bi_encoder("bert"), kind="reranker")


def test_wishes_are_handed_on(tiny: Any) -> None:
    model = open_model(tiny.cross_encoder("bert"), engine="torch", dtype="float32", device="cpu", max_length=9)
    assert (model.checkpoint.engine.name, model.dtype, model.device, model.max_length) == ("torch", "float32", "cpu", 9)


@pytest.mark.parametrize(
    ("noted", "architecture", "has_modules", "kind"),
    [
        ("CrossEncoder", "BertModel", True, "cross-encoder"),
        ("SentenceTransformer", "BertForSequenceClassification", False, "bi-encoder"),
        (None, "BertForSequenceClassification", True, "bi-encoder"),
        (None, "BertForSequenceClassification", False, "cross-encoder"),
        (None, "BertForMaskedLM", False, "bi-encoder"),
        ("SparseEncoder", "BertModel", False, "bi-encoder"),
        (None, None, False, "bi-encoder"),
    ],
)
def test_the_kind_is_noted_or_follows_from_the_config(
    tmp_path: Path, noted: str | None, architecture: str | None, has_modules: bool, kind: str
) -> None:
    if noted is not None:
        (tmp_path / "config_sentence_transformers.json").write_text(json.dumps({"model_type": noted}))
    if has_modules:
        (tmp_path / "modules.json").write_text("[]")
    (tmp_path / "config.json").write_text(json.dumps({"architectures": architecture and [architecture]}))
    assert kind_of(tmp_path) == kind


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="nothing-here"):
        BiEncoder(tmp_path / "nothing-here")


def _with_config(source: Path, folder: Path, **changes: Any) -> Path:
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def test_a_family_that_nobody_knows_is_named(tiny: Any, tmp_path: Path) -> None:
    folder = _with_config(tiny.bi_encoder("bert"), tmp_path / "model", model_type="nobodys")
    with pytest.raises(
        ModelFormatError, match=r"config\.json: .*transformers does not open it: .*`nobodys`.* Correct the file"
    ):
        BiEncoder(folder)


def test_weights_of_another_family_are_not_taken(tiny: Any, tmp_path: Path) -> None:
    folder = _with_config(tiny.bi_encoder("bert"), tmp_path / "model", model_type="gpt2")
    with pytest.raises(ModelFormatError, match=r"no tensor 'h\.0\..*', which a gpt2 model needs \(\d+ are missing\)"):
        BiEncoder(folder)


def test_the_engine_is_made_at_first_use_and_once(tiny: Any) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"))
    assert model.checkpoint._engine is None
    assert model.checkpoint.engine is model.checkpoint.engine


def test_states_of_equal_texts_do_not_share_memory(bi_encoder: BiEncoder) -> None:
    first, _, third = bi_encoder.encode(["the same", "another", "the same"], output_value="token_embeddings")
    expected = third.clone()
    first[:] = 0
    assert torch.equal(third, expected) and third.abs().max() > 0
