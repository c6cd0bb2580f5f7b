"""Whatever the text, our tokens are those of sentence-transformers 6.2.0, or the text is refused."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.errors import DataError
from tests.parity.reference import our_bi_encoder, our_cross_encoder, st_bi_encoder, st_cross_encoder
from tests.texts import CORPUS, SPECIAL_TOKENS
from tests.tiny_foreign import build_foreign

LETTERS = sorted({letter for line in CORPUS for letter in line})
PIECES = st.sampled_from([*SPECIAL_TOKENS, " ", "\n", "  ", "##", "\u0301", *CORPUS[0].split()])
TEXTS = st.one_of(
    st.text(max_size=200),
    st.text(st.sampled_from(LETTERS), max_size=400),
    st.lists(PIECES, max_size=40).map("".join),
    st.text(st.sampled_from(" \t\n\u00a0\u200b\u3000a"), max_size=20),
)
"""Any characters, those that the tokenizers know, special tokens in the middle of words, and white space."""

open_ours, open_theirs = lru_cache(our_bi_encoder), lru_cache(st_bi_encoder)
open_our_pairs, open_their_pairs = lru_cache(our_cross_encoder), lru_cache(st_cross_encoder)

examples = settings(max_examples=60)


def folder_of(tiny: Any, family: str) -> Path:
    """A bi-encoder of the family."""
    return tiny.built(build_foreign, family) if family == "deberta-v2" else tiny.bi_encoder(family)


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "modernbert", "deberta-v2"])
@examples
@given(text=TEXTS)
def test_a_text_has_the_same_tokens(tiny: Any, family: str, text: str) -> None:
    folder = folder_of(tiny, family)
    engine = "torch" if family == "deberta-v2" else "openvino"
    batch, features = open_ours(folder, engine).tokenize([text]), open_theirs(folder).preprocess([text])
    assert batch.ids_T.tolist() == features["input_ids"][0].tolist()


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
@examples
@given(pair=st.tuples(TEXTS, TEXTS))
def test_a_pair_has_the_same_tokens_and_types(tiny: Any, family: str, pair: tuple[str, str]) -> None:
    folder = tiny.cross_encoder(family)
    batch, features = open_our_pairs(folder).tokenize([pair]), open_their_pairs(folder).preprocess([pair])
    assert batch.ids_T.tolist() == features["input_ids"][0].tolist()
    if "token_type_ids" in features:
        assert batch.type_ids_T is not None
        assert batch.type_ids_T.tolist() == features["token_type_ids"][0].tolist()


@pytest.mark.parametrize("family", ["bert", "deberta-v2"])
@given(start=st.text(max_size=20), surrogate=st.characters(categories=["Cs"]), end=st.text(max_size=20))
def test_a_lone_surrogate_is_refused(tiny: Any, family: str, start: str, surrogate: str, end: str) -> None:
    model = open_ours(folder_of(tiny, family), "torch")
    with pytest.raises(DataError, match="text 1 holds a lone surrogate, which is no character"):
        model.tokenize(["sound", start + surrogate + end])
