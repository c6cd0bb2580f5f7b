"""Texts to token batches, by one call of the `tokenizers` library for each chunk of texts.

In: texts or pairs. Does: prompt, tokenisation, truncation `longest_first`. Out: `TokenBatch` and `Truncation`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from rankwright.errors import DataError, ModelFormatError, first_line
from rankwright.text.prefixes import encode_first
from rankwright.text.tokens import Text, TokenBatch, Truncation, pack

if TYPE_CHECKING:
    import tokenizers


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer that never changes: truncation is done here, so threads can share it.

    Attributes:
        backend: the `tokenizers.Tokenizer`, without truncation and padding.
        max_length: tokens of a text (or pair) at most, special tokens included.
        uses_type_ids: whether the model takes type ids.
        position_ids_start: see `tokens.pack`.
        keeps_end: cut at the start of a text instead of its end (truncation_side "left").
        adds_special_tokens: False for models without a transformer.
        render: writes a text or pair and the prompt into a chat template, whose end is kept when a text is cut.
        num_rows: rows of the model's table of tokens; None: enough.
    """

    backend: "tokenizers.Tokenizer"
    max_length: int
    uses_type_ids: bool = True
    position_ids_start: int | None = None
    keeps_end: bool = False
    adds_special_tokens: bool = True
    render: Callable[[Text, str], str] | None = None
    num_rows: int | None = None

    def with_max_length(self, max_length: int) -> Self:
        """The same tokenizer with another maximum length."""
        return replace(self, max_length=max_length)

    def batch(
        self, texts: Sequence[Text], *, prompt: str = "", pools_prompt: bool = True, counts_lost: bool = True
    ) -> tuple[TokenBatch, Truncation]:
        """Tokenise.

        Args:
            texts: texts, or pairs of texts; not mixed.
            prompt: put before each text (the first text of a pair).
            pools_prompt: False where pooling leaves the prompt's tokens out: their number is then kept in the batch.
            counts_lost: whether the tokens that are cut away must all be counted; if not, long texts are tokenised only
                as far as they are needed. The batch is the same.

        Returns:
            The packed tokens, and what was cut.

        Raises:
            DataError: something that is not a text, or holds a lone surrogate.
            ModelFormatError: a text holds an added token that the model has no embedding for.
        """
        check_texts(texts)
        if counts_lost or not self.takes_prefixes:
            encodings, unsure = self._encode(texts, prompt), dict[int, int]()
        else:
            encodings, unsure = encode_first(
                self.backend, _prompted(texts, prompt), self.max_length, adds_special_tokens=self.adds_special_tokens
            )
        ids_B = [encoding.ids for encoding in encodings]
        type_ids_B = [encoding.type_ids for encoding in encodings] if self.uses_type_ids else None
        truncated = [i for i, ids in enumerate(ids_B) if len(ids) > self.max_length]
        lost = sum(len(ids_B[i]) - self.max_length - unsure.get(i, 0) for i in truncated)
        for i in truncated:
            for part in dropped_tokens(encodings[i].sequence_ids, self.max_length, from_end=self.keeps_end):
                del ids_B[i][part]
                if type_ids_B is not None:
                    del type_ids_B[i][part]
            if self.render is not None:
                end = self._template_end(texts[i], prompt)[-len(ids_B[i]) :]
                ids_B[i][len(ids_B[i]) - len(end) :] = end
        batch = pack(
            ids_B,
            type_ids_B,
            position_ids_start=self.position_ids_start,
            prompt_length=self.prompt_length(prompt) if prompt and not pools_prompt else 0,
        )
        if self.num_rows is not None and batch.ids_T.max(initial=0) >= self.num_rows:
            token = int(batch.ids_T.max())
            text = int(np.searchsorted(batch.starts_B1, int(batch.ids_T.argmax()), side="right")) - 1
            raise ModelFormatError(
                f"text {text} holds {self.backend.id_to_token(token)!r}, which was added to the tokenizer with id "
                f"{token}, but the model has {self.num_rows} embeddings (vocab_size). Leave the token out, or take "
                "tokenizer and weights of one checkpoint."
            )
        return batch, Truncation(len(ids_B), len(truncated), lost, bool(unsure))

    def _encode(self, texts: Sequence[Text], prompt: str) -> list["tokenizers.Encoding"]:
        if self.render is not None:
            rendered = [self.render(text, prompt) for text in texts]
            return list(self.backend.encode_batch_fast(rendered, add_special_tokens=False))
        texts = _prompted(texts, prompt)
        return list(self.backend.encode_batch_fast(texts, add_special_tokens=self.adds_special_tokens))

    @property
    def takes_prefixes(self) -> bool:
        """Whether the first tokens of a text are all that is kept of it."""
        return self.render is None and not self.keeps_end

    def _template_end(self, like: Text, prompt: str) -> list[int]:
        """Ids that the chat template puts after every text: what two renderings of other texts end in alike."""
        fillers: tuple[Text, Text] = ("0", "1 2 3 4") if isinstance(like, str) else (("0", "0"), ("1 2 3 4", "1 2 3 4"))
        first, second = (self._encode([text], prompt)[0].ids for text in fillers)
        same = 0
        while same < min(len(first), len(second)) and first[-same - 1] == second[-same - 1]:
            same += 1
        # two renderings that are the same hold no text, so that nothing says where the end begins
        return [] if same == min(len(first), len(second)) else list(first[len(first) - same :])

    def prompt_length(self, prompt: str) -> int:
        """Tokens of the prompt after truncation, with the leading special token, without a trailing one, as in ST."""
        encoding = self.backend.encode(prompt, add_special_tokens=self.adds_special_tokens)
        has_end = bool(encoding.ids) and encoding.sequence_ids[-1] is None
        return min(len(encoding.ids), self.max_length) - has_end

    def __call__(self, texts: str | Sequence[Text]) -> dict[str, list[Any]]:
        """Ids as transformers' tokenizers return them, for one text or for each of several, not truncated."""
        if isinstance(texts, str):
            return {"input_ids": self.encode(texts)}
        check_texts(texts)
        return {"input_ids": [list(encoding.ids) for encoding in self._encode(texts, "")]}

    @property
    def vocab_size(self) -> int:
        """Tokens of the vocabulary, without those that were added to it."""
        return int(self.backend.get_vocab_size(with_added_tokens=False))

    def encode(self, text: str) -> list[int]:
        """Ids of one text, special tokens included, not truncated."""
        return list(self.backend.encode(text, add_special_tokens=self.adds_special_tokens).ids)

    def tokenize(self, text: str) -> list[str]:
        """Tokens of one text, without special tokens."""
        return list(self.backend.encode(text, add_special_tokens=False).tokens)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these ids, without special tokens."""
        return str(self.backend.decode(list(ids)))

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included, after truncation."""
        return [min(len(encoding.ids), self.max_length) for encoding in self._encode(texts, "")]

    def __len__(self) -> int:
        return int(self.backend.get_vocab_size())


def check_tokenizer(
    tokenizer: Tokenizer, place: object, *, example: Text, num_rows: int, num_types: int | None
) -> None:
    """Whether a tokenizer can encode, and has a vocabulary that the model has rows for.

    Tokens that were added may be beyond them, as in checkpoints that people have: `batch` refuses a text with one.

    Args:
        tokenizer: the tokenizer.
        place: its folder, for messages.
        example: what the model takes, a text or a pair; a rare letter in it asks for the unknown token.
        num_rows: rows of the table of tokens.
        num_types: rows of the table of types; None: the model takes no types.

    Raises:
        ModelFormatError: it cannot encode, or an id is too large.
    """
    backend = tokenizer.backend
    try:
        if tokenizer.render is not None:
            encoding = backend.encode(tokenizer.render(example, ""), add_special_tokens=False)
        else:
            first, second = (example, None) if isinstance(example, str) else example
            encoding = backend.encode(first, second, add_special_tokens=tokenizer.adds_special_tokens)
    except Exception as err:  # tokenizers and chat templates raise what they like
        raise ModelFormatError(
            f"{place}: its tokenizer cannot encode {example!r}: {first_line(err)} A special token may be missing from "
            "its vocabulary. Download the tokenizer again."
        ) from err
    size = int(backend.get_vocab_size(with_added_tokens=False))
    if size > num_rows:
        raise ModelFormatError(
            f"{place}: its tokenizer has a vocabulary of {size} tokens, but the model has only {num_rows} embeddings "
            "(vocab_size). Take tokenizer and weights of one checkpoint."
        )
    if num_types is not None and max(encoding.type_ids, default=0) >= num_types:
        raise ModelFormatError(
            f"{place}: its tokenizer gives type ids up to {max(encoding.type_ids)}, but type_vocab_size is "
            f"{num_types}. Take tokenizer and weights of one checkpoint, or leave token_type_ids out of "
            "model_input_names."
        )


def dropped_tokens(sequence_ids: Sequence[int | None], max_length: int, *, from_end: bool = False) -> list[slice]:
    """Places that `longest_first` truncation drops: the last tokens of each text, never special tokens.

    Of a pair only the longer text is cut while it stays the longer; then both are cut to the same length, the longer
    keeping the odd token. That is the rule of the `tokenizers` library (TruncationStrategy::LongestFirst).

    Args:
        sequence_ids: 0 or 1 for tokens of the first or second text, which are side by side; None for special tokens.
        max_length: tokens to keep, special tokens included.
        from_end: drop the first tokens of each text instead of the last.

    Returns:
        Slices, last first, so that one can be deleted after the other.
    """
    ids = list(sequence_ids)
    counts = [ids.count(text) for text in (0, 1)]
    room = max(0, max_length - (len(ids) - sum(counts)))
    shorter = min(counts)
    if shorter == 0:
        limits = [room, room]
    else:
        few, many = shorter, max(shorter, room - shorter)
        if few > room or few + many > room:
            few, many = room // 2, room // 2 + room % 2
        limits = [many, few] if counts[0] > counts[1] else [few, many]
    dropped = []
    for text, (count, limit) in enumerate(zip(counts, limits, strict=True)):
        if count > limit:
            first = ids.index(text) + (0 if from_end else limit)
            dropped.append(slice(first, first + count - limit))
    return sorted(dropped, key=lambda part: -part.start)


def _prompted(texts: Sequence[Text], prompt: str) -> list[Text]:
    if not prompt:
        return list(texts)
    return [prompt + text if isinstance(text, str) else (prompt + text[0], text[1]) for text in texts]


def check_texts(texts: Sequence[Any]) -> None:
    """Refuse what is not a text or a pair of texts.

    Args:
        texts: the user's input.

    Raises:
        DataError: the first bad element, with its place.
    """
    for i, text in enumerate(texts):
        parts = text if isinstance(text, (tuple, list)) else (text,)
        if not all(isinstance(part, str) for part in parts) or (len(parts) != 2 and parts is text):
            raise DataError(f"text {i} is {text!r:.80}: expected a string, or a pair of two strings.")
        for part in parts:
            if not part.isascii() and not _encodes(part):
                raise DataError(
                    f"text {i} holds a lone surrogate, which is no character: {part!r:.80}. "
                    "Read the file with the right encoding, or use text.encode('utf-8', 'replace').decode()."
                )


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
