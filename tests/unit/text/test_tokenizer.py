"""Texts to token batches: truncation as the `tokenizers` library does it, prompts, and errors word by word."""

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, processors

from rankwright.errors import DataError, ModelFormatError
from rankwright.text import Truncation
from rankwright.text.tokenizer import Tokenizer, dropped_tokens

WORDS = [*"abcdefghij", "query", ":", "doc", *"01234"]
SPECIAL = {"[CLS]": 0, "[SEP]": 1, "[UNK]": 2}
TEMPLATES = {
    "BERT": ("[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1"),
    "RoBERTa": ("[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 [SEP]:0 $B:0 [SEP]:0"),
    "no special tokens": ("$A:0", "$A:0 $B:1"),
    "in front only": ("[CLS]:0 $A:0", "[CLS]:0 $A:0 $B:1"),
}


def backend(template: str) -> tokenizers.Tokenizer:
    """A tokenizer of words."""
    vocab = SPECIAL | {word: len(SPECIAL) + i for i, word in enumerate(WORDS)}
    made = tokenizers.Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    made.add_special_tokens(list(SPECIAL))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    single, pair = TEMPLATES[template]
    made.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=list(SPECIAL.items()))
    return made


TEXT = st.lists(st.sampled_from(WORDS[:10]), max_size=12).map(" ".join)
PAIR = st.tuples(TEXT, TEXT)


@pytest.mark.parametrize("template", TEMPLATES)
@given(
    texts=st.lists(TEXT, min_size=1, max_size=4) | st.lists(PAIR, min_size=1, max_size=4), max_length=st.integers(4, 20)
)
def test_truncation_is_that_of_the_tokenizers_library(
    template: str, texts: list[str] | list[tuple[str, str]], max_length: int
) -> None:
    batch, report = Tokenizer(backend(template), max_length).batch(texts)
    whole = backend(template).encode_batch(list(texts))
    reference = backend(template)
    reference.enable_truncation(max_length, strategy="longest_first")
    expected = reference.encode_batch(list(texts))
    for i, encoding in enumerate(expected):
        one = batch.select([i])
        assert one.ids_T.tolist() == encoding.ids
        assert one.type_ids_T is not None
        assert one.type_ids_T.tolist() == encoding.type_ids
    cut = [len(long.ids) - len(short.ids) for long, short in zip(whole, expected, strict=True)]
    assert report == Truncation(len(texts), sum(c > 0 for c in cut), sum(cut))


def kept(places: list[int | None], max_length: int, *, from_end: bool = False) -> list[int]:
    """What is left of the places when one slice after the other is deleted."""
    left = list(range(len(places)))
    for part in dropped_tokens(places, max_length, from_end=from_end):
        del left[part]
    return left


def test_of_a_pair_only_the_longer_text_is_cut_while_it_is_longer() -> None:
    places = [None, 0, 0, 0, 0, 0, None, 1, 1, None]  # [CLS] 5 tokens [SEP] 2 tokens [SEP]
    assert kept(places, 8) == [0, 1, 2, 3, 6, 7, 8, 9]
    assert kept(places, 6) == [0, 1, 2, 6, 7, 9]
    assert kept(places, 6, from_end=True) == [0, 4, 5, 6, 8, 9]


def test_no_room_leaves_the_special_tokens() -> None:
    assert kept([None, 0, 0, None], 2) == [0, 3]
    assert kept([None, 0, 0, None], 1) == [0, 3]


def test_the_prompt_is_put_before_each_text() -> None:
    tokenizer = Tokenizer(backend("BERT"), 32)
    batch, _ = tokenizer.batch(["a b", "c"], prompt="query: ")
    assert batch.select([0]).ids_T.tolist() == tokenizer.encode("query: a b")
    assert batch.select([1]).ids_T.tolist() == tokenizer.encode("query: c")


def test_the_prompt_is_put_before_the_first_text_of_a_pair() -> None:
    tokenizer = Tokenizer(backend("BERT"), 32)
    batch, _ = tokenizer.batch([("a", "b"), ["c", "d"]], prompt="query: ")  # type: ignore[list-item]
    assert batch.select([0]).ids_T.tolist() == tokenizer.batch([("query: a", "b")])[0].ids_T.tolist()
    assert batch.select([1]).ids_T.tolist() == tokenizer.batch([("query: c", "d")])[0].ids_T.tolist()


@pytest.mark.parametrize(("template", "length"), [("BERT", 3), ("no special tokens", 2), ("in front only", 3)])
def test_the_prompts_length_is_kept_where_pooling_leaves_it_out(template: str, length: int) -> None:
    tokenizer = Tokenizer(backend(template), 32)  # "query" and ":", behind the leading special token
    assert tokenizer.prompt_length("query: ") == length
    assert tokenizer.batch(["a"], prompt="query: ", pools_prompt=False)[0].prompt_length == length
    assert tokenizer.batch(["a"], prompt="query: ", pools_prompt=True)[0].prompt_length == 0
    assert tokenizer.batch(["a"], prompt="", pools_prompt=False)[0].prompt_length == 0


def test_a_prompt_that_is_cut_ends_as_a_text_does() -> None:
    assert Tokenizer(backend("BERT"), 3).prompt_length("query: a b") == 2, "[CLS] query [SEP], without its end"


def test_a_token_beyond_the_table_is_refused_with_its_text() -> None:
    made = backend("no special tokens")
    made.add_tokens(["new"])
    token = made.token_to_id("new")
    expected = rf"text 2 holds 'new', which was added to the tokenizer with id {token}, but the model has {token} emb"
    with pytest.raises(ModelFormatError, match=expected):
        Tokenizer(made, 32, num_rows=token).batch(["a b", "c", "new a"])
    assert Tokenizer(made, 32, num_rows=token + 1).batch(["new"])[0].ids_T.tolist() == [token]


def test_a_model_without_types_gets_none() -> None:
    assert Tokenizer(backend("BERT"), 32, uses_type_ids=False).batch([("a", "b")])[0].type_ids_T is None


def test_positions_start_where_the_model_says() -> None:
    tokenizer = Tokenizer(backend("BERT"), 32, position_ids_start=SPECIAL["[UNK]"])
    # [CLS] a [UNK] [SEP]: the unknown token stands for padding here
    assert tokenizer.batch(["a unheard"])[0].position_ids_T.tolist() == [3, 4, 2, 5]


def test_another_maximum_length_leaves_the_first_tokenizer_alone() -> None:
    long = Tokenizer(backend("BERT"), 32)
    short = long.with_max_length(4)
    assert short.batch(["a b c d"])[0].num_tokens == 4
    assert long.batch(["a b c d"])[0].num_tokens == 6
    assert long.backend.truncation is None


def test_tokens_are_counted_after_truncation() -> None:
    assert Tokenizer(backend("BERT"), 5).count(["a", "a b c d e f"]) == [3, 5]


def test_encode_tokenize_and_decode_show_the_tokens() -> None:
    tokenizer = Tokenizer(backend("BERT"), 4)
    assert tokenizer.encode("a b c d") == [0, 3, 4, 5, 6, 1]
    assert tokenizer.tokenize("a b unheard") == ["a", "b", "[UNK]"]
    assert tokenizer.decode([0, 3, 4, 1]) == "a b"
    assert len(tokenizer) == len(WORDS) + len(SPECIAL)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", None], "text 1 is None: expected a string, or a pair of two strings."),
        ([3.5], "text 0 is 3.5: expected a string, or a pair of two strings."),
        ([b"bytes"], "text 0 is b'bytes': expected a string, or a pair of two strings."),
        ([("a", "b", "c")], "text 0 is ('a', 'b', 'c'): expected a string, or a pair of two strings."),
        ([("a",)], "text 0 is ('a',): expected a string, or a pair of two strings."),
        ([("a", float("nan"))], "text 0 is ('a', nan): expected a string, or a pair of two strings."),
        (
            ["fine", "half \ud83d"],
            r"text 1 holds a lone surrogate, which is no character: 'half \ud83d'. "
            "Read the file with the right encoding, or use text.encode('utf-8', 'replace').decode().",
        ),
    ],
)
def test_what_is_no_text_is_an_error_that_names_its_place(texts: list[object], message: str) -> None:
    with pytest.raises(DataError) as caught:
        Tokenizer(backend("BERT"), 8).batch(texts)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_a_long_bad_text_is_shortened_in_the_error() -> None:
    with pytest.raises(DataError) as caught:
        Tokenizer(backend("BERT"), 8).batch([b"x" * 10_000])  # type: ignore[list-item]
    assert len(str(caught.value)) < 200


def test_counts_are_those_of_the_tokens_that_the_model_gets() -> None:
    bare = Tokenizer(backend("BERT"), 20, adds_special_tokens=False)
    assert bare.count(["a b", "c"]) == [2, 1]
    assert bare(["a b", "c"]) == {"input_ids": [[3, 4], [5]]}
    chat = Tokenizer(backend("BERT"), 4, render=lambda text, prompt: f"query : {text} doc")
    assert chat.count(["a", "a b c"]) == [4, 4]


def render(text: str | tuple[str, str], prompt: str) -> str:
    """A chat template: the prompt, the text, and an end."""
    return f"{prompt} query {text} : doc"


@pytest.mark.parametrize(("max_length", "kept"), [(7, "query a b c d : doc"), (5, "query a b : doc"), (2, ": doc")])
def test_the_end_of_a_chat_template_is_kept_when_a_text_is_cut(max_length: int, kept: str) -> None:
    tokenizer = Tokenizer(backend("BERT"), max_length, render=render)
    batch, report = tokenizer.batch(["a b c d"])
    assert [([*SPECIAL, *WORDS])[i] for i in batch.ids_T] == kept.split()
    assert report.tokens_lost == 7 - max_length


def test_a_template_without_the_text_has_no_end_to_keep() -> None:
    tokenizer = Tokenizer(backend("BERT"), 2, render=lambda text, prompt: "a b c d")
    assert tokenizer.batch(["query"])[0].ids_T.tolist() == [3, 4]
