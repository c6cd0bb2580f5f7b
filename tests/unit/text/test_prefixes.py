"""Long texts are tokenised as far as they are needed, and give the tokens that they have as a whole."""

from collections.abc import Callable
from unittest.mock import patch

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, models, pre_tokenizers

from rankwright.text import prefixes
from rankwright.text.tokenizer import Tokenizer
from tests.texts import CORPUS
from tests.tiny import modernbert_bytes, mpnet_wordpiece, roberta_bytes, unigram, wordpiece
from tests.tiny_foreign import bracketed_unigram, qwen_bytes

LONG_TOKEN = "<a token of many words>"


def not_split() -> tokenizers.Tokenizer:
    """A tokenizer for which a text is one word, as in early language models."""
    vocabulary = {"a": 0, "b": 1, " ": 2, "ab": 3, "b ": 4}
    made = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b"), ("b", " ")]))
    made.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    return made


MAKERS = (
    wordpiece,
    mpnet_wordpiece,
    roberta_bytes,
    modernbert_bytes,
    unigram,
    bracketed_unigram,
    qwen_bytes,
    not_split,
)
MADE: dict[str, tokenizers.Tokenizer] = {make.__name__: make() for make in MAKERS}
for made in MADE.values():
    made.add_tokens([AddedToken(LONG_TOKEN, normalized=False)])

ODD = ("x" * 150, "e\u0301" * 30, "\u0301" * 40, "\u65e5\u672c\u8a9e", "\u0130\u03a3\u03c2", "\U0001f917", "\ufeff")
WORDS = st.sampled_from([*" ".join(CORPUS).split(), *ODD])
PIECES = st.one_of(
    WORDS,
    WORDS,
    st.sampled_from(["[MASK]", "<mask>", "[SEP]", LONG_TOKEN, LONG_TOKEN[:20], "don't", "3.14", "a_b-c", "...!?"]),
    st.sampled_from([" ", "\n", "\t", "   ", "\u3000", "\r\n" * 5, " " * 30]),
)
TEXT = st.lists(st.tuples(PIECES, st.sampled_from([" ", " ", " ", "", "\n"])), min_size=20, max_size=150).map(
    lambda pieces: "".join(part for piece in pieces for part in piece)
)


@pytest.mark.parametrize("name", MADE)
@given(
    texts=st.lists(TEXT, min_size=1, max_size=3) | st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3),
    max_length=st.integers(6, 24),
    few=st.integers(1, 500),
    prompt=st.sampled_from(["", "query: "]),
)
def test_a_prefix_gives_the_tokens_of_the_whole_text(
    name: str, texts: list[str] | list[tuple[str, str]], max_length: int, few: int, prompt: str
) -> None:
    """With prefixes so short that many end within a word, an added token, or a run of spaces."""
    tokenizer = Tokenizer(MADE[name], max_length)
    expected, exact = tokenizer.batch(texts, prompt=prompt)
    with (
        patch.object(prefixes, "CHARS_PER_TOKEN", 4),
        patch.object(prefixes, "FEW_CHARS", few),
        patch.object(prefixes, "WORTH", 1),
    ):
        found, report = tokenizer.batch(texts, prompt=prompt, counts_lost=False)
    assert found.starts_B1.tolist() == expected.starts_B1.tolist()
    assert found.ids_T.tolist() == expected.ids_T.tolist()
    assert found.type_ids_T is not None and expected.type_ids_T is not None
    assert found.type_ids_T.tolist() == expected.type_ids_T.tolist()
    assert (report.num_texts, report.num_truncated) == (exact.num_texts, exact.num_truncated)
    assert exact.num_truncated <= report.tokens_lost <= exact.tokens_lost if report.at_least else report == exact


@pytest.fixture
def given_texts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """A function that tells which texts a tokenizer was given whole."""

    class Counting:
        def __init__(self, backend: tokenizers.Tokenizer) -> None:
            self.backend, self.whole = backend, list[str]()

        def __getattr__(self, name: str) -> object:
            return getattr(self.backend, name)

        def encode_batch_fast(self, texts: list[str], **options: bool) -> object:
            self.whole += texts
            return self.backend.encode_batch_fast(texts, **options)

    def run(backend: tokenizers.Tokenizer, texts: list[str], **settings: bool) -> list[str]:
        counting = Counting(backend)
        Tokenizer(counting, 16, **settings).batch(texts, counts_lost=False)  # type: ignore[arg-type]  # stands in
        return counting.whole

    return run


def test_what_a_prefix_settles_is_not_tokenised_further(given_texts: Callable[..., list[str]]) -> None:
    long, short = " ".join(CORPUS) * 20, CORPUS[0]
    assert given_texts(MADE["wordpiece"], [long, short]) == [short]
    assert given_texts(MADE["wordpiece"], [long, short], keeps_end=True) == [long, short]
    assert given_texts(MADE["wordpiece"], ["\n" * 10_000 + long]) == ["\n" * 10_000 + long], "too few tokens in front"
    assert given_texts(MADE["not_split"], [long]) == [long], "one word, whose end may change its beginning"


def test_a_long_added_token_is_not_taken_for_words() -> None:
    """The cut makes many words of it, none of which the text has."""
    backend = wordpiece()
    token = "of " * 60
    backend.add_tokens([AddedToken(token, normalized=False)])
    text = "of the " * 4 + token * 20 + "of " * 2000
    tokenizer = Tokenizer(backend, 24)
    with patch.multiple(prefixes, FEW_CHARS=0):
        assert tokenizer.batch([text], counts_lost=False)[0].ids_T.tolist() == tokenizer.batch([text])[0].ids_T.tolist()
