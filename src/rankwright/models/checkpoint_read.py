"""Checkpoint folders of every era, read into a `ModelSpec` and `Weights`.

In: a plain Hugging Face folder, a sentence-transformers folder (v0 to v6), or a cross-encoder folder (v2 to v6).
Out: `ModelSpec`, and `Weights` under the names of the files. OLD below is sentence-transformers before v5.4, NEW since.
"""

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rankwright.encoder.families import architecture_from_config
from rankwright.encoder.spec import (
    POOLING_MODES,
    Architecture,
    Dense,
    Kind,
    ModelSpec,
    Module,
    Normalize,
    Pooling,
)
from rankwright.errors import ModelFormatError
from rankwright.models.activations import IDENTITY, SIGMOID
from rankwright.models.weights import Weights
from rankwright.text.tokenizer_files import read_tokenizer_facts

TANH = "torch.nn.modules.activation.Tanh"

POOLING_KEYS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
"""Pooling mode -> the key of its boolean in OLD's config."""

MODEL_TYPES: dict[Kind, str] = {"bi-encoder": "SentenceTransformer", "cross-encoder": "CrossEncoder"}
"""Our kinds -> `model_type` of config_sentence_transformers.json."""

_TASKS: dict[Kind, str] = {"bi-encoder": "feature-extraction", "cross-encoder": "sequence-classification"}
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
}
"""Keys of sentence_bert_config.json that we read, or that change no number."""


def read_spec(folder: Path, kind: Kind, *, num_labels: int | None = None, max_length: int | None = None) -> ModelSpec:
    """What a checkpoint folder says about its model, read as sentence-transformers 6.2 reads it.

    A folder of the other kind, or of none, is the base of a new model: mean pooling makes a bi-encoder, a head drawn at
    random a cross-encoder.

    Args:
        folder: the checkpoint.
        kind: what to open it as.
        num_labels: outputs of a cross-encoder's head; None: as in the checkpoint, 1 for a new head.
        max_length: tokens a text may have, special tokens included; None: as the checkpoint says.

    Returns:
        The spec.

    Raises:
        ModelFormatError: a file that is missing or damaged, or a part that rankwright does not run.
        ValueRangeError: a `max_length` that the model has no positions for.
    """
    checkpoint = _Checkpoint(folder, kind)
    config = checkpoint.config
    architecture = architecture_from_config(config)
    facts = read_tokenizer_facts(checkpoint.transformer_folder)
    settings = checkpoint.settings
    values: dict[str, Any] = {
        "kind": kind,
        "architecture": architecture,
        "max_length": _max_length(checkpoint, architecture, asked=max_length, tokenizer=facts.model_max_length),
        "prompts": _prompts(checkpoint),
        "default_prompt_name": settings.get("default_prompt_name"),
        "lower_case": bool(checkpoint.transformer.get("do_lower_case", False)),
        "uses_type_ids": facts.uses_type_ids and architecture.type_vocab_size > 1,
        "config": config,
    }
    if kind == "bi-encoder":
        similarity = settings.get("similarity_fn_name")
        return ModelSpec(
            **values,
            modules=_modules(checkpoint),
            similarity=similarity if similarity in _SIMILARITIES else None,
            truncate_dim=settings.get("truncate_dim"),
        )
    labels, head_is_new = _head(checkpoint, num_labels)
    activation = _activation(checkpoint, labels)
    return ModelSpec(**values, num_labels=labels, head_is_new=head_is_new, activation=activation)


def kind_of(folder: Path) -> Kind:
    """The kind of model in a folder: what sentence-transformers noted, else what the transformers config says.

    Args:
        folder: a checkpoint.

    Returns:
        "cross-encoder" for a CrossEncoder or a sequence classification model, else "bi-encoder".
    """
    noted = _read_json(folder / "config_sentence_transformers.json").get("model_type")
    if noted in MODEL_TYPES.values():
        return "cross-encoder" if noted == MODEL_TYPES["cross-encoder"] else "bi-encoder"
    if (folder / "modules.json").is_file():
        return "bi-encoder"
    architectures = _read_json(folder / "config.json").get("architectures")
    names = architectures if isinstance(architectures, list) else []
    return "cross-encoder" if any(str(name).endswith("ForSequenceClassification") for name in names) else "bi-encoder"


def read_weights(folder: Path, spec: ModelSpec) -> Weights:
    """The tensors of a checkpoint: the transformer's as they are called, those of a dense layer after its folder.

    Args:
        folder: the checkpoint.
        spec: what `read_spec` gave for it.

    Returns:
        The tensors by name, such as "encoder.layer.0.output.dense.weight" and "2_Dense.linear.weight".

    Raises:
        ModelFormatError: a file that is missing or damaged.
        MissingExtraError: only pytorch_model.bin is there, and torch is not.
    """
    dense = {f"{module.name}.": folder / module.name for module in spec.modules if isinstance(module, Dense)}
    return Weights({"": transformer_folder(folder)} | dense)


def transformer_folder(folder: Path) -> Path:
    """Where a checkpoint keeps config.json, the tokenizer and the transformer's weights.

    Args:
        folder: the checkpoint.

    Returns:
        The folder itself, or the subfolder that modules.json gives to its first module, such as "0_Transformer".

    Raises:
        ModelFormatError: a modules.json that is damaged, or that leads out of the folder.
    """
    modules = _read_modules(folder)
    return _inside(folder, modules[0]["path"]) if modules else folder


@dataclass(frozen=True)
class _Checkpoint:
    """The config files of a checkpoint, each read once.

    `is_of_kind` is false for a folder that was not saved as the kind it is opened as: only its transformer counts then.
    """

    folder: Path
    kind: Kind

    @cached_property
    def modules(self) -> list[dict[str, Any]]:
        """The modules after the transformer."""
        return _read_modules(self.folder)[1:] if self.is_of_kind else []

    @cached_property
    def is_of_kind(self) -> bool:
        has_modules = (self.folder / "modules.json").is_file()
        saved = _read_json(self.folder / "config_sentence_transformers.json")
        return has_modules and saved.get("model_type", "SentenceTransformer") == MODEL_TYPES[self.kind]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """config_sentence_transformers.json."""
        return _read_json(self.folder / "config_sentence_transformers.json") if self.is_of_kind else {}

    @cached_property
    def transformer_folder(self) -> Path:
        return transformer_folder(self.folder)

    @cached_property
    def transformer(self) -> dict[str, Any]:
        """sentence_bert_config.json, under the first of its names."""
        if not self.is_of_kind:
            return {}
        files = (_read_json(self.transformer_folder / name) for name in _TRANSFORMER_CONFIGS)
        config = next((content for content in files if content), {})
        unknown = sorted(key for key, value in config.items() if value and key not in _INERT_KEYS | _TOKENIZER_KEYS)
        task = config.get("transformer_task", _TASKS["bi-encoder"])
        if unknown or task != _TASKS[self.kind]:
            what = f"the setting {unknown[0]!r}" if unknown else f"the transformer_task {task!r}"
            raise ModelFormatError(
                f"{self.transformer_folder}: sentence_bert_config.json has {what}, which rankwright does not run for a "
                f"{self.kind}. Remove it if the model does not need it, or use sentence-transformers for this model."
            )
        return config

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.json."""
        path = self.transformer_folder / "config.json"
        if (self.transformer_folder / "adapter_config.json").is_file():
            raise ModelFormatError(
                f"{self.transformer_folder} holds an adapter, not a model. Merge it into its base with "
                "merge_and_unload() of peft, and save the result."
            )
        if not path.is_file():
            raise ModelFormatError(
                f"{path} does not exist, so that {self.folder} is no checkpoint. Expected a folder saved by "
                "rankwright, sentence-transformers or transformers."
            )
        return _read_json(path)


_TOKENIZER_KEYS = {"tokenizer_args", "processor_kwargs"}


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise ModelFormatError(f"{path} is not JSON: {err}. Download the model again.") from err
    if not isinstance(content, dict):
        raise ModelFormatError(f"{path}: expected a JSON object, got {type(content).__name__}.")
    return content


def _read_modules(folder: Path) -> list[dict[str, Any]]:
    """modules.json, empty where there is none."""
    path = folder / "modules.json"
    if not path.is_file():
        return []
    try:
        modules: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        names = [(module["path"], _class_name(module["type"])) for module in modules]
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise ModelFormatError(f"{path}: expected a JSON list of objects with 'path' and 'type'.") from err
    if not names or names[0][1] != "Transformer":
        first = modules[0]["type"] if modules else "nothing"
        raise ModelFormatError(
            f"{path}: the first module is {first!r}; rankwright runs models that start with a Transformer. "
            "Use sentence-transformers for this model."
        )
    return modules


def _class_name(module_type: str) -> str:
    """The class of a sentence-transformers module, in the spelling of any version; of other modules the whole path."""
    return module_type.rsplit(".", 1)[-1] if module_type.startswith("sentence_transformers.") else module_type


def _inside(folder: Path, path: str) -> Path:
    """A subfolder that modules.json names; it must not lead out of the checkpoint."""
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise ModelFormatError(f"{folder / 'modules.json'}: the path {path!r} leads out of the folder.")
    return folder / path


def _prompts(checkpoint: _Checkpoint) -> dict[str, str]:
    """The prompts by name; a bi-encoder always has those of queries and documents."""
    prompts = {"query": "", "document": ""} if checkpoint.kind == "bi-encoder" else {}
    prompts |= {name: prompt or "" for name, prompt in (checkpoint.settings.get("prompts") or {}).items()}
    default = checkpoint.settings.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise ModelFormatError(
            f"{checkpoint.folder / 'config_sentence_transformers.json'}: default_prompt_name is {default!r}, "
            f"which is not among its prompts ({', '.join(prompts)}). Add it there."
        )
    return prompts


def _modules(checkpoint: _Checkpoint) -> tuple[Module, ...]:
    """What follows the transformer of a bi-encoder."""
    if not checkpoint.is_of_kind:
        return (Pooling(),)
    modules: list[Module] = []
    for entry in checkpoint.modules:
        folder = _inside(checkpoint.folder, entry["path"])
        read = _MODULES.get(_class_name(entry["type"]))
        if read is None:
            raise ModelFormatError(
                f"{checkpoint.folder / 'modules.json'}: module {entry['type']!r} is not one that rankwright runs "
                f"({', '.join(_MODULES)}). Use sentence-transformers for this model."
            )
        modules.append(read(folder, entry["path"], _read_json(folder / "config.json")))
    if not modules or not isinstance(modules[0], Pooling):
        raise ModelFormatError(
            f"{checkpoint.folder / 'modules.json'}: a bi-encoder needs a Pooling after its Transformer. Add one there."
        )
    return tuple(modules)


def _read_pooling(folder: Path, name: str, config: Mapping[str, Any]) -> Pooling:
    modes: Any = config.get("pooling_mode") or tuple(mode for mode in POOLING_MODES if config.get(POOLING_KEYS[mode]))
    modes = (modes,) if isinstance(modes, str) else tuple(modes) or ("mean",)
    unknown = [mode for mode in modes if mode not in POOLING_MODES]
    if unknown:
        raise ModelFormatError(
            f"{folder / 'config.json'}: unknown pooling mode {unknown[0]!r}. Known modes: {', '.join(POOLING_MODES)}."
        )
    return Pooling(modes=modes, include_prompt=bool(config.get("include_prompt", True)))


def _read_dense(folder: Path, name: str, config: Mapping[str, Any]) -> Dense:
    if "in_features" not in config or "out_features" not in config:
        raise ModelFormatError(f"{folder / 'config.json'}: a Dense module needs in_features and out_features.")
    if config.get("use_residual"):
        raise ModelFormatError(f"{folder / 'config.json'}: use_residual is not supported. Use sentence-transformers.")
    _on_embeddings(folder, config)
    return Dense(
        name=name,
        in_features=config["in_features"],
        out_features=config["out_features"],
        use_bias=bool(config.get("bias", True)),
        activation=_trusted(folder / "config.json", config.get("activation_function"), default=TANH),
    )


def _read_normalize(folder: Path, name: str, config: Mapping[str, Any]) -> Normalize:
    _on_embeddings(folder, config)
    return Normalize()


def _on_embeddings(folder: Path, config: Mapping[str, Any]) -> None:
    """Raises unless the module reads and writes the pooled embedding."""
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, "sentence_embedding"):
            raise ModelFormatError(
                f"{folder / 'config.json'}: {key} is {config[key]!r}; "
                "rankwright runs modules on 'sentence_embedding' only."
            )


_MODULES: dict[str, Callable[[Path, str, Mapping[str, Any]], Module]] = {
    "Pooling": _read_pooling,
    "Dense": _read_dense,
    "Normalize": _read_normalize,
}


def _trusted(path: Path, activation: str | None, *, default: str) -> str:
    """The dotted path of an activation, which must be torch's: no other code of a checkpoint is run."""
    if activation is None or activation.startswith("torch."):
        return activation or default
    warnings.warn(
        f"{path}: the activation {activation!r} is not torch's and is not run; {default} takes its place. "
        "Pass activation= to choose another.",
        stacklevel=2,
    )
    return default


def _activation(checkpoint: _Checkpoint, num_labels: int) -> str:
    """A cross-encoder's activation: where v5.4, v4 and v2 wrote it, in this order; else Sigmoid for one label."""
    default = SIGMOID if num_labels == 1 else IDENTITY
    nested = checkpoint.config.get("sentence_transformers")
    stored = checkpoint.settings.get("activation_fn")
    if stored is not None:
        return _trusted(checkpoint.folder / "config_sentence_transformers.json", stored, default=default)
    if isinstance(nested, dict) and "activation_fn" in nested:
        stored = nested["activation_fn"]
    else:
        stored = checkpoint.config.get("sbert_ce_default_activation_function")
    return _trusted(checkpoint.folder / "config.json", stored, default=default)


def _head(checkpoint: _Checkpoint, num_labels: int | None) -> tuple[int, bool]:
    """How many labels a cross-encoder has, and whether its head is new."""
    if checkpoint.modules:
        raise ModelFormatError(
            f"{checkpoint.folder / 'modules.json'}: a cross-encoder is one Transformer; "
            f"{checkpoint.modules[0]['type']!r} after it is not supported. Use sentence-transformers for this model."
        )
    config = checkpoint.config
    names = config.get("architectures") or []
    claims_head = any(name.endswith("ForSequenceClassification") for name in names)
    # 2 is the default of transformers
    stored = len(config.get("id2label") or ()) or config.get("num_labels") or 2
    labels = num_labels or (stored if claims_head else 1)
    weights = Weights({"": checkpoint.transformer_folder})
    outputs = [name for name in ("classifier.weight", "classifier.out_proj.weight") if name in weights]
    rows = len(weights[outputs[0]]) if outputs else None
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
    kwargs = checkpoint.transformer.get("processor_kwargs") or checkpoint.transformer.get("tokenizer_args") or {}
    stored = kwargs.get("model_max_length") or checkpoint.transformer.get("max_seq_length") or tokenizer
    return min(int(stored or architecture.longest_text), architecture.longest_text)
