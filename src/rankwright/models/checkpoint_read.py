"""Checkpoint folders of every era, read into a `ModelSpec` and their tensors.

In: a folder of Hugging Face, of sentence-transformers (v0 to v6), of model2vec, or of a cross-encoder (v2 to v6). Out:
`ModelSpec`, and the tensors under the names of the files. OLD below is sentence-transformers before v5.4, NEW since.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rankwright.encoder.families import FAMILIES, architecture_from_config
from rankwright.encoder.spec import (
    STATIC,
    Architecture,
    Dense,
    Foreign,
    ForeignTask,
    Kind,
    LayerNorm,
    LogitScore,
    ModelSpec,
    Module,
    Normalize,
    Pooling,
)
from rankwright.errors import ModelFormatError, ValueRangeError
from rankwright.json_values import FLAG, LENGTH, OBJECT, SIZE, TEXT, TEXTS, Expected, read_object, value_of, whole
from rankwright.models.activations import IDENTITY, SIGMOID
from rankwright.models.checkpoint_modules import (
    Entry,
    Routes,
    check_sizes,
    read_modules,
    read_routes,
    trusted_activation,
)
from rankwright.models.weights import Weights, static_table
from rankwright.text.tokenizer_facts import TokenizerFacts
from rankwright.text.tokenizer_files import load_as_it_is, read_tokenizer_facts
from rankwright.text.tokenizer_transformers import backend_of, facts_of, has_chat_template, open_with_transformers

MODEL_TYPES: dict[Kind, str] = {"bi-encoder": "SentenceTransformer", "cross-encoder": "CrossEncoder"}
"""Our kinds -> `model_type` of config_sentence_transformers.json."""

_SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
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
    "unpad_inputs",
    "model_args",
    "model_kwargs",
    "tokenizer_args",
    "processor_kwargs",
}
"""Keys of sentence_bert_config.json that we read, or that change no number."""

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


def read_spec(
    folder: Path,
    kind: Kind,
    *,
    num_labels: int | None = None,
    max_length: int | None = None,
    trust_remote_code: bool = False,
    task: str | None = None,
) -> ModelSpec:
    """What a checkpoint folder says about its model, read as sentence-transformers 6.2 reads it.

    A folder of the other kind, or of none, is the base of a new model: mean pooling makes a bi-encoder, a head drawn at
    random a cross-encoder.

    Args:
        folder: the checkpoint.
        kind: what to open it as.
        num_labels: outputs of a cross-encoder's head; None: as in the checkpoint, 1 for a new head.
        max_length: tokens a text may have, special tokens included; None: as the checkpoint says.
        trust_remote_code: whether transformers may run code of the checkpoint.
        task: which route of a router; None: that of texts without a task.

    Returns:
        The spec.

    Raises:
        ModelFormatError: a file that is missing or damaged, or a part that rankwright does not run.
        MissingExtraError: a family that only transformers runs, which is not installed.
        ValueRangeError: a `max_length` that the model has no positions for.
    """
    checkpoint = _Checkpoint(folder, kind, task, trust_remote_code)
    foreign, architecture = checkpoint.foreign, checkpoint.architecture
    facts = _tokenizer_facts(checkpoint)
    similarity = checkpoint.settings.get("similarity_fn_name")
    spec = ModelSpec(
        kind=kind,
        architecture=architecture,
        max_length=_max_length(checkpoint, architecture, asked=max_length, tokenizer=facts.model_max_length),
        modules=checkpoint.modules,
        input_path=checkpoint.input.path,
        has_router=len(checkpoint.routes) > 1,
        prompts=_prompts(checkpoint),
        default_prompt_name=checkpoint.setting("default_prompt_name", TEXT),
        similarity=similarity if kind == "bi-encoder" and similarity in _SIMILARITIES else None,
        truncate_dim=checkpoint.setting("truncate_dim", SIZE) if kind == "bi-encoder" else None,
        lower_case=value_of(checkpoint.transformer, "do_lower_case", FLAG, checkpoint.transformer_place, False),
        uses_type_ids=facts.uses_type_ids and architecture.type_vocab_size > 1,
        foreign=foreign,
        config=checkpoint.config,
    )
    if checkpoint.is_of_kind and checkpoint.modules:
        check_sizes(folder, checkpoint.entries, checkpoint.modules, architecture)
    if kind == "bi-encoder":
        if (spec.truncate_dim or 0) > spec.embedding_size:
            raise ModelFormatError(
                f"{checkpoint.settings_place}: truncate_dim is {spec.truncate_dim}, but the embeddings have only "
                f"{spec.embedding_size} dimensions. Correct it there."
            )
        return spec
    labels, head_is_new = _head(checkpoint, num_labels)
    activation = _activation(checkpoint, labels)
    return replace(spec, num_labels=labels, head_is_new=head_is_new, activation=activation)


def tasks_of(folder: Path, kind: Kind) -> tuple[str | None, ...]:
    """The tasks whose texts a checkpoint has modules for.

    Args:
        folder: the checkpoint.
        kind: what it is opened as.

    Returns:
        Such as ("query", "document", None) of a router; None stands for texts without a task, and is alone where there
        is no router.
    """
    return tuple(_Checkpoint(folder, kind).routes)


def noted_type(folder: Path) -> str | None:
    """What sentence-transformers noted as the class of a model, such as "SentenceTransformer" or "SparseEncoder"."""
    path = folder / "config_sentence_transformers.json"
    noted: str | None = value_of(read_object(path), "model_type", TEXT, path)
    return noted


def kind_of(folder: Path) -> Kind:
    """The kind of model in a folder: what sentence-transformers noted, else what the transformers config says.

    Args:
        folder: a checkpoint.

    Returns:
        "cross-encoder" for a CrossEncoder or a sequence classification model, else "bi-encoder".
    """
    noted = noted_type(folder)
    if noted in MODEL_TYPES.values():
        return "cross-encoder" if noted == MODEL_TYPES["cross-encoder"] else "bi-encoder"
    if (folder / "modules.json").is_file():
        return "bi-encoder"
    names = value_of(read_object(folder / "config.json"), "architectures", TEXTS, folder / "config.json", [])
    return "cross-encoder" if any(name.endswith("ForSequenceClassification") for name in names) else "bi-encoder"


def read_weights(folder: Path, spec: ModelSpec) -> Mapping[str, np.ndarray]:
    """The tensors of a checkpoint: the transformer's as they are called, those of other modules after their folders.

    Args:
        folder: the checkpoint.
        spec: what `read_spec` gave for it.

    Returns:
        The tensors by name, such as "encoder.layer.0.output.dense.weight" and "2_Dense.linear.weight"; without those of
        a transformer that is none of our families.

    Raises:
        ModelFormatError: a file that is missing or damaged.
        MissingExtraError: only pytorch_model.bin is there, and torch is not.
    """
    own = {f"{module.name}.": folder / module.name for module in spec.modules if isinstance(module, Dense | LayerNorm)}
    if spec.architecture.family == STATIC:
        return {"embedding.weight": static_table(folder / spec.input_path), **Weights(own)}
    return Weights(own if spec.foreign is not None else {"": folder / spec.input_path} | own)


def transformer_folder(folder: Path) -> Path:
    """Where a checkpoint keeps config.json, the tokenizer and the transformer's weights.

    Args:
        folder: the checkpoint.

    Returns:
        The folder itself, or the subfolder that modules.json gives to its first module, such as "0_Transformer".

    Raises:
        ModelFormatError: a modules.json that is damaged, or that leads out of the folder.
    """
    entries = read_routes(folder).get(None)
    return folder / entries[0].path if entries else folder


@dataclass(frozen=True)
class _Checkpoint:
    """The config files of a checkpoint, each read once.

    `is_of_kind` is false for a folder that was not saved as the kind it is opened as: only its transformer counts then.
    """

    folder: Path
    kind: Kind
    task: str | None = None
    trust_remote_code: bool = False

    @cached_property
    def routes(self) -> Routes:
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
        if self.input.class_name == "StaticEmbedding":
            return (Normalize(),) if self._plain_config.get("normalize", False) else ()
        if self.kind == "bi-encoder":
            return (Pooling(),)
        return (self._yes_or_no(),) if self._is_language_model else ()

    @cached_property
    def is_of_kind(self) -> bool:
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
        return self.folder / "config_sentence_transformers.json"

    @property
    def input_folder(self) -> Path:
        return self.folder / self.input.path

    @property
    def config_place(self) -> Path:
        return self.input_folder / "config.json"

    @property
    def transformer_place(self) -> Path:
        return self.input_folder / _TRANSFORMER_CONFIGS[0]

    @cached_property
    def transformer(self) -> dict[str, Any]:
        """sentence_bert_config.json, under the first of its names."""
        if not self.is_of_kind:
            return {}
        files = (read_object(self.input_folder / name) for name in _TRANSFORMER_CONFIGS)
        config = next((content for content in files if content), {})
        unknown = sorted(key for key, value in config.items() if value and key not in _INERT_KEYS)
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
        if self.input.class_name == "StaticEmbedding":
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
        if self.input.class_name == "StaticEmbedding":
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
        )

    @cached_property
    def architecture(self) -> Architecture:
        if self.input.class_name == "StaticEmbedding":
            rows, size = static_table(self.input_folder).shape
            return Architecture(STATIC, 0, size, 1, 0, vocab_size=rows, max_positions=_UNLIMITED)
        if self.foreign is None:
            return architecture_from_config(self.config, self.config_place)
        from rankwright.encoder.foreign import foreign_architecture

        return foreign_architecture(self.foreign)

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


def _hint(folder: Path) -> str:
    """Where the checkpoint may be in a folder that is none: a run of ours, or a model in the Hub's cache."""
    found = [path.parent for place in ("model", "snapshots/*") for path in folder.glob(f"{place}/config.json")]
    return f" Did you mean {str(found[0])!r}?" if found else ""


def _tokenizer_facts(checkpoint: _Checkpoint) -> TokenizerFacts:
    if checkpoint.foreign is not None:
        from rankwright.encoder.foreign import takes_type_ids

        tokenizer = open_with_transformers(checkpoint.input_folder, trust_remote_code=checkpoint.trust_remote_code)
        facts = facts_of(tokenizer)
        return replace(facts, uses_type_ids=facts.uses_type_ids and takes_type_ids(checkpoint.foreign))
    if checkpoint.architecture.family == STATIC:
        return load_as_it_is(checkpoint.input_folder)[1]
    return read_tokenizer_facts(checkpoint.input_folder)


def _prompts(checkpoint: _Checkpoint) -> dict[str, str]:
    """The prompts by name; a bi-encoder always has those of queries and documents."""
    place = checkpoint.settings_place
    prompts = {"query": "", "document": ""} if checkpoint.kind == "bi-encoder" else {}
    stored = checkpoint.setting("prompts", OBJECT) or {}
    prompts |= {name: value_of(stored, name, TEXT, place, "") for name in stored}
    default = checkpoint.setting("default_prompt_name", TEXT)
    if default is not None and default not in prompts:
        raise ModelFormatError(
            f"{place}: default_prompt_name is {default!r}, which is not among its prompts ({', '.join(prompts)}). "
            "Add it there."
        )
    return prompts


def _activation(checkpoint: _Checkpoint, num_labels: int) -> str:
    """A cross-encoder's activation: where v5.4, v4 and v2 wrote it, in this order; else Sigmoid for one label."""
    default = SIGMOID if num_labels == 1 else IDENTITY
    nested = checkpoint.config.get("sentence_transformers")
    stored = checkpoint.settings.get("activation_fn")
    if stored is not None:
        return trusted_activation(checkpoint.settings_place, stored, default=default)
    if isinstance(nested, dict) and "activation_fn" in nested:
        stored = nested["activation_fn"]
    else:
        stored = checkpoint.config.get("sbert_ce_default_activation_function")
    return trusted_activation(checkpoint.config_place, stored, default=default)


def _head(checkpoint: _Checkpoint, num_labels: int | None) -> tuple[int, bool]:
    """How many labels a cross-encoder has, and whether its head is new."""
    if num_labels is not None and not SIZE.fits(num_labels):
        raise ValueRangeError(f"num_labels={num_labels!r}: expected {SIZE.words}, or None for those of the checkpoint.")
    if checkpoint.modules:
        sizes = [module.out_features for module in checkpoint.modules if isinstance(module, Dense)] or [1]
        if num_labels not in (None, sizes[-1]):
            raise ModelFormatError(
                f"{checkpoint.folder}: its modules give {sizes[-1]} scores, but num_labels={num_labels} is asked for. "
                "Leave num_labels out, or start from a base without a head."
            )
        return sizes[-1], False
    claims_head = any(name.endswith("ForSequenceClassification") for name in checkpoint.architectures)
    # 2 is the default of transformers
    stored = len(checkpoint.config.get("id2label") or ()) or checkpoint.config.get("num_labels") or 2
    labels = num_labels or (stored if claims_head else 1)
    if checkpoint.foreign is not None:
        return labels, not claims_head  # transformers says more when it has read the weights
    weights = Weights({"": checkpoint.input_folder})
    outputs = [name for name in ("classifier.weight", "classifier.out_proj.weight") if name in weights]
    rows = next(iter(weights[outputs[0]].shape), None) if outputs else None
    if claims_head and rows is not None and rows != labels:
        raise ModelFormatError(
            f"{checkpoint.folder}: its head has {rows} outputs, but {labels} labels are asked for "
            f"({'config.json' if num_labels is None else 'num_labels'}). "
            f"Open it with num_labels={rows}, or start from a base without a head."
        )
    return labels, rows != labels


def _max_length(
    checkpoint: _Checkpoint, architecture: Architecture, *, asked: int | None, tokenizer: int | None
) -> int:
    """The user's maximum, else OLD's, else the tokenizer's, as far as there are positions for it."""
    if asked is not None:
        return architecture.check_max_length(asked, checkpoint.folder)
    settings, place = checkpoint.transformer, checkpoint.transformer_place
    kwargs = value_of(settings, "processor_kwargs", OBJECT, place) or value_of(
        settings, "tokenizer_args", OBJECT, place, {}
    )
    stored = value_of(kwargs, "model_max_length", LENGTH, place) or value_of(settings, "max_seq_length", LENGTH, place)
    return int(min(stored or tokenizer or architecture.longest_text, architecture.longest_text))
