"""Checkpoint folders of every era, read into a `ModelSpec` and their tensors.

In: a folder of Hugging Face, of sentence-transformers (v0 to v6), of model2vec, or of a cross-encoder (v2 to v6). Out:
`ModelSpec`, and the tensors under the names of the files. OLD below is sentence-transformers before v5.4, NEW since.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from rankwright.encoder.spec import STATIC, Architecture, Dense, Kind, LayerNorm, ModelSpec
from rankwright.errors import ModelFormatError, ValueRangeError
from rankwright.json_values import FLAG, LENGTH, OBJECT, SIZE, TEXT, TEXTS, read_object, value_of
from rankwright.models.activations import IDENTITY, SIGMOID
from rankwright.models.checkpoint_files import MODEL_TYPES, CheckpointFiles, noted_type
from rankwright.models.checkpoint_modules import check_sizes, read_routes, trusted_activation
from rankwright.models.similarity import SIMILARITIES
from rankwright.models.weights import Weights, static_table
from rankwright.text.tokenizer_facts import TokenizerFacts
from rankwright.text.tokenizer_files import load_as_it_is, read_tokenizer_facts
from rankwright.text.tokenizer_transformers import facts_of, open_with_transformers


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
    checkpoint = CheckpointFiles(folder, kind, task, trust_remote_code)
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
        similarity=similarity if kind == "bi-encoder" and similarity in list(SIMILARITIES) else None,
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
    return tuple(CheckpointFiles(folder, kind).routes)


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


def _tokenizer_facts(checkpoint: CheckpointFiles) -> TokenizerFacts:
    if checkpoint.foreign is not None:
        from rankwright.encoder.foreign import takes_type_ids

        tokenizer = open_with_transformers(checkpoint.input_folder, trust_remote_code=checkpoint.trust_remote_code)
        facts = facts_of(tokenizer)
        return replace(facts, uses_type_ids=facts.uses_type_ids and takes_type_ids(checkpoint.foreign))
    if checkpoint.architecture.family == STATIC:
        return load_as_it_is(checkpoint.input_folder)[1]
    return read_tokenizer_facts(checkpoint.input_folder)


def _prompts(checkpoint: CheckpointFiles) -> dict[str, str]:
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


def _activation(checkpoint: CheckpointFiles, num_labels: int) -> str:
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


def _head(checkpoint: CheckpointFiles, num_labels: int | None) -> tuple[int, bool]:
    """How many labels a cross-encoder has, and whether its head is new."""
    if checkpoint.architecture.family == STATIC and not (checkpoint.is_of_kind and checkpoint.modules):
        raise ModelFormatError(
            f"{checkpoint.folder} holds a table of embeddings, which cannot score pairs. Open it with BiEncoder, or "
            "give a model with a transformer."
        )
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
    checkpoint: CheckpointFiles, architecture: Architecture, *, asked: int | None, tokenizer: int | None
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
