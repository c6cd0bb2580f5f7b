"""Tokenizers that only transformers can make: converted vocabularies, those of families not ours, chat templates.

In: a folder. Out: the `tokenizers.Tokenizer` inside a tokenizer of transformers, and what renders its chat template.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankwright.errors import MissingExtraError, ModelFormatError, first_line
from rankwright.json_values import read_object
from rankwright.text.tokenizer_facts import TokenizerFacts

if TYPE_CHECKING:
    import tokenizers

CHAT_TEMPLATES = ("chat_template.jinja", "chat_template.json")
"""Files that may hold a chat template beside the tokenizer's own."""

TRUST_ADVICE = (
    "If the checkpoint brings its own code and you trust it, pass trust_remote_code=True: transformers then runs it."
)

PAIR_ROLES = ("query", "document")
"""The roles under which a chat template of a reranker finds the two texts of a pair."""

_STRUCTURED = ("content[0]", ".type", "'type'", '"type"', "message.content[")
"""What a chat template that wants contents as lists of typed parts is known by."""


def open_with_transformers(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a folder as transformers opens it.

    Args:
        folder: the transformer's folder.
        trust_remote_code: whether code in the folder may be run.

    Returns:
        A `PreTrainedTokenizerFast`.

    Raises:
        MissingExtraError: transformers, or what it needs for SentencePiece files, is not installed.
        ModelFormatError: transformers cannot open it.
    """
    needs_conversion = any(folder.glob("*.model")) and not (folder / "tokenizer.json").is_file()
    for package in ("transformers", *(("sentencepiece", "google.protobuf") if needs_conversion else ())):
        try:
            import_module(package)
        except ImportError as err:
            reason = "has no tokenizer.json" if needs_conversion else "is not one that we build ourselves"
            purpose = f"The tokenizer of {folder}, which {reason},"
            raise MissingExtraError(purpose, "train", package.removeprefix("google.")) from err
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except Exception as err:
        advice = "Download it again." if trust_remote_code else TRUST_ADVICE
        raise ModelFormatError(f"{folder}: transformers cannot open the tokenizer: {first_line(err)} {advice}") from err


def backend_of(tokenizer: Any, folder: Path) -> "tokenizers.Tokenizer":
    """The tokenizer of the `tokenizers` library inside one of transformers.

    Args:
        tokenizer: of `open_with_transformers`.
        folder: where it comes from, for the message.

    Returns:
        The backend.

    Raises:
        ModelFormatError: a tokenizer written in Python.
    """
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise ModelFormatError(
            f"{folder}: its tokenizer, a {type(tokenizer).__name__}, is written in Python and has no tokenizer.json. "
            "Only tokenizers of the tokenizers library are supported."
        )
    return backend


def facts_of(tokenizer: Any) -> TokenizerFacts:
    """Maximum length, type ids and special tokens of a tokenizer of transformers.

    Args:
        tokenizer: of `open_with_transformers`.

    Returns:
        The facts.
    """
    length = tokenizer.model_max_length
    return TokenizerFacts(
        class_name=type(tokenizer).__name__,
        model_max_length=None if length is None or length > 10**9 else int(length),
        uses_type_ids="token_type_ids" in tokenizer.model_input_names,
        truncation_side=tokenizer.truncation_side,
        special_tokens=dict(tokenizer.special_tokens_map),
    )


def has_chat_template(folder: Path) -> bool:
    """Whether a tokenizer's files hold a chat template."""
    if read_object(folder / "tokenizer_config.json").get("chat_template"):
        return True
    return any((folder / name).is_file() for name in CHAT_TEMPLATES)


def chat_renderer(tokenizer: Any, message_format: str = "auto") -> Callable[[Any, str], str]:
    """A function that writes a text, or a pair, into the chat template of a tokenizer.

    Args:
        tokenizer: of `open_with_transformers`, with a chat template.
        message_format: "flat" (contents are strings), "structured" (lists of typed parts), or "auto": by the template.

    Returns:
        Takes a text or pair, and a prompt, which becomes the system's message if it is not empty.

    Source:
        sentence-transformers 6.2.0, base/modality.py (behaviour)
    """
    template = tokenizer.chat_template
    is_flat = message_format == "flat" or (
        message_format == "auto" and isinstance(template, str) and not any(part in template for part in _STRUCTURED)
    )

    def message(role: str, text: str) -> dict[str, Any]:
        return {"role": role, "content": text if is_flat else [{"type": "text", "text": text}]}

    def render(text: str | tuple[str, str], prompt: str) -> str:
        texts = {"user": text} if isinstance(text, str) else dict(zip(PAIR_ROLES, text, strict=True))
        messages = [message("system", prompt)] if prompt else []
        messages += [message(role, content) for role, content in texts.items()]
        return str(tokenizer.apply_chat_template(messages, tokenize=False))

    return render
