"""Long texts, tokenised only as far as their first tokens are needed.

In: texts, of which the first so many tokens will be kept. Does: tokenises a prefix, and the whole text where that does
not settle them. Out: encodings whose first tokens are those of the whole texts.

A tokenizer normalises a text, splits it into words and turns each word into tokens by itself. So the words of a prefix
are those of the text, but for the last ones: the cut may split a word, or a token that was added as a whole, into as
many words as that has characters. One that does not split has one word, and its texts are tokenised whole.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rankwright.text.tokens import Text

if TYPE_CHECKING:
    import tokenizers

CHARS_PER_TOKEN, FEW_CHARS = 8, 512
"""Characters of a prefix: so many for each token that is kept, and these. Words of most languages have fewer."""

WORTH = 2
"""A text is at least so many prefixes long, so that little is lost where the prefix does not settle it."""

SPARE_WORDS = 8
"""Words that are never used of a prefix, beside those of the longest added token."""


def prefix_chars(max_length: int) -> int:
    """Characters of a prefix.

    Args:
        max_length: tokens that are kept of a text.

    Returns:
        How many.
    """
    return CHARS_PER_TOKEN * max_length + FEW_CHARS


def encode_first(
    backend: "tokenizers.Tokenizer", texts: Sequence[Text], max_length: int, *, adds_special_tokens: bool
) -> tuple[list["tokenizers.Encoding"], dict[int, int]]:
    """Encodings of texts, of long ones perhaps only of their first words.

    Args:
        backend: without truncation.
        texts: texts or pairs.
        max_length: tokens that will be kept of a text or pair, by `longest_first`, special tokens included.
        adds_special_tokens: whether the backend is to add them.

    Returns:
        An encoding for each text, with more than `max_length` tokens if the text has; and of each that is of a prefix,
        by its place, how many of its last tokens the text may not have.
    """
    size = prefix_chars(max_length)
    long = [i for i, text in enumerate(texts) if max(map(len, _parts(text))) > WORTH * size]
    settled: dict[int, tokenizers.Encoding] = {}
    unsure: dict[int, int] = {}
    if long:
        spare = SPARE_WORDS + max((len(t.content) for t in backend.get_added_tokens_decoder().values()), default=0)
        prefixes = [_prefix(texts[i], size) for i in long]
        # not the fast variant, which does not tell words apart
        for i, encoding in zip(
            long, backend.encode_batch(prefixes, add_special_tokens=adds_special_tokens), strict=True
        ):
            found = _num_unsure(encoding, [len(part) > size for part in _parts(texts[i])], max_length, spare)
            if found is not None:
                settled[i], unsure[i] = encoding, found
    others = [i for i in range(len(texts)) if i not in settled]
    whole = backend.encode_batch_fast([texts[i] for i in others], add_special_tokens=adds_special_tokens)
    encodings = settled | dict(zip(others, whole, strict=True))
    return [encodings[i] for i in range(len(texts))], unsure


def _parts(text: Text) -> Sequence[str]:
    return (text,) if isinstance(text, str) else text


def _prefix(text: Text, size: int) -> Text:
    return text[:size] if isinstance(text, str) else (text[0][:size], text[1][:size])


def _num_unsure(encoding: "tokenizers.Encoding", is_cut: Sequence[bool], max_length: int, spare: int) -> int | None:
    """How many last tokens of a prefix may not be those of the text; None: perhaps one that truncation keeps."""
    words: list[list[int]] = [[] for _ in is_cut]
    for part, word in zip(encoding.sequence_ids, encoding.word_ids, strict=True):
        if part is not None:
            words[part].append(-1 if word is None else word)
    if len(words) == 2 and min(map(len, words)) > max_length:
        return None  # which of the two is longer decides which one keeps the odd token
    unsure = 0
    for numbers in (numbers for cut, numbers in zip(is_cut, words, strict=True) if cut):
        if len(numbers) <= max_length or -1 in numbers or numbers[max_length] + spare > numbers[-1]:
            return None
        unsure += sum(word + spare > numbers[-1] for word in numbers)
    return unsure
