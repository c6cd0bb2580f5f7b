"""Checkpoints with one thing wrong: each is refused when it is opened, by a message with the place and the way out.

The same damage is done to both kinds of a family of ours, and of one that transformers runs.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwright import BiEncoder, CrossEncoder
from rankwright.errors import ModelFormatError
from tests.tiny_foreign import build_foreign
from tests.unit.models.bad_folders import (
    Damage,
    all_of,
    content,
    cut,
    each,
    keys,
    lost,
    tensors,
    tokenizer,
    with_number,
    without,
    without_token,
)

OURS = ("ours bi-encoder", "ours cross-encoder")
FOREIGN = ("foreign bi-encoder", "foreign cross-encoder")
WORDS = "word_embeddings"


@pytest.fixture
def opened(tiny: Any, tmp_path: Path) -> Callable[[str, Damage], BiEncoder | CrossEncoder]:
    """Opens a spoiled copy of a model."""

    def open_spoiled(model: str, damage: Damage) -> BiEncoder | CrossEncoder:
        origin, kind = model.split()
        if origin == "ours":
            source = tiny.bi_encoder("bert", dense=8) if kind == "bi-encoder" else tiny.cross_encoder("bert")
        else:
            head = {} if kind == "bi-encoder" else {"head": "ForSequenceClassification", "config": {"num_labels": 1}}
            source = tiny.built(build_foreign, "albert", **head)
        folder = tmp_path / "spoiled"
        shutil.copytree(source, folder)
        damage(folder)
        return (BiEncoder if kind == "bi-encoder" else CrossEncoder)(folder, dtype="float32")

    return open_spoiled


EVERYWHERE: dict[str, tuple[Damage, str]] = {
    "no weights": (without("model.safetensors"), r"holds no weights: expected model\.safetensors or .*Convert"),
    "weights cut in the header": (cut(60), r"model\.safetensors is damaged .*its header is cut off\. Download"),
    "weights cut at the end": (cut(-3), r"model\.safetensors is damaged .*ends outside of it\. Download"),
    "weights of zeros": (content("model.safetensors", bytes(999)), r"is damaged .*no table of tensors\. Download"),
    "a tensor turned": (each(WORDS, np.transpose), r"word_embeddings\.weight' has shape .*describes .*Correct"),
    "a tensor of one number": (
        each(WORDS, lambda a: a[0, :1]),
        r"word_embeddings\.weight' has shape \(1,\), but .*Cor",
    ),
    "a tensor lost": (lost(WORDS), r"has no tensor '.*word_embeddings\.weight'.* needs"),
    "biases lost": (lost("LayerNorm.bias"), r"has no tensor '.*LayerNorm\.bias'.* needs"),
    "another model": (tensors(lambda found: {"x": np.zeros(3, np.float32)}), r"has no tensor '.*'.* needs"),
    "NaN": (each(WORDS, with_number(np.nan)), r"1 of the \d+ numbers of the tensor '.*word_emb.* are NaN or inf"),
    "infinity": (
        each("LayerNorm.bias", with_number(-np.inf)),
        r"1 of the \d+ numbers .*LayerNorm\.bias' are NaN or in",
    ),
    "quantised": (keys("config.json", quantization_config={"bits": 4}), r"config\.json: quantization_config says"),
    "no config": (without("config.json"), r"config\.json does not exist, so that .* is no checkpoint\. Expected a"),
    "config cut": (content("config.json", '{"model_type": '), r"config\.json is not JSON in UTF-8: .*Download"),
    "config in UTF-16": (content("config.json", "{}".encode("utf-16")), r"config\.json is not JSON in UTF-8"),
    "config of a list": (content("config.json", "[]"), r"config\.json: expected a JSON object, got list"),
    "model_type of a number": (keys("config.json", model_type=5), r"config\.json: 'model_type' is 5, expected a text"),
    "architectures of a text": (
        keys("config.json", architectures="BertModel"),
        r"config\.json: 'architectures' is 'BertModel', expected a list of texts\. Correct",
    ),
    "unknown family": (keys("config.json", model_type="nobodys"), r"config\.json: .*`nobodys`.* Correct the file"),
    "sizes in words": (keys("config.json", hidden_size="32"), r"config\.json: .*'hidden_size'.*'32'.* Correct"),
    "negative size": (keys("config.json", hidden_size=-32), r"config\.json: .*hidden_size.* -32, expected a whole num"),
    "no layers": (keys("config.json", num_hidden_layers=0), r"config\.json: .*num_hidden_layers.* 0, expected a whole"),
    "too many layers": (keys("config.json", num_hidden_layers=10**9), r"num_hidden_layers.* 10{9}, expected a whole"),
    "no heads": (keys("config.json", num_attention_heads=0), r"num_attention_heads.* 0, expected a whole number"),
    "unknown activation": (keys("config.json", hidden_act="zzz"), r"'zzz'"),
    "larger vocabulary in the config": (keys("config.json", vocab_size=9999), r"has shape \(\d+, \d+\).*\(9999, \d+\)"),
    "no tokenizer": (without("tokenizer.json"), r"spoiled holds no tokenizer: expected tokenizer\.json, or .*Save it"),
    "tokenizer cut": (content("tokenizer.json", '{"model": '), r"tokenizer\.json.*[Dd]ownload"),
    "tokenizer_config of a list": (
        content("tokenizer_config.json", "[]"),
        r"tokenizer_config\.json: expected a JSON obj",
    ),
    "special tokens of a list": (
        content("special_tokens_map.json", "[]"),
        r"special_tokens_map\.json: expected a JSON",
    ),
    "maximum length in words": (
        keys("tokenizer_config.json", model_max_length="long"),
        r"tokenizer_config\.json: 'model_max_length' is 'long', expected a number from 1\. Correct",
    ),
    "input names of a text": (
        keys("tokenizer_config.json", model_input_names="input_ids"),
        r"tokenizer_config\.json: 'model_input_names' is 'input_ids', expected a list of texts",
    ),
    "tokenizer class of a number": (
        keys("tokenizer_config.json", tokenizer_class=5),
        r"tokenizer_config\.json: 'tokenizer_class' is 5, expected a text",
    ),
    "added tokens of a list": (
        keys("tokenizer_config.json", added_tokens_decoder=[]),
        r"tokenizer_config\.json: 'added_tokens_decoder' is \[\], expected a JSON object",
    ),
}


@pytest.mark.parametrize("model", [*OURS, *FOREIGN])
@pytest.mark.parametrize("name", EVERYWHERE)
def test_what_is_wrong_is_named_at_opening(opened: Any, model: str, name: str) -> None:
    damage, message = EVERYWHERE[name]
    with pytest.raises(ModelFormatError, match=message) as caught:
        opened(model, damage)
    assert re.search(r"\w \w.*[.?]$", str(caught.value)), caught.value


ONLY_OURS: dict[str, tuple[Damage, str]] = {
    "heads that do not divide": (
        keys("config.json", num_attention_heads=5),
        r"config\.json: num_attention_heads 5 does not divide hidden_size 32\. Correct the one that is wrong",
    ),
    "size of None": (keys("config.json", vocab_size=None), r"config\.json: a bert config needs vocab_size, which it"),
    "eps of zero": (
        keys("config.json", layer_norm_eps=0),
        r"config\.json: 'layer_norm_eps' is 0, expected a number ab",
    ),
    "dropout of one": (
        keys("config.json", hidden_dropout_prob=1),
        r"'hidden_dropout_prob' is 1, expected a number from",
    ),
    "activation of torch": (
        keys("config.json", hidden_act="torch.hub.load"),
        r"config\.json: 'hidden_act' is 'torch\.hub\.load', expected one of gelu, .*Correct",
    ),
    "no types": (keys("config.json", type_vocab_size=0), r"'type_vocab_size' is 0, expected a whole number from 1"),
    "stored as integers": (
        each(WORDS, lambda array: array.astype(np.int8)),
        r"word_embeddings\.weight' is stored as int8, so that it is quantised\. Save the model in float32",
    ),
    "no unknown token": (without_token("[UNK]"), r"tokenizer cannot encode .*Missing \[UNK\] .*A special token may be"),
    "no first token": (
        without_token("[CLS]"),
        r"the vocabulary of its tokenizer has no cls_token '\[CLS\]', with which",
    ),
    "no last token": (
        without_token("[SEP]"),
        r"the vocabulary of its tokenizer has no sep_token '\[SEP\]', with which",
    ),
    "tokens of None": (
        all_of(without("special_tokens_map.json"), keys("tokenizer_config.json", cls_token=None)),
        r"the vocabulary of its tokenizer has no cls_token None",
    ),
    "tokens without a text": (
        keys("tokenizer_config.json", added_tokens_decoder={"3": {"special": True}}),
        r"tokenizer_config\.json and its companions do not describe a BertTokenizer \(KeyError.*Download",
    ),
    "lower-casing in words": (
        keys("tokenizer_config.json", do_lower_case="yes"),
        r"tokenizer_config\.json and its companions do not describe a BertTokenizer \(TypeError",
    ),
}


@pytest.mark.parametrize("model", OURS)
@pytest.mark.parametrize("name", ONLY_OURS)
def test_what_is_wrong_with_a_family_of_ours_is_named(opened: Any, model: str, name: str) -> None:
    damage, message = ONLY_OURS[name]
    with pytest.raises(ModelFormatError, match=message):
        opened(model, damage)


@pytest.mark.parametrize("model", [*OURS, *FOREIGN])
def test_a_vocabulary_larger_than_the_table_is_found_at_opening(opened: Any, model: str) -> None:
    def grow(stored: dict[str, Any]) -> None:
        pieces = stored["model"]["vocab"]
        for word in ("zzz", "yyy"):  # two, for of the table's rows one may be that of an added token
            if isinstance(pieces, list):
                pieces.append([word, -9.0])
            else:
                pieces[word] = len(pieces)

    with pytest.raises(
        ModelFormatError, match=r"vocabulary of \d+ tokens, but the model has only \d+ embeddings.*Take"
    ):
        opened(model, tokenizer(grow))


@pytest.mark.parametrize("model", [*OURS, *FOREIGN])
def test_a_table_larger_than_the_vocabulary_is_fine(opened: Any, model: str) -> None:
    def grow(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        wider = {name: np.pad(array, ((0, 7), (0, 0))) for name, array in found.items() if WORDS in name}
        return {**found, **wider}

    def answer(opened: Any) -> np.ndarray:
        return opened.encode("a text") if isinstance(opened, BiEncoder) else opened.predict(("a text", "another"))

    same = opened(model, lambda folder: None)
    expected = answer(same)
    shutil.rmtree(same.folder)
    size = same.checkpoint.spec.architecture.vocab_size + 7
    padded = opened(model, all_of(tensors(grow), keys("config.json", vocab_size=size)))
    np.testing.assert_array_equal(answer(padded), expected)


@pytest.mark.parametrize("model", ["ours cross-encoder", "foreign cross-encoder"])
def test_type_ids_without_a_row_are_found_at_opening(opened: Any, model: str) -> None:
    one_type = all_of(keys("config.json", type_vocab_size=1), each("token_type_embeddings", lambda array: array[:1]))
    with pytest.raises(
        ModelFormatError, match=r"gives type ids up to 1, but type_vocab_size is 1\. Take tokenizer and"
    ):
        opened(model, one_type)


@pytest.mark.parametrize("model", ["ours bi-encoder", "foreign bi-encoder"])
def test_single_texts_need_one_type_only(opened: Any, model: str) -> None:
    one_type = all_of(keys("config.json", type_vocab_size=1), each("token_type_embeddings", lambda array: array[:1]))
    assert np.isfinite(opened(model, one_type).encode("a text")).all()


def test_layers_that_the_config_does_not_count_are_told_of(opened: Any) -> None:
    with pytest.warns(
        UserWarning, match=r"the weights have more layers than the 2 that config\.json counts; .*Correct"
    ):
        opened("ours bi-encoder", keys("config.json", num_hidden_layers=2))


@pytest.mark.parametrize("model", ["ours cross-encoder", "foreign cross-encoder"])
def test_a_head_without_its_pooler_is_refused(opened: Any, model: str) -> None:
    with pytest.raises(ModelFormatError, match=r"has no tensor '.*pooler.*needs"):
        opened(model, lost("pooler"))


@pytest.mark.parametrize("model", ["ours bi-encoder", "foreign bi-encoder"])
def test_embeddings_need_no_pooler(opened: Any, model: str) -> None:
    assert np.isfinite(opened(model, lost("pooler")).encode("a text")).all()


@pytest.mark.parametrize("model", ["ours cross-encoder", "foreign cross-encoder"])
def test_a_head_of_another_size_is_refused(opened: Any, model: str) -> None:
    three = each("classifier", lambda array: np.ones((3, *array.shape[1:]), np.float32))
    with pytest.raises(
        ModelFormatError, match=r"its head has 3 outputs, but 1 labels|has shape \(3,.*num_labels.*\(1,"
    ):
        opened(model, three)


@pytest.mark.parametrize("model", ["ours cross-encoder", *FOREIGN])
def test_a_hidden_size_that_is_not_that_of_the_weights_is_refused(opened: Any, model: str) -> None:
    with pytest.raises(ModelFormatError, match=r"has shape .*\b32\b.*describes .*\b64\b.*Correct"):
        opened(model, keys("config.json", hidden_size=64))
