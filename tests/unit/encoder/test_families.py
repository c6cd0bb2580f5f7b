"""config.json of each family to sizes, and what we do not run refused by name."""

import re
from typing import Any

import pytest
import transformers

from rankwright.encoder.activations_torch import ACTIVATIONS as TORCH_ACTIVATIONS
from rankwright.encoder.families import ACTIVATIONS, FAMILIES, architecture_from_config
from rankwright.encoder.ops_openvino import OPENVINO_ACTIVATIONS
from rankwright.errors import ModelFormatError

SIZES = {
    "hidden_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 11,
    "max_position_embeddings": 64,
}
DISTILBERT_SIZES = {
    "dim": 8,
    "n_layers": 3,
    "n_heads": 2,
    "hidden_dim": 16,
    "vocab_size": 11,
    "max_position_embeddings": 64,
}
CONFIGS = {
    "bert": "BertConfig",
    "roberta": "RobertaConfig",
    "xlm-roberta": "XLMRobertaConfig",
    "camembert": "CamembertConfig",
    "distilbert": "DistilBertConfig",
    "electra": "ElectraConfig",
    "mpnet": "MPNetConfig",
    "modernbert": "ModernBertConfig",
}


def sizes_of(family: str) -> dict[str, int]:
    """The sizes of a tiny model, under the names that the family's config has for them."""
    return DISTILBERT_SIZES if family == "distilbert" else SIZES


def config_of(family: str, **changes: Any) -> dict[str, Any]:
    """config.json with only what it must have."""
    return {"model_type": family, **sizes_of(family), **changes}


def test_every_family_is_tested_here() -> None:
    assert set(CONFIGS) == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_are_read(family: str) -> None:
    architecture = architecture_from_config(config_of(family))
    assert architecture.family == family
    assert (architecture.hidden_size, architecture.num_layers, architecture.num_heads) == (8, 3, 2)
    assert (architecture.intermediate_size, architecture.vocab_size, architecture.max_positions) == (16, 11, 64)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_config_leaves_out_is_what_transformers_takes(family: str) -> None:
    """Old checkpoints name only what differs from the defaults, new ones all: both must say the same."""
    config = getattr(transformers, CONFIGS[family])(**sizes_of(family))
    full = architecture_from_config(config.to_dict())
    assert architecture_from_config(config_of(family, pad_token_id=config.pad_token_id)) == full


def test_positions_of_roberta_start_at_its_pad_id() -> None:
    assert architecture_from_config(config_of("roberta", pad_token_id=5)).position_ids_start == 5
    assert architecture_from_config(config_of("roberta")).position_ids_start == 1


def test_positions_of_mpnet_start_at_one_whatever_its_pad_id() -> None:
    assert architecture_from_config(config_of("mpnet", pad_token_id=5)).position_ids_start == 1


def test_positions_of_bert_start_at_zero() -> None:
    assert architecture_from_config(config_of("bert", pad_token_id=5)).position_ids_start is None


def test_dropout_before_the_head_is_the_hidden_one_where_none_is_given() -> None:
    assert architecture_from_config(config_of("bert", hidden_dropout_prob=0.3)).classifier_dropout == 0.3
    given = config_of("bert", hidden_dropout_prob=0.3, classifier_dropout=0.0)
    assert architecture_from_config(given).classifier_dropout == 0.0


def test_layers_of_modernbert_are_local_but_every_third() -> None:
    architecture = architecture_from_config(config_of("modernbert", num_hidden_layers=5, local_attention=10))
    assert architecture.windows == (0, 5, 5, 0, 5)
    assert architecture.rotary_bases == (160_000.0, 10_000.0, 10_000.0, 160_000.0, 10_000.0)


def test_layer_types_go_over_the_period() -> None:
    types = ["sliding_attention", "full_attention", "full_attention"]
    rope = {"full_attention": {"rope_theta": 5.0}, "sliding_attention": {"rope_theta": 7.0, "rope_type": "default"}}
    architecture = architecture_from_config(config_of("modernbert", layer_types=types, rope_parameters=rope))
    assert architecture.windows == (64, 0, 0)
    assert architecture.rotary_bases == (7.0, 5.0, 5.0)


def test_the_table_of_electra_may_be_narrower_than_its_states() -> None:
    assert architecture_from_config(config_of("electra", embedding_size=4)).embedding_size == 4
    assert architecture_from_config(config_of("electra")).embedding_size == 128


def test_distilbert_has_no_types_and_the_head_of_its_own_dropout() -> None:
    architecture = architecture_from_config(config_of("distilbert", seq_classif_dropout=0.3, dropout=0.4))
    assert (architecture.type_vocab_size, architecture.classifier_activation) == (0, "relu")
    assert (architecture.classifier_dropout, architecture.hidden_dropout) == (0.3, 0.4)


def test_missing_sizes_are_named_as_the_family_names_them() -> None:
    config = config_of("distilbert")
    del config["dim"]
    with pytest.raises(ModelFormatError, match=r"config\.json: a distilbert config needs dim, which it lacks\."):
        architecture_from_config(config)


def test_missing_sizes_are_all_named() -> None:
    config = config_of("bert")
    del config["hidden_size"], config["vocab_size"]
    with pytest.raises(
        ModelFormatError, match=r"config\.json: a bert config needs hidden_size, vocab_size, which it lacks\."
    ):
        architecture_from_config(config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            config_of("bert", position_embedding_type="relative_key"),
            "config.json: position_embedding_type 'relative_key' is not supported, only 'absolute' is. "
            "Convert the model, or use sentence-transformers for it.",
        ),
        (
            config_of("modernbert", rope_parameters={"full_attention": {"rope_theta": 1e4, "rope_type": "yarn"}}),
            "config.json: rope_type ['yarn'] is not supported, only 'default' is.",
        ),
        (
            config_of("modernbert", mlp_bias=True),
            "config.json: mlp_bias and attention_bias differ, which is not supported.",
        ),
    ],
)
def test_what_we_do_not_run_is_an_error(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFormatError) as caught:
        architecture_from_config(config)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            config_of("bert", hidden_size="8"),
            "'hidden_size' is '8', expected a whole number from 1 to 2147483647. Correct",
        ),
        (config_of("bert", num_hidden_layers=0), "'num_hidden_layers' is 0, expected a whole number from 1 to 10000."),
        (config_of("bert", num_hidden_layers=True), "'num_hidden_layers' is True, expected a whole number"),
        (
            config_of("bert", max_position_embeddings=-1),
            "'max_position_embeddings' is -1, expected a whole number from 1",
        ),
        (config_of("bert", hidden_act="mish"), "'hidden_act' is 'mish', expected one of gelu, gelu_new, "),
        (config_of("bert", hidden_act=["gelu"]), "'hidden_act' is ['gelu'], expected one of gelu, "),
        (config_of("bert", layer_norm_eps="1e-12"), "'layer_norm_eps' is '1e-12', expected a number above 0."),
        (
            config_of("bert", hidden_dropout_prob=1.5),
            "'hidden_dropout_prob' is 1.5, expected a number from 0 to below 1.",
        ),
        (
            config_of("bert", num_attention_heads=3),
            "num_attention_heads 3 does not divide hidden_size 8. Correct the one",
        ),
        (config_of("distilbert", n_heads=3), "n_heads 3 does not divide dim 8. Correct the one that is wrong."),
        (config_of("roberta", pad_token_id=-1), "'pad_token_id' is -1, expected a whole number from 0"),
        (config_of("roberta", pad_token_id=63), "max_position_embeddings 64 has none left after pad_token_id 63."),
        (
            config_of("modernbert", layer_types=["full_attention"]),
            "layer_types is ['full_attention'], expected a list of",
        ),
        (config_of("modernbert", layer_types="x"), "layer_types is 'x', expected a list of"),
        (config_of("modernbert", attention_bias="no"), "'attention_bias' is 'no', expected true or false."),
        (
            config_of("modernbert", classifier_pooling="max"),
            "'classifier_pooling' is 'max', expected one of cls, mean.",
        ),
        (config_of("modernbert", rope_parameters=[1]), "'rope_parameters' is [1], expected a JSON object."),
        (config_of("modernbert", rope_parameters={"rope_type": "yarn"}), "rope_type ['yarn'] is not supported"),
        (config_of("modernbert", global_rope_theta=0), "'global_rope_theta' is 0, expected a number above 0."),
        (config_of("modernbert", num_attention_heads=8), "rotary positions need heads of an even size"),
        (
            config_of("modernbert", max_position_embeddings=1 << 20, hidden_size=1 << 10, num_attention_heads=1),
            "tables of at most 134217728 numbers; it describes 1048576 positions for heads of size 1024. Correct",
        ),
    ],
)
def test_a_value_that_means_nothing_is_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFormatError, match=re.escape(message)) as caught:
        architecture_from_config(config, "folder/config.json")
    assert str(caught.value).startswith("folder/config.json: ")


def test_null_is_what_the_family_takes_by_default() -> None:
    nothing = config_of(
        "bert", hidden_act=None, layer_norm_eps=None, type_vocab_size=None, position_embedding_type=None
    )
    assert architecture_from_config(nothing) == architecture_from_config(config_of("bert"))


def test_both_engines_have_every_activation_that_a_config_may_name() -> None:
    for table in (OPENVINO_ACTIVATIONS, TORCH_ACTIVATIONS):
        assert {name for name in table if "." not in name} == set(ACTIVATIONS)
