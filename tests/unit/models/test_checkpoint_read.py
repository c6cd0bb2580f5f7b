"""What the config files of each era say, as a spec."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from rankwright.encoder.spec import Dense, Normalize, Pooling
from rankwright.errors import ModelFormatError, ValueRangeError
from rankwright.models.checkpoint_read import read_spec, read_weights, transformer_folder
from tests.tiny_modules import build_model2vec
from tests.unit.models.checkpoint_folders import MODEL, module_folder, plain_folder, write_json

SIGMOID = "torch.nn.modules.activation.Sigmoid"
IDENTITY = "torch.nn.modules.linear.Identity"
TANH = "torch.nn.modules.activation.Tanh"
MEAN = {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True}
HEAD = {
    "architectures": ["BertForSequenceClassification"],
    "tensors": {"classifier.weight": (1, 8)},
    "id2label": {"0": "x"},
}

ERAS = {
    "v2 to v5.3": {name: MODEL + name for name in ("Pooling", "Dense", "Normalize")},
    "v5.4 to v5.7": {
        "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
        "Dense": "sentence_transformers.base.modules.dense.Dense",
        "Normalize": "sentence_transformers.sentence_transformer.modules.normalize.Normalize",
    },
    "v6": {
        "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
        "Dense": "sentence_transformers.base.modules.dense.Dense",
        "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
    },
}


def _pooled(folder: Path, config: dict[str, Any]) -> Pooling:
    module_folder(plain_folder(folder), ("1_Pooling", MODEL + "Pooling", config))
    (pooling,) = read_spec(folder, "bi-encoder").modules
    assert isinstance(pooling, Pooling)
    return pooling


@pytest.mark.parametrize("types", ERAS.values(), ids=ERAS.keys())
def test_modules_of_every_era_are_known(tmp_path: Path, types: dict[str, str]) -> None:
    dense = {"in_features": 8, "out_features": 4, "bias": False, "activation_function": IDENTITY}
    module_folder(
        plain_folder(tmp_path),
        ("1_Pooling", types["Pooling"], MEAN),
        ("2_Dense", types["Dense"], dense),
        ("3_Normalize", types["Normalize"], None),
    )
    spec = read_spec(tmp_path, "bi-encoder")
    assert spec.modules == (
        Pooling(("mean",)),
        Dense("2_Dense", 8, 4, use_bias=False, activation=IDENTITY),
        Normalize(),
    )
    assert spec.embedding_size == 4


@pytest.mark.parametrize(
    ("config", "modes"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("cls",)),
        ({"pooling_mode_max_tokens": True}, ("max",)),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, ("mean_sqrt_len_tokens",)),
        ({"pooling_mode_weightedmean_tokens": True}, ("weightedmean",)),
        ({"pooling_mode_lasttoken": True}, ("lasttoken",)),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, ("cls", "mean")),
        ({"pooling_mode_mean_tokens": False}, ("mean",)),
        ({}, ("mean",)),
        ({"embedding_dimension": 8, "pooling_mode": "lasttoken"}, ("lasttoken",)),
        ({"embedding_dimension": 8, "pooling_mode": ["mean", "cls"]}, ("mean", "cls")),
        ({"pooling_mode": "cls", "pooling_mode_mean_tokens": True}, ("cls",)),
    ],
)
def test_pooling_is_read_in_both_spellings(tmp_path: Path, config: dict[str, Any], modes: tuple[str, ...]) -> None:
    assert _pooled(tmp_path, config) == Pooling(modes)


def test_pooling_may_leave_the_prompt_out(tmp_path: Path) -> None:
    assert not _pooled(tmp_path, MEAN | {"include_prompt": False}).include_prompt


def test_unknown_pooling_mode_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ModelFormatError, match=r"1_Pooling/config\.json: unknown pooling mode 'median'\. Known modes: cls"
    ):
        _pooled(tmp_path, {"pooling_mode": "median"})


def _dense(folder: Path, **config: Any) -> Dense:
    sizes = {"in_features": 8, "out_features": 4}
    module_folder(
        plain_folder(folder), ("1_Pooling", MODEL + "Pooling", MEAN), ("2_D", MODEL + "Dense", sizes | config)
    )
    module = read_spec(folder, "bi-encoder").modules[1]
    assert isinstance(module, Dense)
    return module


def test_dense_is_a_tanh_with_bias_unless_its_config_says_otherwise(tmp_path: Path) -> None:
    assert _dense(tmp_path) == Dense("2_D", 8, 4, use_bias=True, activation=TANH)


def test_activation_that_is_not_torchs_is_not_run(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"the activation 'os\.system' is not torch's and is not run"):
        assert _dense(tmp_path, activation_function="os.system").activation == TANH


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"module_input_name": "token_embeddings"},
            r"2_D/config\.json: Dense reads 'token_embeddings', but the module before it gives 'sentence_embedding'\. "
            "Correct the order",
        ),
        (
            {"module_output_name": "scores"},
            r"modules\.json: the last module gives 'scores', a bi-encoder needs 'sentence_embedding'\. "
            "Scores come from a cross-encoder: open it with CrossEncoder",
        ),
    ],
)
def test_dense_that_does_not_fit_its_place_is_refused(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFormatError, match=message):
        _dense(tmp_path, **config)


def test_dense_may_add_its_input(tmp_path: Path) -> None:
    assert _dense(tmp_path, use_residual=True).adds_input
    assert not _dense(tmp_path, use_residual=False).adds_input


def test_dense_needs_its_sizes(tmp_path: Path) -> None:
    module_folder(plain_folder(tmp_path), ("1_Pooling", MODEL + "Pooling", MEAN), ("2_D", MODEL + "Dense", {}))
    with pytest.raises(ModelFormatError, match=r"2_D/config\.json: a Dense module needs in_features"):
        read_spec(tmp_path, "bi-encoder")


def test_dense_on_token_states_comes_before_pooling(tmp_path: Path) -> None:
    dense = {"in_features": 8, "out_features": 4, "module_input_name": "token_embeddings"}
    module_folder(
        plain_folder(tmp_path), ("1_D", MODEL + "Dense", dense), ("2_P", MODEL + "Pooling", {"pooling_mode": "mean"})
    )
    spec = read_spec(tmp_path, "bi-encoder")
    assert spec.modules == (Dense("1_D", 8, 4, activation=TANH), Pooling()) and spec.embedding_size == 4


def test_module_that_we_do_not_run_is_named(tmp_path: Path) -> None:
    module_folder(plain_folder(tmp_path), ("1_X", MODEL + "LSTM", {}))
    with pytest.raises(
        ModelFormatError, match=r"modules\.json: module 'LSTM' is not one that rankwright runs \(Pooling"
    ):
        read_spec(tmp_path, "bi-encoder")


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (
            [{"path": "", "type": MODEL + "WordEmbeddings"}],
            "the first module is 'WordEmbeddings'; rankwright runs models that start with one",
        ),
        (
            [{"path": "", "type": MODEL + "Transformer"}],
            "the last module gives 'token_embeddings', .* A bi-encoder needs a Pooling after its Transf",
        ),
        ([{"path": "../other", "type": MODEL + "Transformer"}], r"the path '\.\./other' leads out of the folder"),
        ([{"path": ""}], "expected a JSON list of objects with 'path' and 'type'"),
        ([], "expected a JSON list of modules, got none"),
    ],
)
def test_modules_that_make_no_bi_encoder_are_refused(tmp_path: Path, modules: list[Any], message: str) -> None:
    write_json(plain_folder(tmp_path) / "modules.json", modules)
    with pytest.raises(ModelFormatError, match=message):
        read_spec(tmp_path, "bi-encoder")


def test_settings_are_read(tmp_path: Path) -> None:
    module_folder(
        plain_folder(tmp_path),
        ("1_Pooling", MODEL + "Pooling", MEAN),
        prompts={"query": "q: ", "clustering": None},
        default_prompt_name="query",
        similarity_fn_name="dot",
        truncate_dim=4,
    )
    write_json(tmp_path / "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": True})
    spec = read_spec(tmp_path, "bi-encoder")
    assert spec.prompts == {"query": "q: ", "document": "", "clustering": ""}
    assert (spec.default_prompt_name, spec.similarity, spec.truncate_dim) == ("query", "dot", 4)
    assert (spec.max_length, spec.lower_case, spec.uses_type_ids) == (20, True, True)
    assert spec.config["hidden_size"] == 8


@pytest.mark.parametrize(("normalize", "modules"), [({}, ()), ({"normalize": True}, (Normalize(),))])
def test_model2vec_normalizes_only_where_it_says_so(tmp_path: Path, normalize: Any, modules: Any) -> None:
    folder = build_model2vec(tmp_path / "static", modules=False)
    write_json(folder / "config.json", {"model_type": "model2vec"} | normalize)
    assert read_spec(folder, "bi-encoder").modules == modules


def test_similarity_that_bi_encoders_do_not_have_is_ignored(tmp_path: Path) -> None:
    module_folder(plain_folder(tmp_path), ("1_P", MODEL + "Pooling", MEAN), similarity_fn_name="maxsim")
    assert read_spec(tmp_path, "bi-encoder").similarity is None


def test_default_prompt_without_a_text_is_refused(tmp_path: Path) -> None:
    module_folder(plain_folder(tmp_path), ("1_P", MODEL + "Pooling", MEAN), default_prompt_name="passage")
    with pytest.raises(ModelFormatError, match=r"default_prompt_name is 'passage', which is not among its prompts"):
        read_spec(tmp_path, "bi-encoder")


@pytest.mark.parametrize(
    ("asked", "stored", "tokenizer", "expected"),
    [
        (None, None, 32, 32),
        (None, None, None, 64),
        (None, None, int(1e30), 64),
        (None, 48, 32, 48),
        (None, 500, 32, 64),
        (16, 48, 32, 16),
        (64, 48, 32, 64),
    ],
)
def test_maximum_length_is_the_users_then_the_modules_then_the_tokenizers(
    tmp_path: Path, asked: int | None, stored: int | None, tokenizer: int | None, expected: int
) -> None:
    module_folder(plain_folder(tmp_path, tokenizer_length=tokenizer), ("1_P", MODEL + "Pooling", MEAN))
    write_json(tmp_path / "sentence_bert_config.json", {"max_seq_length": stored, "do_lower_case": False})
    assert read_spec(tmp_path, "bi-encoder", max_length=asked).max_length == expected


def test_positions_before_the_first_do_not_count(tmp_path: Path) -> None:
    plain_folder(tmp_path, model_type="roberta", pad_token_id=1, max_position_embeddings=66, tokenizer_length=None)
    assert read_spec(tmp_path, "bi-encoder").max_length == 64
    with pytest.raises(ValueRangeError, match=r"max_length must be from 1 to 64 for .*, got 65"):
        read_spec(tmp_path, "bi-encoder", max_length=65)


def test_older_names_of_the_transformers_config_are_tried(tmp_path: Path) -> None:
    module_folder(plain_folder(tmp_path), ("1_P", MODEL + "Pooling", MEAN))
    write_json(tmp_path / "sentence_roberta_config.json", {"max_seq_length": 21, "do_lower_case": False})
    assert read_spec(tmp_path, "bi-encoder").max_length == 21


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"transformer_task": "fill-mask"}, "has the transformer_task 'fill-mask', which rankwright does not run"),
        ({"processing_kwargs": {"text": {"max_length": 8}}}, "has the setting 'processing_kwargs.text'"),
        ({"query_length": 32}, "has the setting 'query_length'"),
    ],
)
def test_transformer_settings_that_would_change_numbers_are_refused(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    module_folder(plain_folder(tmp_path), ("1_P", MODEL + "Pooling", MEAN))
    write_json(tmp_path / "sentence_bert_config.json", config)
    with pytest.raises(ModelFormatError, match=message):
        read_spec(tmp_path, "bi-encoder")


def test_transformer_may_be_in_a_subfolder(tmp_path: Path) -> None:
    plain_folder(tmp_path / "0_Transformer")
    write_json(tmp_path / "0_Transformer" / "sentence_bert_config.json", {"max_seq_length": 22})
    entries = [("0_Transformer", "Transformer"), ("1_Pooling", "Pooling")]
    write_json(tmp_path / "modules.json", [{"path": path, "type": MODEL + kind} for path, kind in entries])
    write_json(tmp_path / "1_Pooling" / "config.json", MEAN)
    spec = read_spec(tmp_path, "bi-encoder")
    assert spec.max_length == 22
    assert transformer_folder(tmp_path) == tmp_path / "0_Transformer"
    assert list(read_weights(tmp_path, spec)) == ["embeddings.LayerNorm.bias"]


def test_plain_folder_becomes_a_bi_encoder_with_mean_pooling(tmp_path: Path) -> None:
    spec = read_spec(plain_folder(tmp_path), "bi-encoder")
    assert spec.modules == (Pooling(("mean",)),)
    assert spec.prompts == {"query": "", "document": ""}


def test_cross_encoder_opened_as_bi_encoder_keeps_only_its_transformer(tmp_path: Path) -> None:
    module_folder(plain_folder(tmp_path, **HEAD), model_type="CrossEncoder", prompts={"query": "rank: "})
    spec = read_spec(tmp_path, "bi-encoder")
    assert spec.modules == (Pooling(("mean",)),) and spec.prompts == {"query": "", "document": ""}


def test_bi_encoder_opened_as_cross_encoder_gets_a_new_head(tmp_path: Path) -> None:
    module_folder(plain_folder(tmp_path), ("1_P", MODEL + "Pooling", MEAN), prompts={"query": "q: "})
    write_json(tmp_path / "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": True})
    spec = read_spec(tmp_path, "cross-encoder")
    assert (spec.head_is_new, spec.num_labels, spec.activation) == (True, 1, SIGMOID)
    assert (spec.prompts, spec.modules, spec.max_length, spec.lower_case) == ({}, (), 32, False)
    assert read_spec(tmp_path, "cross-encoder", num_labels=3).num_labels == 3


@pytest.mark.parametrize(
    ("config", "labels", "activation"),
    [
        ({}, 1, SIGMOID),
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, 3, IDENTITY),
        ({"id2label": None}, 2, IDENTITY),
        ({"id2label": None, "num_labels": 1}, 1, SIGMOID),
        ({"sbert_ce_default_activation_function": IDENTITY}, 1, IDENTITY),
        ({"sentence_transformers": {"activation_fn": IDENTITY, "version": "4.1.0"}}, 1, IDENTITY),
        (
            {"sentence_transformers": {"activation_fn": TANH}, "sbert_ce_default_activation_function": IDENTITY},
            1,
            TANH,
        ),
    ],
)
def test_cross_encoder_of_v2_to_v5_is_read(
    tmp_path: Path, config: dict[str, Any], labels: int, activation: str
) -> None:
    tensors = {"classifier.weight": (labels, 8)}
    spec = read_spec(plain_folder(tmp_path, **HEAD | {"tensors": tensors} | config), "cross-encoder")
    assert (spec.num_labels, spec.activation, spec.head_is_new) == (labels, activation, False)


def test_activation_of_v6_wins_over_older_places(tmp_path: Path) -> None:
    config = HEAD | {"sentence_transformers": {"activation_fn": SIGMOID}}
    module_folder(
        plain_folder(tmp_path, **config), model_type="CrossEncoder", activation_fn=IDENTITY, prompts={"p": "x"}
    )
    write_json(tmp_path / "sentence_bert_config.json", {"transformer_task": "sequence-classification"})
    spec = read_spec(tmp_path, "cross-encoder")
    assert spec.activation == IDENTITY and spec.prompts == {"p": "x"}


def test_cross_encoder_activation_that_is_not_torchs_becomes_the_default(tmp_path: Path) -> None:
    plain_folder(tmp_path, **HEAD | {"sentence_transformers": {"activation_fn": "custom.Act"}})
    with pytest.warns(UserWarning, match=r"config\.json: the activation 'custom\.Act' is not torch's"):
        assert read_spec(tmp_path, "cross-encoder").activation == SIGMOID


def test_claimed_head_that_is_not_in_the_weights_is_new(tmp_path: Path) -> None:
    spec = read_spec(plain_folder(tmp_path, **HEAD | {"tensors": None}), "cross-encoder")
    assert spec.head_is_new and spec.num_labels == 1


def test_head_of_another_size_is_refused(tmp_path: Path) -> None:
    plain_folder(tmp_path, **HEAD)
    with pytest.raises(ModelFormatError, match=r"its head has 1 outputs, but 3 labels .*\(num_labels\).*num_labels=1"):
        read_spec(tmp_path, "cross-encoder", num_labels=3)


def test_head_of_another_task_is_not_taken(tmp_path: Path) -> None:
    config = {"architectures": ["BertForTokenClassification"], "tensors": {"classifier.weight": (9, 8)}}
    spec = read_spec(plain_folder(tmp_path, **config), "cross-encoder")
    assert spec.head_is_new and spec.num_labels == 1


def _modular(folder: Path, *modules: tuple[str, str, dict[str, Any]], task: str = "feature-extraction") -> Path:
    module_folder(plain_folder(folder), *modules, model_type="CrossEncoder")
    write_json(folder / "sentence_bert_config.json", {"transformer_task": task})
    return folder


DENSE = "sentence_transformers.base.modules.dense.Dense"
LOGIT_SCORE = "sentence_transformers.cross_encoder.modules.logit_score.LogitScore"


def test_cross_encoder_of_modules_is_read(tmp_path: Path) -> None:
    dense = {"in_features": 8, "out_features": 1, "activation_function": IDENTITY, "module_output_name": "scores"}
    _modular(tmp_path, ("1_Pooling", MODEL + "Pooling", MEAN), ("2_Dense", DENSE, dense))
    spec = read_spec(tmp_path, "cross-encoder")
    assert spec.modules == (Pooling(), Dense("2_Dense", 8, 1, activation=IDENTITY))
    assert (spec.num_labels, spec.activation, spec.head_is_new) == (1, SIGMOID, False)
    with pytest.raises(ModelFormatError, match=r"its modules give 1 scores, but num_labels=3 is asked for\. Leave"):
        read_spec(tmp_path, "cross-encoder", num_labels=3)


def test_cross_encoder_whose_modules_give_no_scores_is_refused(tmp_path: Path) -> None:
    _modular(tmp_path, ("1_Pooling", MODEL + "Pooling", MEAN))
    with pytest.raises(
        ModelFormatError, match=r"the last module gives 'sentence_embedding', a cross-encoder needs 'scores'\. Correct"
    ):
        read_spec(tmp_path, "cross-encoder")


def test_logit_score_needs_its_token(tmp_path: Path) -> None:
    _modular(tmp_path, ("1_LogitScore", LOGIT_SCORE, {}), task="text-generation")
    with pytest.raises(ModelFormatError, match=r"1_LogitScore/config\.json: a LogitScore module needs true_token_id"):
        read_spec(tmp_path, "cross-encoder")


def test_task_that_is_not_that_of_the_modules_is_refused(tmp_path: Path) -> None:
    dense = {"in_features": 8, "out_features": 1, "module_output_name": "scores"}
    modules = (("1_Pooling", MODEL + "Pooling", MEAN), ("2_Dense", DENSE, dense))
    _modular(tmp_path, *modules, task="sequence-classification")
    with pytest.raises(ModelFormatError, match=r"has the transformer_task 'sequence-classification', which rankwright"):
        read_spec(tmp_path, "cross-encoder")


def test_type_ids_need_a_model_and_a_tokenizer_that_have_them(tmp_path: Path) -> None:
    assert read_spec(plain_folder(tmp_path), "bi-encoder").uses_type_ids
    write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    assert not read_spec(tmp_path, "bi-encoder").uses_type_ids
    plain_folder(tmp_path, type_vocab_size=1)
    assert not read_spec(tmp_path, "bi-encoder").uses_type_ids


def test_tensors_of_dense_layers_follow_their_folder(tmp_path: Path) -> None:
    dense = {"in_features": 8, "out_features": 4, "bias": False}
    module_folder(plain_folder(tmp_path), ("1_P", MODEL + "Pooling", MEAN), ("2_Dense", MODEL + "Dense", dense))
    save_file({"linear.weight": np.ones((4, 8), np.float32)}, tmp_path / "2_Dense" / "model.safetensors")
    weights = read_weights(tmp_path, read_spec(tmp_path, "bi-encoder"))
    assert set(weights) == {"embeddings.LayerNorm.bias", "2_Dense.linear.weight"}
    assert weights["2_Dense.linear.weight"].sum() == 32


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, r"config\.json does not exist, so that .* is no checkpoint"),
        ("config.json", "{", r"config\.json is not JSON"),
        ("config.json", "[]", r"config\.json: expected a JSON object, got list"),
        ("modules.json", "{", r"modules\.json is not JSON in UTF-8"),
        ("modules.json", '{"a": 1}', r"modules\.json: expected a JSON list"),
        ("adapter_config.json", "{}", "holds an adapter, not a model. Merge it"),
        ("config_sentence_transformers.json", "?", r"config_sentence_transformers\.json is not JSON"),
    ],
)
def test_damaged_folder_names_the_file(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    module_folder(plain_folder(tmp_path), ("1_P", MODEL + "Pooling", MEAN))
    (tmp_path / name).unlink(missing_ok=True)
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ModelFormatError, match=message):
        read_spec(tmp_path, "bi-encoder")


def test_real_minilm_is_read(minilm: Path, tmp_path: Path) -> None:
    spec = read_spec(minilm, "bi-encoder")
    assert spec.modules == (Pooling(("mean",)), Normalize())
    assert (spec.max_length, spec.embedding_size, spec.architecture.num_layers) == (256, 384, 6)
    assert len(read_weights(minilm, spec)) > 100
    for name in ("config.json", "tokenizer_config.json", "model.safetensors"):
        shutil.copyfile(minilm / name, tmp_path / name)
    head = read_spec(tmp_path, "cross-encoder")
    assert (head.head_is_new, head.num_labels, head.max_length) == (True, 1, 512)
