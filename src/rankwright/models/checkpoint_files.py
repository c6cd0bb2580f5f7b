"""The config files of a checkpoint, each read once and checked where it is read.

In: a folder, and the kind that it is opened as. Out: `CheckpointFiles`, of which a `ModelSpec` is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rankwright.encoder.families import FAMILIES, architecture_from_config
from rankwright.encoder.spec import (
    STATIC,
    Architecture,
    Foreign,
    ForeignTask,
    Kind,
    LogitScore,
    Module,
    Normalize,
    Pooling,
)
from rankwright.errors import ModelFormatError
from rankwright.json_values import FLAG, OBJECT, TEXT, TEXTS, Expected, read_object, value_of, whole
from rankwright.models.checkpoint_modules import Entry, Routes, read_modules, read_routes
from rankwright.models.weights import static_table
from rankwright.text.tokenizer_transformers import backend_of, has_chat_template, open_with_transformers

MODEL_TYPES: dict[Kind, str] = {"bi-encoder": "SentenceTransformer", "cross-encoder": "CrossEncoder"}
"""Our kinds -> the classes of sentence-transformers, the `model_type` of config_sentence_transformers.json."""

_TRANSFORMER_CONFIGS = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_INERT_KEYS = {
    "max_seq_length",
    "do_lower_case",
    "transformer_task",
    "modality_config",
    "module_output_name",
    "processing_kwargs",
    "unpad_inputs",
    "model_args",
    "model_kwargs",
    "tokenizer_args",
    "processor_kwargs",
}
"""Keys of sentence_bert_config.json that we read, or that change no number."""

_TOKENIZER_ARGS = {"clean_up_tokenization_spaces", "model_max_length", "padding_side", "trust_remote_code", "use_fast"}
"""Of what the file says to the tokenizer, the length, which we read, and what changes no id of a text."""

_CHAT = "chat_template"
_NO_CHAT_OPTIONS = {
    "chat_template",
    "max_length",
    "padding",
    "restore_suffix",
    "return_tensors",
    "tokenize",
    "truncation",
}
"""Settings of a chat template that are not for the template: they choose it, or say what becomes of what it wrote."""

_CONFIG_KEYS = {
    "model_type": TEXT,
    "architectures": TEXTS,
    "id2label": OBJECT,
    "num_labels": whole(1, 1_000_000),
    "is_decoder": FLAG,
    "auto_map": OBJECT,
}
"""What the keys of config.json that every family has must be like."""

_UNLIMITED = (1 << 31) - 1
"""Tokens of a text in a model without positions."""


@dataclass(frozen=True)
class CheckpointFiles:
    """The config files of a checkpoint, each read once.

    `is_of_kind` is false for a folder that was not saved as the kind it is opened as: only its transformer counts then.
    """

    folder: Path
    kind: Kind
    task: str | None = None
    trust_remote_code: bool = False

    @cached_property
    def routes(self) -> Routes:
        """The modules for each task."""
        return read_routes(self.folder)

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """The modules of the task."""
        return self.routes.get(self.task) or next(iter(self.routes.values()))

    @cached_property
    def input(self) -> Entry:
        """The first module."""
        if self.entries:
            return self.entries[0]
        return Entry("StaticEmbedding" if self._plain_config.get("model_type") == "model2vec" else "Transformer", "")

    @cached_property
    def modules(self) -> tuple[Module, ...]:
        """The modules after the first; sentence-transformers' choice where the folder was not saved as this kind."""
        if self.is_of_kind:
            # a cross-encoder of one module gives scores by itself
            has_own_head = self.kind == "cross-encoder" and len(self.entries) == 1
            return () if has_own_head else read_modules(self.folder, self.entries, self.kind)
        if self._is_table:
            return (Normalize(),) if self._plain_config.get("normalize", False) else ()
        if self.kind == "bi-encoder":
            return (Pooling(),)
        return (self._yes_or_no(),) if self._is_language_model else ()

    @cached_property
    def is_of_kind(self) -> bool:
        """Whether it was saved as what it is opened as."""
        has_modules = (self.folder / "modules.json").is_file()
        return has_modules and (noted_type(self.folder) or "SentenceTransformer") == MODEL_TYPES[self.kind]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """config_sentence_transformers.json."""
        return read_object(self.settings_place) if self.is_of_kind else {}

    def setting(self, key: str, expected: Expected) -> Any:
        """A value of config_sentence_transformers.json, or None."""
        return value_of(self.settings, key, expected, self.settings_place)

    @property
    def settings_place(self) -> Path:
        """Where config_sentence_transformers.json is, or would be."""
        return self.folder / "config_sentence_transformers.json"

    @property
    def input_folder(self) -> Path:
        """The folder of the first module."""
        return self.folder / self.input.path

    @property
    def config_place(self) -> Path:
        """Where config.json is, or would be."""
        return self.input_folder / "config.json"

    @property
    def transformer_place(self) -> Path:
        """Where sentence_bert_config.json is, or would be."""
        return self.input_folder / _TRANSFORMER_CONFIGS[0]

    @cached_property
    def transformer(self) -> dict[str, Any]:
        """sentence_bert_config.json, under the first of its names."""
        if not self.is_of_kind:
            return {}
        files = (read_object(self.input_folder / name) for name in _TRANSFORMER_CONFIGS)
        config = next((content for content in files if content), {})
        unknown = _unknown_settings(config, self.transformer_place)
        needed = self.transformer_task
        task = config.get("transformer_task", needed if self.kind == "bi-encoder" else "feature-extraction")
        if unknown or task != needed:
            what = f"the setting {unknown[0]!r}" if unknown else f"the transformer_task {task!r}"
            raise ModelFormatError(
                f"{self.input_folder}: sentence_bert_config.json has {what}, which rankwright does not run for a "
                f"{self.kind}. Remove it if the model does not need it, or use sentence-transformers for this model."
            )
        return config

    @cached_property
    def transformer_task(self) -> ForeignTask:
        """What the transformer is for, in the words of sentence-transformers."""
        if any(isinstance(module, LogitScore) for module in self.modules):
            return "text-generation"
        has_own_head = self.kind == "cross-encoder" and not self.modules
        return "sequence-classification" if has_own_head else "feature-extraction"

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.json; empty for a model without a transformer."""
        if self._is_table:
            return {}
        if (self.input_folder / "adapter_config.json").is_file():
            raise ModelFormatError(
                f"{self.input_folder} holds an adapter, not a model. Merge it into its base with "
                "merge_and_unload() of peft, and save the result."
            )
        if not self.config_place.is_file():
            raise ModelFormatError(
                f"{self.config_place} does not exist, so that {self.folder} is no checkpoint. Expected a folder saved "
                f"by rankwright, sentence-transformers or transformers.{_hint(self.folder)}"
            )
        config = read_object(self.config_place)
        for key, expected in _CONFIG_KEYS.items():
            value_of(config, key, expected, self.config_place)
        if config.get("quantization_config"):
            raise ModelFormatError(
                f"{self.config_place}: quantization_config says that the weights are quantised. "
                "Save the model in float32, float16 or bfloat16, without that key."
            )
        return config

    @cached_property
    def foreign(self) -> Foreign | None:
        """How transformers runs it, where the family is not ours or the user trusts the checkpoint's own code."""
        if self._is_table:
            return None
        # a decoder of a family of ours sees only what is before a token
        is_ours = self.config.get("model_type") in FAMILIES and not self.config.get("is_decoder")
        is_ours = is_ours and self.transformer_task != "text-generation"
        files = (self.config, read_object(self.input_folder / "tokenizer_config.json"))
        if is_ours and not (self.trust_remote_code and any("auto_map" in content for content in files)):
            return None
        modalities = value_of(self.transformer, "modality_config", OBJECT, self.transformer_place, {})
        message = value_of(modalities, "message", OBJECT, self.transformer_place)
        has_template = has_chat_template(self.input_folder) and (not self.is_of_kind or message is not None)
        chat_format = value_of(message or {}, "format", TEXT, self.transformer_place) or "auto"
        return Foreign(
            folder=self.input_folder,
            task=self.transformer_task,
            trust_remote_code=self.trust_remote_code,
            chat_format=chat_format if has_template else None,
            chat_options=(self.transformer.get("processing_kwargs") or {}).get(_CHAT) or {},
        )

    @cached_property
    def architecture(self) -> Architecture:
        """Family and sizes of the first module."""
        if self._is_table:
            rows, size = static_table(self.input_folder).shape
            return Architecture(STATIC, 0, size, 1, 0, vocab_size=rows, max_positions=_UNLIMITED)
        if self.foreign is None:
            return architecture_from_config(self.config, self.config_place)
        from rankwright.encoder.foreign import foreign_architecture

        return foreign_architecture(self.foreign)

    @property
    def _is_table(self) -> bool:
        """Whether it begins with static embeddings, in place of a transformer."""
        return self.input.class_name == "StaticEmbedding"

    @property
    def _plain_config(self) -> dict[str, Any]:
        return read_object(self.folder / "config.json")

    @property
    def _is_language_model(self) -> bool:
        return any(name.endswith("ForCausalLM") for name in self.architectures[:1])

    @property
    def architectures(self) -> list[str]:
        """The classes of transformers that the weights were saved from."""
        return self.config.get("architectures") or []

    def _yes_or_no(self) -> LogitScore:
        """What sentence-transformers makes of a bare language model: the log-odds of "yes" against "no"."""
        tokenizer = open_with_transformers(self.input_folder, trust_remote_code=self.trust_remote_code)
        yes, no = (backend_of(tokenizer, self.input_folder).token_to_id(word) for word in ("yes", "no"))
        if yes is None or no is None:
            raise ModelFormatError(
                f"{self.folder} is a language model whose tokenizer lacks the token 'yes' or 'no', by which it would "
                "score pairs. Save it with a LogitScore module that names its tokens."
            )
        return LogitScore(yes, no)


def _unknown_settings(config: Mapping[str, Any], place: Path) -> list[str]:
    """The keys of sentence_bert_config.json that we do not run, with the way to them."""
    unknown = sorted(key for key, value in config.items() if value and key not in _INERT_KEYS)
    for name in ("tokenizer_args", "processor_kwargs"):
        unknown += [f"{name}.{key}" for key in value_of(config, name, OBJECT, place, {}) if key not in _TOKENIZER_ARGS]
    processing = value_of(config, "processing_kwargs", OBJECT, place, {})
    unknown += [f"processing_kwargs.{key}" for key, value in processing.items() if value and key != _CHAT]
    options = value_of(processing, _CHAT, OBJECT, place, {})
    return unknown + [f"processing_kwargs.{_CHAT}.{key}" for key in options if key in _NO_CHAT_OPTIONS]


def _hint(folder: Path) -> str:
    """Where the checkpoint may be in a folder that is none: a run of ours, or a model in the Hub's cache."""
    found = [path.parent for place in ("model", "snapshots/*") for path in folder.glob(f"{place}/config.json")]
    return f" Did you mean {str(found[0])!r}?" if found else ""


def noted_type(folder: Path) -> str | None:
    """What sentence-transformers noted as the class of a model, such as "SentenceTransformer" or "SparseEncoder"."""
    path = folder / "config_sentence_transformers.json"
    noted: str | None = value_of(read_object(path), "model_type", TEXT, path)
    return noted
