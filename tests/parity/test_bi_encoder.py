"""Our embeddings equal those of sentence-transformers 6.2.0 in float32, in both engines.

Families, layouts and modules are those of `test_conformance.py`; here are batches, options and rarer configs.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rankwright.encoder.spec import POOLING_MODES
from tests.parity.reference import ENGINES, our_bi_encoder, st_bi_encoder, st_embeddings
from tests.texts import CORPUS, HARD_TEXTS, random_texts
from tests.tiny import FAMILIES
from tests.tolerances import assert_agrees

FEW = (*HARD_TEXTS[:16], *CORPUS[:8])
PROMPTS = {"query": "Query about science: ", "document": "passage: ", "long": CORPUS[0] + " "}

each_engine = pytest.mark.parametrize("engine", ENGINES)
each_family = pytest.mark.parametrize("family", FAMILIES)


@each_engine
@each_family
def test_a_batch_of_one_gets_the_same_embedding(tiny: Any, family: str, engine: str) -> None:
    folder = tiny.bi_encoder(family)
    ours = our_bi_encoder(folder, engine)
    embeddings = np.stack([ours.encode(text) for text in HARD_TEXTS])
    assert_agrees(embeddings, st_embeddings(folder, HARD_TEXTS), "tiny embedding", what=f"{family} {engine}")


@each_engine
@pytest.mark.parametrize(("family", "count"), [("bert", 1000), *((name, 120) for name in FAMILIES if name != "bert")])
def test_many_texts_get_the_same_embeddings_in_order(tiny: Any, family: str, count: int, engine: str) -> None:
    folder, texts = tiny.bi_encoder(family), tuple(random_texts(count))
    embeddings = our_bi_encoder(folder, engine).encode(list(texts))
    assert_agrees(embeddings, st_embeddings(folder, texts), "tiny embedding", what=f"{family} {engine}")


@each_engine
def test_minilm_gets_the_same_embeddings(minilm: Path, engine: str) -> None:
    texts = (*HARD_TEXTS, *random_texts(60, seed=1))
    embeddings = our_bi_encoder(minilm, engine).encode(list(texts))
    assert_agrees(embeddings, st_embeddings(minilm, texts), "embedding", what=f"MiniLM {engine}")


@each_family
def test_token_ids_are_the_same(tiny: Any, family: str) -> None:
    folder = tiny.bi_encoder(family)
    ours, reference = our_bi_encoder(folder), st_bi_encoder(folder)
    for text in HARD_TEXTS:
        features = reference.preprocess([text])
        batch = ours.tokenize([text])
        assert batch.ids_T.tolist() == features["input_ids"][0].tolist(), repr(text[:60])
        if "token_type_ids" in features:
            assert batch.type_ids_T is not None
            assert batch.type_ids_T.tolist() == features["token_type_ids"][0].tolist()


@pytest.mark.parametrize("pooling", [*((mode,) for mode in POOLING_MODES), ("cls", "mean")], ids="+".join)
def test_pooling_without_the_prompt_gives_the_same(tiny: Any, pooling: tuple[str, ...]) -> None:
    folder = tiny.bi_encoder("roberta", pooling=pooling, include_prompt=False, settings={"prompts": PROMPTS})
    ours, reference = {engine: our_bi_encoder(folder, engine) for engine in ENGINES}, st_bi_encoder(folder)
    texts = [text for text in FEW if text.strip()]
    for name in PROMPTS:
        expected = reference.encode(texts, prompt_name=name)
        for engine, model in ours.items():
            assert_agrees(
                model.encode(texts, prompt_name=name), expected, "embedding", what=f"{pooling} {name} {engine}"
            )


@each_engine
@pytest.mark.parametrize("has_end", [True, False], ids=["end token", "no end token"])
@pytest.mark.parametrize("mode", POOLING_MODES)
def test_a_prompt_that_fills_the_maximum_length_gives_the_same(
    tiny: Any, tmp_path: Path, mode: str, has_end: bool, engine: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.bi_encoder("bert", pooling=(mode,), include_prompt=False, normalize=False), folder)
    if not has_end:  # then no token is left after the prompt
        content = json.loads((folder / "tokenizer.json").read_text())
        content["post_processor"]["single"].pop()
        (folder / "tokenizer.json").write_text(json.dumps(content))
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"  # BertTokenizer would put the end token back
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    ours, reference = our_bi_encoder(folder, engine, max_length=6), st_bi_encoder(folder)
    reference.max_seq_length = 6
    prompt = "a prompt of more words than the maximum length has tokens: "
    expected = reference.encode(list(FEW), prompt=prompt)
    if mode == "max" and not has_end:
        assert np.isneginf(expected).all()
        assert np.isneginf(ours.encode(list(FEW), prompt=prompt)).all()
        return
    assert_agrees(ours.encode(list(FEW), prompt=prompt), expected, "embedding", what=f"{mode} {engine}")


@each_engine
@each_family
def test_a_dense_layer_gives_the_same(tiny: Any, family: str, engine: str) -> None:
    folder = tiny.bi_encoder(family, pooling=("cls",), dense=24, normalize=False)
    embeddings = our_bi_encoder(folder, engine).encode(list(FEW))
    assert embeddings.shape == (len(FEW), 24)
    assert_agrees(embeddings, st_embeddings(folder, FEW), "embedding", what=f"{family} {engine}")


@each_engine
def test_prompts_give_the_same(tiny: Any, engine: str) -> None:
    folder = tiny.bi_encoder("bert", settings={"prompts": PROMPTS, "default_prompt_name": "document"})
    ours, reference = our_bi_encoder(folder, engine), st_bi_encoder(folder)
    assert ours.prompts == reference.prompts
    assert ours.default_prompt_name == reference.default_prompt_name == "document"
    texts = list(FEW)
    for options in ({}, {"prompt_name": "query"}, {"prompt": "Ad hoc: "}, {"prompt": ""}):
        assert_agrees(ours.encode(texts, **options), reference.encode(texts, **options), "embedding", what=f"{options}")
    assert_agrees(ours.encode_query(texts), reference.encode_query(texts), "embedding", what="encode_query")
    assert_agrees(ours.encode_document(texts), reference.encode_document(texts), "embedding", what="encode_document")
    moved = {"query": "Other: "}
    assert_agrees(
        our_bi_encoder(folder, engine, prompts=moved).encode_query(texts),
        st_bi_encoder(folder, prompts=moved).encode_query(texts),
        "embedding",
        what="prompts of the user",
    )


@pytest.mark.parametrize(
    "prompts", [{}, {"passage": "p: "}, {"corpus": "c: "}, {"query": "q: ", "corpus": "c: ", "passage": "p: "}]
)
def test_queries_and_documents_find_their_prompts_as_in_st(tiny: Any, prompts: dict[str, str]) -> None:
    folder = tiny.bi_encoder("bert", settings={"prompts": prompts})
    ours, reference = our_bi_encoder(folder), st_bi_encoder(folder)
    for name in ("encode_query", "encode_document"):
        expected = getattr(reference, name)(list(CORPUS))
        assert_agrees(getattr(ours, name)(list(CORPUS)), expected, "embedding", what=name)


@each_engine
@pytest.mark.parametrize("dim", [32, 16, 8, 1])
def test_matryoshka_sizes_and_normalisation_give_the_same(tiny: Any, dim: int, engine: str) -> None:
    folder, texts = tiny.bi_encoder("bert"), list(FEW)
    ours, reference = our_bi_encoder(folder, engine), st_bi_encoder(folder)
    for normalize in (False, True):
        options = {"truncate_dim": dim, "normalize_embeddings": normalize}
        assert_agrees(ours.encode(texts, **options), reference.encode(texts, **options), "embedding", what=f"{options}")
    expected = st_bi_encoder(folder, truncate_dim=dim).encode(texts)
    assert_agrees(
        our_bi_encoder(folder, engine, truncate_dim=dim).encode(texts), expected, "embedding", what="constructor"
    )


def test_a_stored_truncate_dim_is_obeyed(tiny: Any) -> None:
    folder = tiny.bi_encoder("bert", settings={"truncate_dim": 8})
    expected = st_embeddings(folder, FEW)
    assert expected.shape[1] == 8
    assert_agrees(our_bi_encoder(folder).encode(list(FEW)), expected, "embedding")


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan", None])
def test_similarities_are_the_same(tiny: Any, name: str | None) -> None:
    folder = tiny.bi_encoder("bert", normalize=False, settings={"similarity_fn_name": name})
    ours, reference = our_bi_encoder(folder), st_bi_encoder(folder)
    assert ours.similarity_fn_name == reference.similarity_fn_name
    a, b = st_embeddings(folder, FEW), st_embeddings(folder, CORPUS)
    for actual, expected in (
        (ours.similarity(a, b), reference.similarity(a, b)),
        (ours.similarity_pairwise(a, a[::-1].copy()), reference.similarity_pairwise(a, a[::-1].copy())),
    ):
        # Lengths of about 5: the tolerance is that of unit vectors, relative above 1.
        assert_agrees(np.asarray(actual), expected.numpy(), "score", what=str(name))


@pytest.mark.parametrize("form", [torch.from_numpy, lambda rows: list(torch.from_numpy(rows))])
def test_similarities_of_tensors_are_tensors_of_the_same_shape(tiny: Any, form: Callable[..., Any]) -> None:
    folder = tiny.bi_encoder("bert")
    ours, reference = our_bi_encoder(folder), st_bi_encoder(folder)
    rows = form(st_embeddings(folder, FEW))
    for a, b in ((rows, rows), (rows[0], rows[1]), (rows[0], rows)):
        for name in ("similarity", "similarity_pairwise"):
            actual, expected = getattr(ours, name)(a, b), getattr(reference, name)(a, b)
            assert type(actual) is torch.Tensor
            assert actual.shape == expected.shape
            assert_agrees(actual, expected, "score", what=name)


def test_similarity_of_two_vectors_is_a_number(tiny: Any) -> None:
    folder = tiny.bi_encoder("bert")
    a, b, *_ = st_embeddings(folder, FEW)
    assert f"{our_bi_encoder(folder).similarity_pairwise(a, b):.4f}" == f"{a @ b:.4f}"


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_smaller_types_hold_the_same_values(tiny: Any, precision: str) -> None:
    folder, texts = tiny.bi_encoder("bert"), random_texts(120, seed=3)
    ours = our_bi_encoder(folder).encode(texts, precision=precision)
    expected = st_bi_encoder(folder).encode(texts, precision=precision)
    assert ours.dtype == expected.dtype
    assert ours.shape == expected.shape
    # A float32 error of 1e-7 moves a value over the edge of its level now and then.
    assert (ours != expected).mean() < 2e-3


def test_forms_of_input_and_output_are_the_same(tiny: Any) -> None:
    folder = tiny.bi_encoder("bert")
    ours, reference = our_bi_encoder(folder), st_bi_encoder(folder)
    for texts in ("one text", ["one text"], ["one", "two"], ("a", "tuple")):
        actual, expected = ours.encode(texts), reference.encode(texts)
        assert actual.shape == expected.shape, texts
        assert actual.dtype == expected.dtype, texts
    # ST gives (0,); with the second axis np.concatenate and similarity() work on no texts too.
    assert ours.encode([]).shape == (0, 32)
    assert len(reference.encode([])) == 0
    tensor, expected_tensor = (m.encode(["one", "two"], convert_to_tensor=True) for m in (ours, reference))
    assert type(tensor) is type(expected_tensor)
    assert_agrees(tensor, expected_tensor, "embedding")
    rows, expected_rows = (m.encode(["one", "two"], convert_to_numpy=False) for m in (ours, reference))
    assert [type(row) for row in rows] == [type(row) for row in expected_rows]


@pytest.mark.parametrize("length", [8, 16, 200])
def test_another_maximum_length_gives_the_same(tiny: Any, length: int) -> None:
    folder = tiny.bi_encoder("roberta")
    ours, reference = our_bi_encoder(folder), st_bi_encoder(folder)
    assert ours.max_seq_length == reference.max_seq_length
    ours.max_seq_length = reference.max_seq_length = length
    assert_agrees(ours.encode(list(HARD_TEXTS)), reference.encode(list(HARD_TEXTS)), "embedding")


VARIANTS = {
    "ReLU": ("bert", {"hidden_act": "relu"}),
    "tanh GELU": ("bert", {"hidden_act": "gelu_new"}),
    "no type embeddings used": ("roberta", {"type_vocab_size": 1}),
    "two types": ("xlm-roberta", {"type_vocab_size": 2}),
    "biases everywhere": ("modernbert", {"attention_bias": True, "mlp_bias": True, "norm_bias": True}),
    "every layer local but the first": ("modernbert", {"global_attn_every_n_layers": 3}),
    "window of one each side": ("modernbert", {"local_attention": 2}),
    "one head": ("bert", {"num_attention_heads": 1}),
    "one layer": ("modernbert", {"num_hidden_layers": 1}),
}


@each_engine
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_of_the_config_give_the_same(tiny: Any, variant: str, pooling: str, engine: str) -> None:
    family, config = VARIANTS[variant]
    folder = tiny.bi_encoder(family, pooling=(pooling,), config=config)
    embeddings = our_bi_encoder(folder, engine).encode(list(FEW))
    assert_agrees(embeddings, st_embeddings(folder, FEW), "embedding", what=f"{variant} {engine}")


@each_engine
def test_the_config_spelling_of_transformers_4_gives_the_same(tiny: Any, tmp_path: Path, engine: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.bi_encoder("modernbert"), folder)
    config = json.loads((folder / "config.json").read_text())
    del config["layer_types"], config["rope_parameters"]
    config |= {"global_attn_every_n_layers": 2, "global_rope_theta": 160_000.0, "local_rope_theta": 10_000.0}
    (folder / "config.json").write_text(json.dumps(config))
    expected = st_bi_encoder(folder).encode(list(FEW))
    assert_agrees(st_embeddings(tiny.bi_encoder("modernbert"), FEW), expected, "embedding", what="reference")
    assert_agrees(our_bi_encoder(folder, engine).encode(list(FEW)), expected, "embedding", what=engine)
