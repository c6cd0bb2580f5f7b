import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankwright.config import LossConfig, RunConfig, TrainingConfig, read_config, write_config
from rankwright.errors import ConfigError

TOML = """\
# a run
kind = "bi-encoder"
out = "runs/x"

[model]
base = "base"
prompts = {query = "query: ", document = ""}

[loss]
temperature = 0.02
matryoshka_dims = [32, 16]

[training]
learning_rate = 2e-5
seed = 7
"""


@pytest.fixture
def train_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("train.toml").write_text(TOML)
    return "train.toml"


def test_file_is_read_over_the_defaults(train_toml: str) -> None:
    config = read_config(train_toml)
    assert (config.kind, config.out, config.model.base) == ("bi-encoder", "runs/x", "base")
    assert config.model.prompts == {"query": "query: ", "document": ""}
    assert config.loss == LossConfig(name="multiple_negatives_ranking", temperature=0.02, matryoshka_dims=(32, 16))
    assert config.training == TrainingConfig(learning_rate=2e-5, seed=7)


def test_a_byte_order_mark_is_no_part_of_the_file(train_toml: str) -> None:
    expected = read_config(train_toml)
    Path(train_toml).write_text("\ufeff" + TOML, encoding="utf-8")
    assert read_config(train_toml) == expected


def test_set_beats_flag_beats_file_beats_default(train_toml: str) -> None:
    flags = {"training.seed": 8, "training.learning_rate": 1e-3, "model.base": "my/base"}
    config = read_config(train_toml, ["training.seed=9", 'card.language=["pl", "ru"]'], flags=flags)
    assert (config.training.seed, config.training.learning_rate, config.training.adam_beta1) == (9, 1e-3, 0.9)
    assert config.model.base == "my/base"
    assert config.card.language == ("pl", "ru")


def test_no_file_is_needed() -> None:
    config = read_config(None, ["data.train=pairs.jsonl"], flags={"kind": "cross-encoder"})
    assert (config.data.train, config.loss.name) == ("pairs.jsonl", "binary_cross_entropy")


def test_override_that_is_no_toml_is_a_string() -> None:
    for override in ("model.base=org/name", " model.base = org/name "):
        assert read_config(None, ["kind=bi-encoder", override]).model.base == "org/name"


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a base, a home that stood as ~ was taken for a name on the Hub by the card."""
    monkeypatch.setenv("HOME", "/home/me")
    keys = ("out", "model.base", "data.train", "data.eval", "card.template")
    config = read_config(None, ["kind=bi-encoder", *(f"{key}=~/it" for key in keys)])
    found = (config.out, config.model.base, config.data.train, config.data.eval, config.card.template)
    assert found == ("/home/me/it",) * 5


def test_one_string_is_a_list_of_one() -> None:
    assert read_config(None, ['kind="bi-encoder"', "evaluation.measures=ndcg@10"]).evaluation.measures == ("ndcg@10",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "temperature",
            "temprature",
            "train.toml:10: unknown key 'temprature' in [loss]. Did you mean 'temperature'? Known keys: name, ",
        ),
        (
            "[loss]",
            "[los]",
            "train.toml:9: unknown key 'los'. Did you mean 'loss'? Known keys: config_version, kind, out, ",
        ),
        (
            "seed = 7",
            "temperature = 7",
            "train.toml:15: unknown key 'temperature' in [training]. It belongs in [loss]. ",
        ),
        ("seed = 7", "xyzzy = 7", "train.toml:15: unknown key 'xyzzy' in [training]. Known keys: "),
        ("seed = 7", 'seed = "7"', "train.toml:15: seed in [training] is '7', expected a valid integer. Decides "),
        ("seed = 7", "seed = true", "train.toml:15: seed in [training] is True, expected a valid integer."),
        ("0.02", "0", "train.toml:10: temperature in [loss] is 0, expected greater than 0. Divides the cosine"),
        ("0.02", "nan", "train.toml:10: temperature in [loss] is nan, expected a finite number."),
        ("bi-encoder", "biencoder", "train.toml:2: kind is 'biencoder', expected 'bi-encoder' or 'cross-encoder'."),
        (
            'kind = "bi-encoder"',
            "",
            "train.toml: kind is missing. What is trained. Expected kind = 'bi-encoder' or 'cross-",
        ),
        ("[32, 16]", '[32, "a"]', "train.toml:11: matryoshka_dims in [loss] is 'a', expected a valid integer."),
        (
            "[32, 16]",
            "[32, 32]",
            "train.toml:9: matryoshka_dims = [32, 32] names a value twice. Name each once in [loss].",
        ),
        (
            "[32, 16]",
            "[32]\nmatryoshka_weights = [1.0, 2]",
            "train.toml:9: 2 matryoshka_weights for 1 matryoshka_dims.",
        ),
        (
            "[32, 16]",
            "[32, 16]\nmatryoshka_weights = [1.0]",
            "train.toml:9: 1 matryoshka_weights for 2 matryoshka_dims.",
        ),
        (
            "[32, 16]",
            '[32]\ndirections = ["query_to_document", "query_to_document"]',
            "train.toml:9: directions = ['query_to_document', 'query_to_document'] names a value twice.",
        ),
        (
            "[32, 16]",
            "[32]\npos_weight = 2",
            "train.toml:9: pos_weight has no effect on multiple_negatives_ranking. Remove",
        ),
        (
            "bi-encoder",
            "cross-encoder",
            "train.toml:9: temperature has no effect on binary_cross_entropy. Remove it or",
        ),
        (
            "temperature = 0.02",
            'name = "cross_entropy"',
            "train.toml:9: matryoshka_dims has no effect on cross_entropy.",
        ),
        ('query = "query: "', "query = 1", "train.toml:7: prompts in [model] is 1, expected a valid string."),
        (
            "seed = 7",
            "warmup_steps = 1\nwarmup_ratio = 0.1",
            "train.toml:13: warmup_ratio and warmup_steps are both given.",
        ),
        (
            "seed = 7",
            'warmup_steps = 1\nlr_scheduler_type = "constant"',
            'the warm-up has no effect with "constant". Use',
        ),
        ("seed = 7", "load_best_model_at_end = true", "load_best_model_at_end needs evaluations. Set eval_strategy to"),
        ("seed = 7", "max_steps = 0", "train.toml:13: max_steps is 0. Give at least 1, or -1 for num_train_epochs"),
        ('out = "runs/x"', "model = 3\n[x]", "train.toml: not TOML: "),
        ("# a run", "# a\u2028run\nxyzzy = 1", "train.toml:2: unknown key 'xyzzy'."),
        ("[training]", "[card.language]\npl = 1\n[card]\n[training]", "train.toml:13: language in [card] is {'pl': 1}"),
    ],
)
def test_error_names_place_value_and_remedy(train_toml: str, old: str, new: str, message: str) -> None:
    assert TOML.count(old) == 1
    Path(train_toml).write_text(TOML.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_config(train_toml)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss.temprature=1"], "--set loss.temprature=1: unknown key 'temprature' in [loss]. Did you mean"),
        (["training.seed=x"], "--set training.seed=x: seed in [training] is 'x', expected a valid integer."),
        (["training.seed"], "--set training.seed: expected KEY=VALUE, such as --set loss.temperature=0.02."),
        (["loss=1"], "--set loss=1: loss is 1, expected a section [loss] with keys of its own."),
        (["out=1", "out.x=1"], "--set out.x=1: 'out' is a value, not a section. Known sections: model, data, loss, "),
        (
            ["model.num_labels=2", "kind=cross-encoder"],
            "loss binary_cross_entropy is for one label, but num_labels is 2.",
        ),
        (
            ["model.num_labels=2", "kind=cross-encoder", "loss.name=mean_squared_error"],
            "loss mean_squared_error is for one label, but num_labels is 2.",
        ),
        (["loss.name=cross_entropy"], "the loss cross_entropy does not fit kind = 'bi-encoder'. Change one of them."),
    ],
)
def test_wrong_override_is_named(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(None, ['kind="bi-encoder"', *overrides])
    assert message in str(caught.value)


def test_wrong_flag_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^the flag for training.seed: seed in \[training\] is 'a', expected"):
        read_config(None, ["kind=bi-encoder"], flags={"training.seed": "a"})


def test_all_errors_are_said_at_once(train_toml: str) -> None:
    Path(train_toml).write_text(TOML.replace("seed", "sead").replace("base", "bse"))
    with pytest.raises(ConfigError) as caught:
        read_config(train_toml)
    assert [line.split(":")[1] for line in str(caught.value).splitlines()] == ["6", "15"]


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: no such file\. Give a TOML file"):
        read_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read as UTF-8 text"):
        read_config(tmp_path)


def test_written_config_is_read_back_equal(train_toml: str, tmp_path: Path) -> None:
    config = read_config(
        train_toml, ["card.examples=false", 'loss.directions=["document_to_query", "query_to_document"]']
    )
    write_config(tmp_path / "again.toml", config)
    assert read_config(tmp_path / "again.toml") == config


@given(st.text(), st.text(), st.floats(1e-30, 1e30), st.lists(st.text()))
def test_any_text_survives_writing(
    tmp_path_factory: pytest.TempPathFactory, text: str, key: str, number: float, texts: list[str]
) -> None:
    path = tmp_path_factory.mktemp("config") / "c.toml"
    config = RunConfig.model_validate(
        {
            "kind": "bi-encoder",
            "model": {"base": text, "prompts": {key: text}},
            "training": {"learning_rate": number},
            "card": {"datasets": texts},
        }
    )
    write_config(path, config)
    assert read_config(path) == config


def test_config_is_frozen() -> None:
    config = read_config(None, ["kind=bi-encoder"])
    with pytest.raises(ValueError, match="frozen"):
        config.training.seed = 1


def test_every_key_has_a_description() -> None:
    stages = [
        RunConfig,
        *(f.annotation for f in RunConfig.model_fields.values() if hasattr(f.annotation, "model_fields")),
    ]
    assert len(stages) == 7
    undescribed = [key for stage in stages for key, field in stage.model_fields.items() if not field.description]
    assert undescribed == []


def test_training_keys_and_defaults_are_those_of_training_arguments() -> None:
    from dataclasses import MISSING, fields

    from transformers import TrainingArguments

    theirs = {
        f.name: f.default_factory() if f.default_factory is not MISSING else f.default
        for f in fields(TrainingArguments)
    }
    # transformers 5 folds warmup_ratio into warmup_steps and says None for no checkpointing; the rest is ours.
    own = {"warmup_ratio", "gradient_checkpointing", "dtype", "device", "batch_sampler", "mini_batch_tokens"}
    for key, field in TrainingConfig.model_fields.items():
        if key not in own:
            assert field.default == theirs[key], key


def test_importing_config_loads_no_torch() -> None:
    code = "import sys, rankwright.config; print([m for m in ('torch', 'numpy', 'transformers') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
