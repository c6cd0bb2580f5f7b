import pytest
from huggingface_hub import ModelCard

from rankwright.card import markdown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a | b", "a &#124; b"),
        ("`code`", "&#96;code&#96;"),
        ("one\ntwo\r\nthree\rfour", "one<br>two<br>three<br>four"),
        ("<script>&amp;", "&lt;script&gt;&amp;amp;"),
        ("**bold** [link](x) $x$", "&#42;&#42;bold&#42;&#42; &#91;link&#93;(x) &#36;x&#36;"),
        ("snake_case _emphasis_", "snake_case &#95;emphasis&#95;"),
        ("a\x00b\u2028c", "a b c"),
        ("Zażółć gęślą jaźń, Столица, 🤗", "Zażółć gęślą jaźń, Столица, 🤗"),
    ],
)
def test_text_stays_text_in_markdown(text: str, shown: str) -> None:
    assert markdown.plain(text) == shown


def test_a_text_of_1000_characters_is_whole_and_a_longer_one_is_cut() -> None:
    assert markdown.plain("ż" * 1000) == "ż" * 1000
    assert markdown.plain("ż" * 1001) == "ż" * 1000 + "..."


def test_a_list_shows_its_first_five_elements() -> None:
    assert markdown.code(list("abcdef")) == "<code>&#91;a, b, c, d, e, ...&#93;</code>"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.123456, "0.1235"), (1.0, "1.0000"), (-0.5, "-0.5000"), (0.00012346, "0.0001235"), (0.0, "0.0000"), (7, "7")],
)
def test_numbers_have_four_digits(value: float, shown: str) -> None:
    assert markdown.number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(59.94, "59.9 seconds"), (60, "1.0 minutes"), (3600, "1.0 hours"), (86400 * 2.5, "2.5 days")],
)
def test_times_are_in_the_unit_that_reads_best(seconds: float, shown: str) -> None:
    assert markdown.duration(seconds) == shown


def test_backticks_in_a_text_do_not_close_its_fence() -> None:
    text = "a\n````\nb"
    assert markdown.fence(text, "text") == f"`````text\n{text}\n`````"


def test_a_table_has_as_many_cells_in_every_line() -> None:
    made = markdown.table(["a", "b"], [[markdown.plain("x | y"), "1"], ["z", "2"]])
    assert [line.count("|") for line in made.split("\n")] == [3, 3, 3, 3]


def test_three_dashes_in_a_widget_text_do_not_end_the_yaml() -> None:
    # The card classes find the end of the YAML by its "---" line; a text must not look like one.
    from huggingface_hub import ModelCardData

    yaml = ModelCardData(widget=[{"source_sentence": "a\n---\nb", "sentences": ["ż"]}]).to_yaml()
    card = ModelCard(f"---\n{yaml}\n---\n\n# Title\n")
    assert card.data.widget[0]["source_sentence"] == "a\n---\nb"
