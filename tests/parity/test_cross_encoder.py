"""Our scores equal those of sentence-transformers 6.2.0 in float32, in both engines.

Families, layouts and heads are those of `test_conformance.py`; here are batches, options and activations.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.parity.reference import ENGINES, FEW_AT_ONCE, our_cross_encoder, st_cross_encoder, st_logits
from tests.texts import CORPUS, HARD_PAIRS, QUERY, random_texts
from tests.tiny import CROSS_FAMILIES
from tests.tolerances import assert_agrees

PAIRS = tuple((QUERY, text) for text in CORPUS)
SIGMOID = "torch.nn.modules.activation.Sigmoid"
IDENTITY = "torch.nn.modules.linear.Identity"
TANH = "torch.nn.modules.activation.Tanh"

each_engine = pytest.mark.parametrize("engine", ENGINES)
each_family = pytest.mark.parametrize("family", CROSS_FAMILIES)


@each_engine
@each_family
def test_a_batch_of_one_gets_the_same_logit(tiny: Any, family: str, engine: str) -> None:
    folder = tiny.cross_encoder(family)
    ours = our_cross_encoder(folder, engine, activation=torch.nn.Identity())
    logits = np.stack([ours.predict(pair) for pair in HARD_PAIRS])
    assert_agrees(logits, st_logits(folder, HARD_PAIRS), "score", what=f"{family} {engine}")


@each_engine
@pytest.mark.parametrize(
    ("family", "count"), [("bert", 1000), *((name, 120) for name in CROSS_FAMILIES if name != "bert")]
)
def test_many_pairs_get_the_same_logits_in_order(tiny: Any, family: str, count: int, engine: str) -> None:
    folder = tiny.cross_encoder(family)
    pairs = tuple(
        zip(random_texts(count, seed=5, most_words=12), random_texts(count, seed=6, most_words=20), strict=True)
    )
    logits = our_cross_encoder(folder, engine).predict(list(pairs), activation_fn=torch.nn.Identity())
    assert_agrees(logits, st_logits(folder, pairs), "score", what=f"{family} {engine}")


@each_family
def test_token_ids_and_type_ids_are_the_same(tiny: Any, family: str) -> None:
    folder = tiny.cross_encoder(family)
    ours, reference = our_cross_encoder(folder), st_cross_encoder(folder)
    for pair in HARD_PAIRS:
        features = reference.preprocess([pair])
        batch = ours.tokenize([pair])
        assert batch.ids_T.tolist() == features["input_ids"][0].tolist(), repr(pair)[:80]
        if "token_type_ids" in features:
            assert batch.type_ids_T is not None
            assert batch.type_ids_T.tolist() == features["token_type_ids"][0].tolist()


@each_family
@pytest.mark.parametrize("max_length", [7, 8, 9, 64])
def test_truncation_of_pairs_gives_the_same(tiny: Any, family: str, max_length: int) -> None:
    folder = tiny.cross_encoder(family)
    # Not the longest: of a pair cut on both sides, ST's tokenizer makes every pair of leftovers, gigabytes of them.
    pairs = [pair for pair in HARD_PAIRS if len(pair[0]) + len(pair[1]) < 1000]
    pairs += [(document, query) for query, document in pairs]
    expected = st_cross_encoder(folder, max_length=max_length).predict(pairs)
    for engine in ENGINES:
        scores = our_cross_encoder(folder, engine, max_length=max_length).predict(pairs)
        assert_agrees(scores, expected, "score", what=f"{family} {engine}")


def stored_in_config(folder: Path, value: dict[str, Any]) -> None:
    """Adds keys to config.json."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | value))


def stored_by_v6(folder: Path, activation: str) -> None:
    """Turns the folder into one of sentence-transformers 6 that stores the activation."""
    model = st_cross_encoder(folder)
    model.activation_fn = {TANH: torch.nn.Tanh(), IDENTITY: torch.nn.Identity()}[activation]
    shutil.rmtree(folder)
    model.save(str(folder))
    assert "activation_fn" in (folder / "config_sentence_transformers.json").read_text()


STORED = {
    "nothing": lambda folder: None,
    "version 2": lambda folder: stored_in_config(folder, {"sbert_ce_default_activation_function": IDENTITY}),
    "version 4": lambda folder: stored_in_config(folder, {"sentence_transformers": {"activation_fn": TANH}}),
    "version 6": lambda folder: stored_by_v6(folder, TANH),
    "version 6, raw logits": lambda folder: stored_by_v6(folder, IDENTITY),
    "2 and 4 disagree": lambda folder: stored_in_config(
        folder,
        {"sbert_ce_default_activation_function": IDENTITY, "sentence_transformers": {"activation_fn": TANH}},
    ),
}


@pytest.mark.parametrize("num_labels", [1, 3])
@pytest.mark.parametrize("stored", STORED)
def test_the_activation_follows_the_rules_of_st(tiny: Any, tmp_path: Path, stored: str, num_labels: int) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.cross_encoder("bert", num_labels=num_labels), folder)
    STORED[stored](folder)
    expected = st_cross_encoder(folder).predict(list(PAIRS))
    assert_agrees(our_cross_encoder(folder).predict(list(PAIRS)), expected, "score", what=stored)


@pytest.mark.parametrize("num_labels", [1, 3])
def test_a_stored_activation_that_is_not_of_torch_is_not_run(tiny: Any, tmp_path: Path, num_labels: int) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.cross_encoder("bert", num_labels=num_labels), folder)
    stored_in_config(folder, {"sbert_ce_default_activation_function": "os.system"})
    expected = st_cross_encoder(folder).predict(list(PAIRS))
    with pytest.warns(UserWarning, match="'os.system' is not torch's"):
        ours = our_cross_encoder(folder)
    assert_agrees(ours.predict(list(PAIRS)), expected, "score")


def test_default_activations_are_sigmoid_for_one_label_and_none_for_several(tiny: Any) -> None:
    one = our_cross_encoder(tiny.cross_encoder("bert"))
    raw = one.predict(list(PAIRS), activation_fn=torch.nn.Identity())
    assert_agrees(one.predict(list(PAIRS)), 1 / (1 + np.exp(-raw)), "score")
    three = our_cross_encoder(tiny.cross_encoder("bert", num_labels=3))
    assert_agrees(three.predict(list(PAIRS)), three.predict(list(PAIRS), activation_fn=torch.nn.Identity()), "score")


@each_family
def test_three_labels_give_the_same(tiny: Any, family: str) -> None:
    folder, pairs = tiny.cross_encoder(family, num_labels=3), list(HARD_PAIRS)
    ours, reference = {engine: our_cross_encoder(folder, engine) for engine in ENGINES}, st_cross_encoder(folder)
    for apply_softmax in (False, True):
        expected = reference.predict(pairs, apply_softmax=apply_softmax, batch_size=FEW_AT_ONCE)
        for engine, model in ours.items():
            scores = model.predict(pairs, apply_softmax=apply_softmax)
            assert scores.shape == (len(pairs), 3)
            assert_agrees(scores, expected, "score", what=f"{family} {engine} {apply_softmax=}")


@pytest.mark.parametrize("activation", [torch.nn.Sigmoid(), torch.nn.Identity(), torch.nn.Tanh(), torch.nn.Softmax(-1)])
@pytest.mark.parametrize("num_labels", [1, 3])
def test_a_given_activation_gives_the_same(tiny: Any, activation: torch.nn.Module, num_labels: int) -> None:
    folder, pairs = tiny.cross_encoder("bert", num_labels=num_labels), list(PAIRS)
    ours, reference = our_cross_encoder(folder), st_cross_encoder(folder)
    expected = reference.predict(pairs, activation_fn=activation)
    assert_agrees(ours.predict(pairs, activation_fn=activation), expected, "score", what="of the call")
    kept = our_cross_encoder(folder, activation_fn=activation).predict(pairs)
    assert_agrees(kept, st_cross_encoder(folder, activation_fn=activation).predict(pairs), "score", what="of the model")


@each_engine
@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_the_order_and_the_entries_of_rank_are_the_same(tiny: Any, family: str, engine: str) -> None:
    folder, documents = tiny.cross_encoder(family), [*CORPUS, *random_texts(15, seed=8)]
    ours, reference = our_cross_encoder(folder, engine), st_cross_encoder(folder)
    for options in ({}, {"top_k": 5}, {"return_documents": True}, {"top_k": 100, "return_documents": True}):
        ranks, expected = ours.rank(QUERY, documents, **options), reference.rank(QUERY, documents, **options)
        assert [entry["corpus_id"] for entry in ranks] == [entry["corpus_id"] for entry in expected]
        assert [set(entry) for entry in ranks] == [set(entry) for entry in expected]
        assert [entry.get("text") for entry in ranks] == [entry.get("text") for entry in expected]
        assert_agrees([entry["score"] for entry in ranks], [entry["score"] for entry in expected], "score")
        assert all(type(entry["corpus_id"]) is int and isinstance(entry["score"], float) for entry in ranks)


@each_engine
def test_prompts_give_the_same(tiny: Any, tmp_path: Path, engine: str) -> None:
    model = st_cross_encoder(tiny.cross_encoder("bert"), prompts={"web": "Web search: "}, default_prompt_name="web")
    model.save(str(tmp_path / "model"))
    ours, reference = our_cross_encoder(tmp_path / "model", engine), st_cross_encoder(tmp_path / "model")
    assert ours.prompts == reference.prompts
    for options in ({}, {"prompt_name": "web"}, {"prompt": "Ad hoc: "}, {"prompt": ""}):
        expected = reference.predict(list(PAIRS), **options)
        assert_agrees(ours.predict(list(PAIRS), **options), expected, "score", what=f"{options}")
    assert [e["corpus_id"] for e in ours.rank(QUERY, CORPUS)] == [e["corpus_id"] for e in reference.rank(QUERY, CORPUS)]


@pytest.mark.parametrize("num_labels", [1, 3])
def test_forms_of_input_and_output_are_the_same(tiny: Any, num_labels: int) -> None:
    folder = tiny.cross_encoder("bert", num_labels=num_labels)
    ours, reference = our_cross_encoder(folder), st_cross_encoder(folder)
    for pairs in (("a", "b"), ["a", "b"], [("a", "b")], [["a", "b"], ["c", "d"]], (("a", "b"), ("c", "d"))):
        actual, expected = ours.predict(pairs), reference.predict(pairs)
        assert np.shape(actual) == np.shape(expected), pairs
        assert actual.dtype == expected.dtype == np.float32
        assert_agrees(actual, expected, "score", what=f"{pairs}")
    assert len(ours.predict([])) == len(reference.predict([])) == 0
    tensor, expected_tensor = (m.predict([("a", "b")] * 2, convert_to_tensor=True) for m in (ours, reference))
    assert type(tensor) is type(expected_tensor)
    assert_agrees(tensor, expected_tensor, "score")
