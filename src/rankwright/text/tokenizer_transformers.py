"""Tokenizers that only transformers can make: converted vocabularies, those of families not ours, chat templates.

In: a folder. Out: the `tokenizers.Tokenizer` inside a tokenizer of transformers, and what renders its chat template.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankwright.errors import MissingExtraError, ModelFormatError, first_line
from rankwright.json_values import LENGTH, OBJECT, TEXT, TEXTS, Expected, one_of_texts, read_object, value_of
from rankwright.text.tokenizer_facts import TokenizerFacts

if TYPE_CHECKING:
    import tokenizers

CHAT_TEMPLATES = ("chat_template.jinja", "chat_template.json")
"""Files that may hold a chat template beside the tokenizer's own."""

TRUST_ADVICE = "If you trust the code in its folder, pass trust_remote_code=True: transformers then runs it."

JSON_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")

CONFIG_KEYS: dict[str, Expected] = {
    "tokenizer_class": TEXT,
    "model_max_length": LENGTH,
    "max_len": LENGTH,
    "model_input_names": TEXTS,
    "truncation_side": one_of_texts("left", "right"),
    "added_tokens_decoder": OBJECT,
}
"""What the keys of tokenizer_config.json must be like."""

_VOCABULARIES = (
    "tokenizer.json",
    "*vocab*.txt",
    "*vocab*.json",
    "*.model",
    "*.spm",
    "*.bpe*",
    "*.tiktoken",
    "tekken.json",
)

PAIR_ROLES = ("query", "document")
"""The roles under which a chat template of a reranker finds the two texts of a pair."""

_SETTINGS = threading.RLock()

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
    config = _checked_config(folder, trust_remote_code=trust_remote_code)
    needs_conversion = any(folder.glob("*.model")) and not (folder / "tokenizer.json").is_file()
    for package in ("transformers", *(("sentencepiece", "google.protobuf") if needs_conversion else ())):
        try:
            import_module(package)
        except ImportError as err:
            reason = "has no tokenizer.json" if needs_conversion else "is not one that we build ourselves"
            purpose = f"The tokenizer of {folder}, which {reason},"
            raise MissingExtraError(purpose, "train", package.removeprefix("google.")) from err
    from transformers import AutoTokenizer
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    name = config.get("tokenizer_class")
    brings_code = "auto_map" in config and not trust_remote_code
    if brings_code and name and tokenizer_class_from_name(name) is None:
        raise ModelFormatError(about_code(folder, name))
    try:
        with quietly():
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except Exception as err:
        for file in JSON_FILES:
            read_object(folder / file)  # names the one that is damaged
        advice = TRUST_ADVICE if brings_code else "Download it again."
        raise ModelFormatError(f"{folder}: transformers cannot open the tokenizer: {first_line(err)} {advice}") from err


@contextmanager
def quietly() -> Iterator[None]:
    """No progress bars and load reports of transformers, and no question to the Hub about who is asking.

    What matters in the reports, our own messages say. One thread at a time, for the settings are those of the process.
    """
    from huggingface_hub import constants
    from transformers.utils import logging

    output: Any = logging
    with _SETTINGS:
        verbosity, telemetry = output.get_verbosity(), constants.HF_HUB_DISABLE_TELEMETRY
        output.set_verbosity_error()
        constants.HF_HUB_DISABLE_TELEMETRY = True
        set_hook = getattr(output, "set_tqdm_hook", None)  # early versions of transformers 5 have none
        hook = set_hook and set_hook(lambda factory, args, kwargs: output.EmptyTqdm(*args, **kwargs))
        try:
            yield
        finally:
            output.set_verbosity(verbosity)
            constants.HF_HUB_DISABLE_TELEMETRY = telemetry
            if set_hook:
                set_hook(hook)


def about_code(folder: Path, name: str) -> str:
    """What to say of a tokenizer whose class the checkpoint brings.

    Args:
        folder: the transformer's folder.
        name: the class.

    Returns:
        The message of an error.
    """
    path = folder / "tokenizer_config.json"
    return f"{path}: its tokenizer_class {name!r} is code that the checkpoint brings. {TRUST_ADVICE}"


def check_vocabulary(folder: Path) -> None:
    """Looks for a vocabulary: without one transformers makes a tokenizer that knows no word, and says nothing.

    Args:
        folder: the transformer's folder.

    Raises:
        ModelFormatError: there is none.
    """
    if not any(path.is_file() for pattern in _VOCABULARIES for path in folder.glob(pattern)):
        raise ModelFormatError(
            f"{folder} holds no tokenizer: expected tokenizer.json, or vocab.txt, or vocab.json and merges.txt. "
            "Save it there with save_pretrained of its tokenizer."
        )


def _checked_config(folder: Path, *, trust_remote_code: bool) -> dict[str, Any]:
    """What tokenizer_config.json says, with the values checked that transformers takes unseen."""
    if not trust_remote_code:  # code may read files of any name
        check_vocabulary(folder)
    path = folder / "tokenizer_config.json"
    config = read_object(path)
    for key, expected in CONFIG_KEYS.items():
        value_of(config, key, expected, path)
    return config


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
            "We run those of the tokenizers library only: use sentence-transformers for this model."
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


def chat_renderer(
    tokenizer: Any, message_format: str = "auto", options: Mapping[str, Any] | None = None
) -> Callable[[Any, str], str]:
    """A function that writes a text, or a pair, into the chat template of a tokenizer.

    Args:
        tokenizer: of `open_with_transformers`, with a chat template.
        message_format: "flat" (contents are strings), "structured" (lists of typed parts), or "auto": by the template.
        options: what the template is told beside the messages, such as {"add_generation_prompt": True}.

    Returns:
        Takes a text or pair, and a prompt, which becomes the system's message if it is not empty.

    Source:
        sentence-transformers 6.2.0, base/modality.py (behaviour)
    """
    template = tokenizer.chat_template
    is_flat = message_format == "flat" or (
        message_format == "auto" and isinstance(template, str) and not any(part in template for part in _STRUCTURED)
    )
    return partial(_rendered, partial(tokenizer.apply_chat_template, tokenize=False, **(options or {})), is_flat)


def _rendered(apply: Callable[[Any], str], is_flat: bool, text: str | tuple[str, str], prompt: str) -> str:
    texts = {"system": prompt} if prompt else {}
    texts |= {"user": text} if isinstance(text, str) else dict(zip(PAIR_ROLES, text, strict=True))
    messages = [
        {"role": role, "content": content if is_flat else [{"type": "text", "text": content}]}
        for role, content in texts.items()
    ]
    return str(apply(messages))
