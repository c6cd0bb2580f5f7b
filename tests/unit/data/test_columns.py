"""Roles of columns: by name, by mapping, and never guessed."""

from re import escape

import pytest

from rankwright.data.columns import find_columns
from rankwright.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("query document label", "query document label"),
        ("label document query", "label document query"),
        ("sentence1 sentence2 score", "query document label"),
        ("sentence_0 sentence_1 labels", "query document label"),
        ("text1 text2 scores", "query document label"),
        ("Query Passage Label", "query document label"),
        ("query passage", "query positive"),
        ("question answer", "query positive"),
        ("anchor positive", "query positive"),
        ("positive anchor", "positive query"),
        ("anchor positive negative", "query positive negative"),
        ("query positive negative_1 negative_2", "query positive negative_1 negative_2"),
        ("query positive negatives", "query positive negatives"),
        ("qid did query document label", "query_id document_id query document label"),
        ("query-id corpus-id query document label", "query_id document_id query document label"),
        ("query_id query positive document_id", "query_id query positive document_id"),
        ("sentence1 sentence2 label topic stance id", "query document label"),
    ],
)
def test_roles_are_found_by_name_in_the_order_of_the_file(found: str, expected: str) -> None:
    columns = found.split()
    roles = find_columns(columns, None, place="f.csv")
    assert list(roles) == expected.split()
    assert list(roles.values()) == columns[: len(roles)]


@pytest.mark.parametrize(
    ("found", "given", "expected"),
    [
        ("title body grade", {"query": "title", "document": "body", "label": "grade"}, "title body grade"),
        ("title document label", {"query": "title"}, "title document label"),
        ("query body label", {"document": "body"}, "query body label"),
        ("query document label score", {"label": "score"}, "query document score"),
        ("premise sentence2 label", {"query": "premise"}, "premise sentence2 label"),
        ("answer passage label", {"query": "answer"}, "answer passage label"),
    ],
)
def test_mapping_wins_and_names_fill_the_rest(found: str, given: dict[str, str], expected: str) -> None:
    roles = find_columns(found.split(), given, place="f.csv")
    assert roles == dict(zip(("query", "document", "label"), expected.split(), strict=True))


def test_a_named_id_leaves_the_others_out() -> None:
    roles = find_columns(["query", "document", "qid", "key"], {"query_id": "key"}, place="f")
    assert roles == {"query": "query", "positive": "document", "query_id": "key"}


def test_space_around_a_name_is_no_part_of_it() -> None:
    """As in a header that is written "query, document"."""
    assert find_columns(["query", " document "], None, place="f") == {"query": "query", "positive": " document "}


def test_naming_a_positive_leaves_the_labels_out() -> None:
    roles = find_columns(
        ["sentence1", "sentence2", "label"], {"query": "sentence1", "positive": "sentence2"}, place="f"
    )
    assert roles == {"query": "sentence1", "positive": "sentence2"}


def test_naming_a_label_leaves_the_negatives_out() -> None:
    given = {"document": "positive", "label": "label"}
    roles = find_columns(["query", "positive", "negative", "label", "score"], given, place="f")
    assert roles == {"query": "query", "document": "positive", "label": "label"}


def test_named_negatives_leave_the_others_out() -> None:
    roles = find_columns(["query", "positive", "negative_1", "hard"], {"negative": "hard"}, place="f")
    assert roles == {"query": "query", "positive": "positive", "negative": "hard"}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            "premise hypothesis label",
            "f.csv: no query with its document could be the texts; columns found: 'premise', ",
        ),
        ("query text label", "f.csv: no query with its document could be the texts; columns found: 'query', 'text', "),
        ("sentence1 sentence2 query document", "f.csv: (query, document) or (sentence1, sentence2) could be the texts"),
        ("query question answer", "f.csv: (query, answer) or (question, answer) could be the texts"),
        ("query document label score", "f.csv: 'label' and 'score' could both be the label; columns found: 'query', "),
        ("query document qid query_id", "f.csv: 'qid' and 'query_id' could both be the query_id; columns found: "),
        ("query positive label", "f.csv: labels ('label') stand beside positives or negatives ('positive'). Say which"),
        (
            "query document negative score",
            "f.csv: labels ('score') stand beside positives or negatives ('document', 'negative'). Say which to use: "
            'columns = {query = "query", document = "document", label = "score"} or '
            'columns = {query = "query", positive = "document"}.',
        ),
    ],
)
def test_missing_and_ambiguous_roles_are_refused(found: str, message: str) -> None:
    with pytest.raises(DataError, match=escape(message)):
        find_columns(found.split(), None, place="f.csv")


@pytest.mark.parametrize(
    "found", ["a b", "query document label score", "query document qid query_id", "query positive label"]
)
def test_every_refusal_shows_the_mapping(found: str) -> None:
    with pytest.raises(DataError, match=escape("columns = {")):
        find_columns(found.split(), None, place="f.csv")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            {"qurey": "a"},
            ConfigError,
            "columns = {qurey = 'a'}: unknown role 'qurey'. Did you mean 'query'? Known roles",
        ),
        ({"x": "a"}, ConfigError, "columns = {x = 'a'}: unknown role 'x'. Known roles: query, document, label"),
        (
            {"query": "c"},
            DataError,
            "f.csv: no column 'c', which columns = {query = 'c'} asks for. Columns found: 'a', ",
        ),
        ({"query": "a", "document": "a"}, ConfigError, "'a' is given as 'query', 'document'. Give each role its own"),
        ({"document": "a", "positive": "b"}, ConfigError, "'document', 'positive' do not go together. Give query, "),
        ({"positive": "a", "label": "b"}, ConfigError, "'positive', 'label' do not go together. Give query, document"),
        ({"negative_1": "a", "label": "b"}, ConfigError, "'negative_1', 'label' do not go together. Give query, "),
    ],
)
def test_mapping_that_makes_no_sense_is_refused(given: dict[str, str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=escape(message)):
        find_columns(["a", "b"], given, place="f.csv")
