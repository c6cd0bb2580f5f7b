"""A model in words: the architecture block of a card, and `str(model)`.

In: `ModelSpec`. Out: text.
"""

from rankwright.encoder.spec import STATIC, Dense, Dropout, LayerNorm, LogitScore, ModelSpec, Module, Pooling


def describe(class_name: str, spec: ModelSpec) -> str:
    """The modules of a model, one a line.

    Args:
        class_name: "BiEncoder" or "CrossEncoder".
        spec: the model.

    Returns:
        Text of several lines.
    """
    lines = [_first(spec), *map(_line, spec.modules)]
    if spec.kind == "cross-encoder":
        activation = spec.activation.rpartition(".")[2]
        head = f"Classification({spec.architecture.hidden_size} -> {spec.num_labels}, {activation})"
        lines.append(f"{activation}()" if spec.modules else head)
    return "\n".join([f"{class_name}(", *(f"  ({i}): {line}" for i, line in enumerate(lines)), ")"])


def _first(spec: ModelSpec) -> str:
    arch = spec.architecture
    if arch.family == STATIC:
        return f"StaticEmbedding(vocabulary {arch.vocab_size}, size {arch.hidden_size})"
    through = ", through transformers" if spec.foreign is not None else ""
    return (
        f"Transformer({arch.family}: {arch.num_layers} layers, hidden {arch.hidden_size}, {arch.num_heads} heads, "
        f"vocabulary {arch.vocab_size}, max_length {spec.max_length}{through})"
    )


def _line(module: Module) -> str:
    match module:
        case Pooling():
            return f"Pooling({' + '.join(module.modes)}{'' if module.include_prompt else ', without the prompt'})"
        case Dense():
            plus = ", plus its input" if module.adds_input else ""
            return f"Dense({module.in_features} -> {module.out_features}, {module.activation.rpartition('.')[2]}{plus})"
        case LayerNorm():
            return f"LayerNorm({module.size})"
        case Dropout():
            return f"Dropout({module.rate:g})"
        case LogitScore():
            against = "" if module.false_id is None else f" against token {module.false_id}"
            return f"LogitScore(token {module.true_id}{against})"
        case _:
            return "Normalize()"
