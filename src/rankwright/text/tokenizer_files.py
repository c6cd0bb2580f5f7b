"""Tokenizers from the files of a checkpoint, giving the ids that transformers 5 gives.

In: a folder with tokenizer.json, or vocab.txt, or vocab.json and merges.txt. Out: `tokenizers.Tokenizer` without
truncation and padding, and `TokenizerFacts`.

transformers 5 takes of tokenizer.json no more than the vocabulary and the added tokens when it knows the tokenizer's
class: it builds the normalizer, the pre-tokenizer and the special-token template anew from tokenizer_config.json and
the defaults of the class, so that a BERT tokenizer lower-cases unless `do_lower_case` says otherwise. `_CLASSES` holds
the classes of our model families; any other tokenizer.json is taken as it is.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from rankwright.errors import ModelFormatError, first_line
from rankwright.json_values import read_object, value_of
from rankwright.text.tokenizer_facts import TokenizerFacts
from rankwright.text.tokenizer_transformers import (
    CONFIG_KEYS,
    about_code,
    backend_of,
    check_vocabulary,
    open_with_transformers,
)

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
    "tokenizer.model",
)
"""All files that may be part of a tokenizer."""

_AS_IT_IS = "TokenizersBackend"
_GENERIC = (_AS_IT_IS, "PreTrainedTokenizer")
"""Names that say no more than that tokenizer.json says it all."""

_REGISTERED = {
    "bert": "BertTokenizer",
    "camembert": "CamembertTokenizer",
    "distilbert": "BertTokenizer",
    "electra": "BertTokenizer",
    "mpnet": "MPNetTokenizer",
    "roberta": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
}
"""model_type -> tokenizer class where no file names one."""

_Named = Mapping[str, str]
_Settings = Mapping[str, Any]


def load_tokenizer(folder: Path, *, lower_case: bool = False) -> Tokenizer:
    """The tokenizer of a checkpoint; truncation and padding that its file may hold are cleared.

    Args:
        folder: the transformer's folder.
        lower_case: texts are lower-cased first, as `do_lower_case` of sentence-transformers asks.

    Returns:
        The tokenizer; its ids equal those of transformers 5.

    Raises:
        ModelFormatError: no tokenizer files, or damaged ones.
        MissingExtraError: files that only transformers can read, which is not installed.
    """
    files = _TokenizerFolder(folder)
    tokenizer = files.read_vocabulary()
    if tokenizer is None:
        tokenizer = backend_of(open_with_transformers(folder), folder)
    else:
        try:
            files.build(tokenizer)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as err:
            raise ModelFormatError(
                f"{folder}: tokenizer_config.json and its companions do not describe a {files.class_name} "
                f"({type(err).__name__}: {first_line(err)}) Download the tokenizer again."
            ) from err
    if lower_case:
        _lower_case_first(tokenizer)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def load_as_it_is(folder: Path) -> tuple[Tokenizer, TokenizerFacts]:
    """The tokenizer of a model without a transformer: tokenizer.json, whose own truncation is the maximum length.

    Args:
        folder: of the StaticEmbedding or model2vec model.

    Returns:
        The tokenizer without truncation and padding, and what its file said of them.

    Raises:
        ModelFormatError: no tokenizer.json, or a damaged one.
    """
    check_vocabulary(folder)
    tokenizer: Tokenizer = _from_file(Tokenizer.from_file, folder / "tokenizer.json")
    truncation = tokenizer.truncation or {}
    tokenizer.no_truncation()
    tokenizer.no_padding()
    facts = TokenizerFacts(
        class_name=_AS_IT_IS,
        model_max_length=truncation.get("max_length"),
        uses_type_ids=False,
        truncation_side=truncation.get("direction", "right"),
        special_tokens={},
    )
    return tokenizer, facts


def read_tokenizer_facts(folder: Path) -> TokenizerFacts:
    """Maximum length, type ids and special tokens of a tokenizer, without loading it.

    Args:
        folder: the transformer's folder.

    Returns:
        The facts, with the defaults of transformers 5 where the files are silent.

    Raises:
        ModelFormatError: a file that is not JSON.
    """
    files = _TokenizerFolder(folder)
    length = files.settings.get("model_max_length") or files.settings.get("max_len")
    names = files.settings.get("model_input_names")
    known = _CLASSES.get(files.class_name)
    return TokenizerFacts(
        class_name=files.class_name,
        # transformers writes 1e30 where there is no limit
        model_max_length=None if length is None or length > 10**9 else int(length),
        uses_type_ids="token_type_ids" in names if names else bool(known and known.uses_type_ids),
        truncation_side=files.settings.get("truncation_side") or "right",
        special_tokens=files.named,
    )


@dataclass(frozen=True)
class _TokenizerFolder:
    """The tokenizer files of a folder, read when they are asked for."""

    folder: Path

    def read(self, name: str) -> dict[str, Any]:
        """The content of a JSON file, empty where there is none."""
        return read_object(self.folder / name)

    @cached_property
    def config(self) -> dict[str, Any]:
        """tokenizer_config.json."""
        return self.read("tokenizer_config.json")

    @cached_property
    def settings(self) -> dict[str, Any]:
        """tokenizer_config.json, with special_tokens_map.json over it where the former lists no added tokens."""
        has_tokens = "added_tokens_decoder" in self.config
        settings = self.config if has_tokens else self.config | self.read("special_tokens_map.json")
        for key, expected in CONFIG_KEYS.items():
            value_of(settings, key, expected, self.folder / "tokenizer_config.json")
        return settings

    @cached_property
    def class_name(self) -> str:
        """The class that transformers 5 chooses, or `_AS_IT_IS` where it takes tokenizer.json as it is."""
        model = self.read("config.json")
        if model.get("model_type") == "modernbert":
            return _AS_IT_IS
        declared = self.settings.get("tokenizer_class") or model.get("tokenizer_class")
        name = declared or _REGISTERED.get(str(model.get("model_type")), _AS_IT_IS)
        return str(name).removesuffix("Fast")

    @cached_property
    def named(self) -> dict[str, str]:
        """The special tokens by role."""
        known = _CLASSES.get(self.class_name)
        named: dict[str, Any] = dict(known.special_tokens) if known else {}
        named |= {key: value for key, value in self.settings.items() if key.endswith("_token")}
        extra = self._extra_tokens
        named |= extra if isinstance(extra, dict) else {}
        return {role: _text(value) for role, value in named.items() if isinstance(value, (str, dict))}

    @property
    def _extra_tokens(self) -> Any:
        return self.settings.get("extra_special_tokens") or self.settings.get("additional_special_tokens") or []

    def read_vocabulary(self) -> Tokenizer | None:
        """The tokenizer of tokenizer.json or of the vocabulary files; None where only transformers can make it."""
        declared = self.settings.get("tokenizer_class") or self.class_name
        if "auto_map" in self.config and declared.removesuffix("Fast") not in (*_CLASSES, *_GENERIC):
            raise ModelFormatError(about_code(self.folder, declared))
        if (self.folder / "tokenizer.json").is_file():
            backend: Tokenizer = _from_file(Tokenizer.from_file, self.folder / "tokenizer.json")
            return backend
        known = _CLASSES.get(self.class_name)
        paths = [self.folder / name for name in known.vocabulary] if known else []
        if known is None or not paths or not all(path.is_file() for path in paths):
            return None
        return Tokenizer(_from_file(known.read_model, *paths))

    def build(self, tokenizer: Tokenizer) -> None:
        """Makes of a vocabulary what transformers 5 makes of it."""
        known = _CLASSES.get(self.class_name)
        if known:
            known.build(tokenizer, self.settings, self.named)
            self._check_ends(tokenizer, known.ends)
        self.add_tokens(tokenizer)
        if known:
            tokenizer.post_processor = known.template(tokenizer, self.settings, self.named)

    def _check_ends(self, tokenizer: Tokenizer, roles: tuple[str, ...]) -> None:
        """Raises where no file knows an id of a token that texts begin or end with: one given now would be wrong."""
        listed = self.settings.get("added_tokens_decoder") or {}
        known = {_text(token) for token in listed.values()} | set(self.read("added_tokens.json"))
        for role in roles:
            token = self.named.get(role)
            if not token or (tokenizer.token_to_id(token) is None and token not in known):
                raise ModelFormatError(
                    f"{self.folder}: the vocabulary of its tokenizer has no {role} {token!r}, with which texts begin "
                    "or end. Download the tokenizer again, or correct the token's name in tokenizer_config.json."
                )

    def add_tokens(self, tokenizer: Tokenizer) -> None:
        """Adds the tokens that the files list beside the vocabulary, in the order of transformers 5."""
        listed = self.settings.get("added_tokens_decoder")
        if listed is not None:
            planned = [_added(token) for _, token in sorted(listed.items(), key=lambda item: int(item[0]))]
        else:
            named = set(self.named.values())
            legacy = sorted(self.read("added_tokens.json").items(), key=lambda item: int(item[1]))
            planned = [AddedToken(text, normalized=text not in named, special=text in named) for text, _ in legacy]
        present = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
        present |= {token.content for token in planned}
        known = _CLASSES.get(self.class_name)
        extra = self._extra_tokens if isinstance(self._extra_tokens, list) else []
        roles = [(role, self.settings.get(role, text)) for role, text in self.named.items()]
        for role, value in [*roles, *(("", value) for value in extra)]:
            if _text(value) not in present:
                present.add(_text(value))
                lstrip = role == "mask_token" and bool(known and known.mask_takes_space)
                planned.append(_added(value, special=True, lstrip=lstrip))
        tokenizer.add_tokens(planned)


def _text(value: str | Mapping[str, Any]) -> str:
    return value if isinstance(value, str) else str(value["content"])


def _added(value: str | Mapping[str, Any], *, special: bool = False, lstrip: bool = False) -> AddedToken:
    """An added token from its text, or from what a file says of it."""
    if isinstance(value, str):
        return AddedToken(value, special=special, lstrip=lstrip, normalized=False)
    flags = {key: value[key] for key in ("lstrip", "rstrip", "single_word", "normalized") if key in value}
    return AddedToken(value["content"], special=special or value.get("special", False), **flags)


def _from_file(read: Callable[..., Any], *paths: Path) -> Any:
    try:
        return read(*map(str, paths))
    except Exception as err:  # the library raises nothing more precise
        places = ", ".join(map(str, paths))
        raise ModelFormatError(f"{places}: not a vocabulary that tokenizers reads: {err}. Download it again.") from err


def _lower_case_first(tokenizer: Tokenizer) -> None:
    """Puts a Lowercase before the normalizer, unless there is one in it."""
    steps = _steps(tokenizer.normalizer)
    if all(step["type"] != "Lowercase" for step in steps):
        present = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *present])


def _steps(normalizer: normalizers.Normalizer | None) -> list[dict[str, Any]]:
    """A normalizer's steps as its file spells them."""
    if normalizer is None:
        return []
    state: dict[str, Any] = json.loads(normalizer.__getstate__())
    return list(state["normalizers"]) if state["type"] == "Sequence" else [state]


def _build_wordpiece(tokenizer: Tokenizer, settings: _Settings, named: _Named) -> None:
    tokenizer.model.unk_token = named["unk_token"]
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
        strip_accents=settings.get("strip_accents"),
        lowercase=settings.get("do_lower_case", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()


def _build_byte_bpe(tokenizer: Tokenizer, settings: _Settings, named: _Named) -> None:
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=settings.get("add_prefix_space", False))


def _build_unigram(tokenizer: Tokenizer, settings: _Settings, named: _Named) -> None:
    # of the steps that a file may hold only SentencePiece's character map is kept
    maps = [step["precompiled_charsmap"] for step in _steps(tokenizer.normalizer) if step["type"] == "Precompiled"]
    tokenizer.normalizer = normalizers.Precompiled(base64.b64decode(maps[0])) if maps else None
    scheme = "always" if settings.get("add_prefix_space", True) else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme=scheme)]
    )


def _bert_template(tokenizer: Tokenizer, settings: _Settings, named: _Named) -> processors.PostProcessor:
    cls, sep = named["cls_token"], named["sep_token"]
    return processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (cls, sep)],
    )


def _roberta_template(tokenizer: Tokenizer, settings: _Settings, named: _Named) -> processors.PostProcessor:
    cls, sep = named["cls_token"], named["sep_token"]
    # both are in the vocabulary by now: `add_tokens` has seen to it
    ids = [tokenizer.token_to_id(token) or 0 for token in (sep, cls)]
    trim, prefix = settings.get("trim_offsets", True), settings.get("add_prefix_space", False)
    return processors.RobertaProcessing((sep, ids[0]), (cls, ids[1]), trim, prefix)


def _unigram_template(tokenizer: Tokenizer, settings: _Settings, named: _Named) -> processors.PostProcessor:
    bos, eos = named["bos_token"], named["eos_token"]
    return processors.TemplateProcessing(
        single=[bos, "$A", eos],
        pair=[bos, "$A", eos, eos, "$B", eos],
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (bos, eos)],
    )


@dataclass(frozen=True)
class _TokenizerClass:
    """How transformers 5 builds a tokenizer of one class from its vocabulary.

    `ends` are the roles of the tokens that texts begin and end with; `vocabulary` names the files that `read_model`
    takes where there is no tokenizer.json; `mask_takes_space` says that a mask token which no file describes takes the
    space before it.
    """

    special_tokens: Mapping[str, str]
    build: Callable[[Tokenizer, _Settings, _Named], None]
    template: Callable[[Tokenizer, _Settings, _Named], processors.PostProcessor]
    uses_type_ids: bool = False
    mask_takes_space: bool = False
    ends: tuple[str, ...] = ("cls_token", "sep_token")
    vocabulary: tuple[str, ...] = ()
    read_model: Callable[..., models.Model] = models.WordPiece.from_file


_BRACKETS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_ANGLES = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}
_BERT = _TokenizerClass(_BRACKETS, _build_wordpiece, _bert_template, uses_type_ids=True, vocabulary=("vocab.txt",))
_UNIGRAM = _TokenizerClass(_ANGLES, _build_unigram, _unigram_template, ends=("bos_token", "eos_token"))
_CLASSES: dict[str, _TokenizerClass] = {
    "BertTokenizer": _BERT,
    "CamembertTokenizer": _UNIGRAM,
    "DistilBertTokenizer": _TokenizerClass(_BRACKETS, _build_wordpiece, _bert_template, vocabulary=("vocab.txt",)),
    "ElectraTokenizer": _BERT,
    "MPNetTokenizer": _TokenizerClass(
        _ANGLES | {"unk_token": "[UNK]"},
        _build_wordpiece,
        _roberta_template,
        mask_takes_space=True,
        vocabulary=("vocab.txt",),
    ),
    "RobertaTokenizer": _TokenizerClass(
        _ANGLES,
        _build_byte_bpe,
        _roberta_template,
        vocabulary=("vocab.json", "merges.txt"),
        read_model=models.BPE.from_file,
    ),
    "XLMRobertaTokenizer": _UNIGRAM,
}
