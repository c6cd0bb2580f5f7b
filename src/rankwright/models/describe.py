"""A model in words: the architecture block of a card, and `str(model)`.

In: `ModelSpec`. Out: text.
"""

from rankwright.encoder.spec import Dense, ModelSpec, Pooling


def describe(class_name: str, spec: ModelSpec) -> str:
    """The modules of a model, one a line.

    Args:
        class_name: "BiEncoder" or "CrossEncoder".
        spec: the model.

    Returns:
        Text of several lines.
    """
    arch = spec.architecture
    lines = [
        f"Transformer({arch.family}: {arch.num_layers} layers, hidden {arch.hidden_size}, {arch.num_heads} heads, "
        f"vocabulary {arch.vocab_size}, max_length {spec.max_length})"
    ]
    for module in spec.modules:
        if isinstance(module, Pooling):
            prompt = "" if module.include_prompt else ", without the prompt"
            lines.append(f"Pooling({' + '.join(module.modes)}{prompt})")
        elif isinstance(module, Dense):
            activation = module.activation.rpartition(".")[2]
            lines.append(f"Dense({module.in_features} -> {module.out_features}, {activation})")
        else:
            lines.append("Normalize()")
    if spec.kind == "cross-encoder":
        lines.append(f"Classification({arch.hidden_size} -> {spec.num_labels}, {spec.activation.rpartition('.')[2]})")
    return "\n".join([f"{class_name}(", *(f"  ({i}): {line}" for i, line in enumerate(lines)), ")"])
