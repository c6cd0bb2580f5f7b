"""Which column is the query, the document, the label: by name, or by an explicit mapping, never by position.

In: the column names of a source. Out: role -> column name, taken by `pairs.py`.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from itertools import product

from rankwright.errors import ConfigError, DataError

QUERY_NAMES = ("query", "question", "anchor")
"""Columns that hold queries, whatever the other columns are called."""

DOCUMENT_NAMES = ("document", "passage", "answer")
"""Columns that hold documents."""

POSITIVE_NAMES = ("positive",)
"""Columns that hold documents known to answer the query."""

NUMBERED_PAIRS = (("sentence1", "sentence2"), ("sentence_0", "sentence_1"), ("text1", "text2"))
"""Column names that mean a query and a document only together."""

LABEL_NAMES = ("label", "labels", "score", "scores")
"""Columns that hold labels."""

ID_NAMES = {
    "query_id": ("query_id", "qid"),
    "document_id": ("document_id", "did", "doc_id", "docid", "corpus_id", "positive_id"),
}
"""Columns that hold ids: role -> names; `-` counts as `_`."""

ROLES = ("query", "document", "label", "positive", "negative", "query_id", "document_id")
"""What a column can be used as; `negatives`, `negative_1`, `negative_2`... are roles too."""

FLAG = "On the command line: --column ROLE=NAME."
"""How errors that show `columns = {...}` name the flag."""

_NEGATIVE = re.compile(r"negatives?(_?\d+)?")


def is_negative(role: str) -> bool:
    """Tells if a role is a negative: `negative`, `negatives`, `negative_1`, `negative_2`..."""
    return _NEGATIVE.fullmatch(role) is not None


def find_columns(found: Sequence[str], given: Mapping[str, str] | None, *, place: str) -> dict[str, str]:
    """Gives each role its column; with the role `label` the rows are labelled pairs, with `positive` positive pairs.

    Args:
        found: the columns of the source, in their order.
        given: role -> column name, where the user says so; it wins over every name.
        place: what errors call the source.

    Returns:
        Role -> column name, in the order of `found`.

    Raises:
        DataError: labels stand beside positives, or (from below) a role is missing or could be several columns.
    """
    roles = dict(given or {})
    _check_given(roles, found, place)
    names = {column: column.strip().casefold().replace("-", "_") for column in found if column not in roles.values()}
    asks_labels = "label" in roles
    asks_positives = "positive" in roles or any(map(is_negative, roles))

    document_role = _add_texts(roles, names, found=found, place=place)
    document = roles.pop(document_role)
    negatives = {name: column for column, name in names.items() if is_negative(name)}
    labels = [column for column, name in names.items() if name in LABEL_NAMES]
    if labels and (negatives or document_role == "positive") and not asks_labels and not asks_positives:
        raise DataError(
            f"{place}: labels ({_join(labels)}) stand beside positives or negatives "
            f"({_join([document, *negatives.values()])}). Say which to use: "
            f'columns = {{query = "{roles["query"]}", document = "{document}", label = "{labels[0]}"}} or '
            f'columns = {{query = "{roles["query"]}", positive = "{document}"}}. {FLAG}'
        )
    if labels and not asks_labels and not asks_positives:
        roles["label"] = _only("label", labels, found=found, place=place)
    roles["document" if "label" in roles else "positive"] = document
    if "label" not in roles and not any(map(is_negative, roles)):
        roles.update(negatives)
    for role, known in ID_NAMES.items():
        matches = [column for column, name in names.items() if name in known]
        if role not in roles and matches:
            roles[role] = _only(role, matches, found=found, place=place)
    return dict(sorted(roles.items(), key=lambda item: found.index(item[1])))


def _check_given(given: Mapping[str, str], found: Sequence[str], place: str) -> None:
    for role, column in given.items():
        if role not in ROLES and not is_negative(role):
            close = difflib.get_close_matches(role, ROLES, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigError(
                f"columns = {{{role} = {column!r}}}: unknown role {role!r}.{hint} Known roles: {', '.join(ROLES)}."
            )
        if column not in found:
            raise DataError(
                f"{place}: no column {column!r}, which columns = {{{role} = {column!r}}} asks for. "
                f"Columns found: {_join(found)}. Name one of them. {FLAG}"
            )
    repeated = [column for column in given.values() if list(given.values()).count(column) > 1]
    if repeated:
        roles = [role for role, column in given.items() if column == repeated[0]]
        raise ConfigError(f"columns = ...: {repeated[0]!r} is given as {_join(roles)}. Give each role its own column.")
    asks_positives = "positive" in given or any(map(is_negative, given))
    if asks_positives and ("label" in given or {"document", "positive"} <= given.keys()):
        raise ConfigError(
            f"columns = ...: {_join(list(given))} do not go together. Give query, document and label for labelled "
            f"pairs, or query, positive and negatives for positive pairs."
        )


def _add_texts(roles: dict[str, str], names: Mapping[str, str], *, found: Sequence[str], place: str) -> str:
    """Adds the query and the document to `roles`; gives the role of the document: "document" or "positive"."""
    given_role = next((role for role in ("positive", "document") if role in roles), None)
    queries = [roles["query"]] if "query" in roles else [c for c, name in names.items() if name in QUERY_NAMES]
    documents = (
        [roles[given_role]]
        if given_role
        else [column for column, name in names.items() if name in DOCUMENT_NAMES + POSITIVE_NAMES]
    )
    candidates = list(product(queries, documents))
    by_name = {name: column for column, name in names.items()}
    for query, document in NUMBERED_PAIRS:
        pair = (roles.get("query", by_name.get(query)), roles[given_role] if given_role else by_name.get(document))
        if pair[0] is not None and pair[1] is not None and pair not in candidates:
            candidates.append((pair[0], pair[1]))
    if len(candidates) != 1:
        options = "no query with its document" if not candidates else " or ".join(f"({q}, {d})" for q, d in candidates)
        raise DataError(
            f"{place}: {options} could be the texts; columns found: {_join(found)}. "
            f"Known names: {', '.join(QUERY_NAMES)} with {', '.join(DOCUMENT_NAMES + POSITIVE_NAMES)}; "
            f"{'; '.join(' with '.join(pair) for pair in NUMBERED_PAIRS)}. "
            f'Say which: columns = {{query = "...", document = "..."}}. {FLAG}'
        )
    roles["query"], document = candidates[0]
    document_role = given_role or ("positive" if names[document] in POSITIVE_NAMES else "document")
    roles[document_role] = document
    return document_role


def _only(role: str, columns: Sequence[str], *, found: Sequence[str], place: str) -> str:
    if len(columns) == 1:
        return columns[0]
    raise DataError(
        f"{place}: {' and '.join(map(repr, columns))} could both be the {role}; columns found: {_join(found)}. "
        f'Say which: columns = {{{role} = "{columns[0]}"}}. {FLAG}'
    )


def _join(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
