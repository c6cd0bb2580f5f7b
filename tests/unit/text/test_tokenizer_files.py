"""The ids of tokenizers read from files, against those of transformers."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from rankwright.errors import MissingExtraError, ModelFormatError
from rankwright.text.tokenizer_files import load_tokenizer, read_tokenizer_facts
from tests.conftest import TinyModels
from tests.texts import CORPUS, HARD_TEXTS

TEXTS = [*HARD_TEXTS, *CORPUS, "<S> hello <MASK> x [unk] a [Mask]b", "the first hello [E1]bar"]
ROLES = ("pad_token", "cls_token", "sep_token", "unk_token", "mask_token", "bos_token", "eos_token")

Patch = dict[str, Any]


def _assert_same_as_transformers(folder: Path) -> None:
    from transformers import AutoTokenizer

    reference = AutoTokenizer.from_pretrained(folder)
    tokenizer, facts = load_tokenizer(folder), read_tokenizer_facts(folder)
    pairs = list(zip(TEXTS, TEXTS[::-1], strict=True))
    expected = [*reference(TEXTS)["input_ids"], *reference(TEXTS, TEXTS[::-1])["input_ids"]]
    encoded = [*tokenizer.encode_batch(TEXTS), *tokenizer.encode_batch(pairs)]
    for text, encoding, ids in zip([*TEXTS, *pairs], encoded, expected, strict=True):
        assert encoding.ids == ids, text
    types = reference(TEXTS, TEXTS[::-1]).get("token_type_ids")
    assert facts.uses_type_ids == (types is not None)
    assert types is None or types == [encoding.type_ids for encoding in encoded[len(TEXTS) :]]
    for role in ROLES:
        assert facts.special_tokens.get(role) == getattr(reference, role)
        assert facts.id_of(tokenizer, role) == getattr(reference, f"{role}_id")
    longest = reference.model_max_length
    assert facts.model_max_length == (None if longest > 10**9 else longest)
    assert facts.truncation_side == reference.truncation_side


def _change(path: Path, changes: Patch) -> None:
    """Sets keys of a JSON file; `...` removes one."""
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    kept = {key: value for key, value in content.items() if value is not ...}
    path.write_text(json.dumps(kept), encoding="utf-8")


@pytest.fixture
def copy(tiny: TinyModels, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a family's tiny model that a test may change."""

    def make(family: str) -> Path:
        folder = tmp_path / family
        shutil.copytree(tiny.bi_encoder(family), folder)
        return folder

    return make


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "mpnet", "modernbert"])
def test_family_tokenizer_gives_the_ids_of_transformers(tiny: TinyModels, family: str) -> None:
    _assert_same_as_transformers(tiny.bi_encoder(family))


def test_real_minilm_gives_the_ids_of_transformers(minilm: Path) -> None:
    _assert_same_as_transformers(minilm)


BERT_CONFIGS: dict[str, Patch] = {
    "cased": {"do_lower_case": False},
    "cased without accents": {"do_lower_case": False, "strip_accents": True},
    "accents and Chinese kept": {"strip_accents": False, "tokenize_chinese_chars": False},
    "taken as it is": {"tokenizer_class": "PreTrainedTokenizerFast"},
    "as it is, no input names": {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ...},
    "no class": {"tokenizer_class": ..., "model_input_names": ...},
    "fast class": {"tokenizer_class": "BertTokenizerFast", "model_input_names": ...},
    "unknown class": {"tokenizer_class": "FooTokenizer", "model_input_names": ...},
    "DistilBERT": {"tokenizer_class": "DistilBertTokenizer", "model_input_names": ...},
    "ELECTRA": {"tokenizer_class": "ElectraTokenizerFast", "model_input_names": ...},
    "more special tokens": {"additional_special_tokens": ["[E1]", "hello"], "e2_token": "bar"},
    "named special tokens": {"extra_special_tokens": {"first_token": "first"}},
    "special tokens elsewhere": {"cls_token": "[SEP]", "unk_token": "the"},
    "added tokens listed": {
        "added_tokens_decoder": {
            "2": {"content": "[CLS]", "special": True, "lstrip": True},
            "700": {"content": "first", "special": False, "normalized": True, "lstrip": True},
        }
    },
    "added tokens in the order of their numbers": {
        "added_tokens_decoder": {"1000": {"content": "last"}, "999": {"content": "first"}}
    },
    "long texts": {"model_max_length": 8192},
    "left truncation": {"truncation_side": "left", "model_max_length": int(1e30)},
}


@pytest.mark.parametrize("changes", BERT_CONFIGS.values(), ids=BERT_CONFIGS.keys())
def test_tokenizer_config_decides_as_in_transformers(copy: Callable[[str], Path], changes: Patch) -> None:
    folder = copy("bert")
    _change(folder / "tokenizer_config.json", changes)
    _assert_same_as_transformers(folder)


FILE_CHANGES: dict[str, tuple[str, Patch]] = {
    "BERT, cased in tokenizer.json": ("bert", {"normalizer": {"type": "NFC"}}),
    "BERT without pipeline": ("bert", {"normalizer": None, "post_processor": None}),
    "RoBERTa with a normalizer": ("roberta", {"normalizer": {"type": "Lowercase"}}),
    "XLM-R with a normalizer": ("xlm-roberta", {"normalizer": {"type": "Lowercase"}}),
    "ModernBERT with a normalizer": ("modernbert", {"normalizer": {"type": "Lowercase"}}),
}


@pytest.mark.parametrize(("family", "changes"), FILE_CHANGES.values(), ids=FILE_CHANGES.keys())
def test_pipeline_of_known_classes_is_built_anew(copy: Callable[[str], Path], family: str, changes: Patch) -> None:
    folder = copy(family)
    _change(folder / "tokenizer.json", changes)
    _assert_same_as_transformers(folder)


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta"])
@pytest.mark.parametrize("prefix", [True, False])
def test_prefix_space_is_honoured(copy: Callable[[str], Path], family: str, prefix: bool) -> None:
    folder = copy(family)
    _change(folder / "tokenizer_config.json", {"add_prefix_space": prefix})
    _assert_same_as_transformers(folder)


def test_tokenizer_class_wins_over_the_model_type(copy: Callable[[str], Path]) -> None:
    folder = copy("xlm-roberta")
    _change(folder / "config.json", {"model_type": "bert"})
    _assert_same_as_transformers(folder)
    assert read_tokenizer_facts(folder).class_name == "XLMRobertaTokenizer"


def _to_vocabulary_files(folder: Path) -> None:
    """Replaces tokenizer.json by the files of older checkpoints."""
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "tokenizer.json").unlink()
    if "merges" in model:
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
        (folder / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    else:
        tokens = sorted(model["vocab"], key=model["vocab"].get)
        (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")


@pytest.mark.parametrize("family", ["bert", "mpnet", "roberta"])
@pytest.mark.parametrize("has_configs", [True, False])
def test_vocabulary_files_give_the_ids_of_transformers(
    copy: Callable[[str], Path], family: str, has_configs: bool
) -> None:
    folder = copy(family)
    _to_vocabulary_files(folder)
    if not has_configs:
        (folder / "tokenizer_config.json").unlink()
        (folder / "special_tokens_map.json").unlink()
    _assert_same_as_transformers(folder)


def test_legacy_token_files_are_read(copy: Callable[[str], Path]) -> None:
    folder = copy("bert")
    _to_vocabulary_files(folder)
    mask = {"content": "[MASK]", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}
    tokens = {"mask_token": mask, "additional_special_tokens": ["[E1]"]}
    (folder / "special_tokens_map.json").write_text(json.dumps(tokens))
    (folder / "added_tokens.json").write_text(json.dumps({"first": 701, "[E1]": 700}))
    _assert_same_as_transformers(folder)


def test_truncation_and_padding_of_the_file_are_cleared(copy: Callable[[str], Path]) -> None:
    folder = copy("bert")
    stored = Tokenizer.from_file(str(folder / "tokenizer.json"))
    stored.enable_truncation(4)
    stored.enable_padding(length=9)
    stored.save(str(folder / "tokenizer.json"))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.truncation is None and tokenizer.padding is None
    assert len(tokenizer.encode(CORPUS[0]).ids) > 9


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "modernbert"])
def test_lower_case_comes_before_the_normalizer(copy: Callable[[str], Path], family: str) -> None:
    folder = copy(family)
    _change(folder / "tokenizer_config.json", {"do_lower_case": False})
    plain, lowered = load_tokenizer(folder), load_tokenizer(folder, lower_case=True)
    text = "ZAŻÓŁĆ The Committee"
    assert plain.encode(text).ids != lowered.encode(text).ids == plain.encode(text.lower()).ids


def test_sentencepiece_model_is_converted_by_transformers(copy: Callable[[str], Path], tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    pytest.importorskip("google.protobuf")
    folder = copy("xlm-roberta")
    (folder / "tokenizer.json").unlink()
    settings = {"vocab_size": 450, "model_type": "unigram", "character_coverage": 1.0, "hard_vocab_limit": False}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_prefix=str(tmp_path / "spm"), minloglevel=2, **settings
    )
    shutil.move(tmp_path / "spm.model", folder / "sentencepiece.bpe.model")
    _assert_same_as_transformers(folder)
    # the converted tokenizer.json has SentencePiece's character map in its normalizer
    load_tokenizer(folder).save(str(folder / "tokenizer.json"))
    _assert_same_as_transformers(folder)


@pytest.mark.parametrize("package", ["transformers", "sentencepiece", "google.protobuf"])
def test_sentencepiece_model_without_its_packages_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"")
    for missing in (package, "google.protobuf"):
        monkeypatch.setitem(sys.modules, missing, None)
    name = package.removeprefix("google.")
    with pytest.raises(MissingExtraError, match=rf"tokenizer of .*, needs the package '{name}'.*'rankwright\[train\]'"):
        load_tokenizer(tmp_path)


def test_tokenizer_written_in_python_is_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("bert")
    _to_vocabulary_files(folder)
    changes = {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "basic"}
    _change(folder / "tokenizer_config.json", changes)
    with pytest.raises(ModelFormatError, match="a BertJapaneseTokenizer, is written in Python"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    "kept", ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt"]
)
def test_files_beside_a_vocabulary_are_no_tokenizer(tmp_path: Path, kept: str) -> None:
    (tmp_path / kept).write_text("{}")
    write = json.dumps({"model_type": "bert"})
    (tmp_path / "config.json").write_text(write)
    with pytest.raises(ModelFormatError, match=r"holds no tokenizer: expected tokenizer\.json, or vocab\.txt.*Save it"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("family", "token", "role"),
    [("bert", "[CLS]", "cls_token"), ("roberta", "</s>", "sep_token"), ("xlm-roberta", "<s>", "bos_token")],
)
def test_token_that_texts_begin_or_end_with_must_be_known(
    copy: Callable[[str], Path], family: str, token: str, role: str
) -> None:
    folder = copy(family)
    path = folder / "tokenizer.json"
    stored = json.loads(path.read_text())
    vocabulary = stored["model"]["vocab"]
    if isinstance(vocabulary, dict):
        vocabulary["other"] = vocabulary.pop(token)
    else:
        stored["model"]["vocab"] = [["other" if piece == token else piece, score] for piece, score in vocabulary]
    stored["added_tokens"] = [added for added in stored["added_tokens"] if added["content"] != token]
    path.write_text(json.dumps(stored))
    with pytest.raises(
        ModelFormatError, match=rf"the vocabulary of its tokenizer has no {role} '{re.escape(token)}', with"
    ):
        load_tokenizer(folder)
    _change(folder / "tokenizer_config.json", {"added_tokens_decoder": {"0": {"content": token, "special": True}}})
    load_tokenizer(folder)


def test_folder_without_tokenizer_says_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ModelFormatError, match=r"holds no tokenizer: expected tokenizer\.json, or vocab\.txt"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_damaged_file_is_named(copy: Callable[[str], Path], name: str) -> None:
    folder = copy("bert")
    (folder / name).write_text('{"version": ')
    with pytest.raises(ModelFormatError, match=name.replace(".", r"\.")):
        load_tokenizer(folder)
