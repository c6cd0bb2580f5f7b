"""Queries, documents and judgments of a BEIR folder, with a TREC run to rerank where one is given.

In: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv. Out: a `RetrievalSet`, taken by `evaluation/`; positive pairs,
taken by `training/`.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from rankwright.data.cells import Column, RowError, build_all, check_text, id_of, label_of, value_of
from rankwright.data.rows import Row, read_jsonl, read_lines, read_tsv, shorten
from rankwright.errors import DataError
from rankwright.records import PositivePair, RetrievalSet, Run

QRELS_COLUMNS = ("query-id", "corpus-id", "score")
"""The header of a BEIR qrels file."""

_ID = Column("_id", "id")
_QUERY_ID, _DOCUMENT_ID = Column("query-id", "query id"), Column("corpus-id", "document id")
_SCORE = Column("score", "judgment")


def is_retrieval_folder(folder: Path) -> bool:
    """Tells if a path is a BEIR folder."""
    return (folder / "corpus.jsonl").is_file()


def document_text(title: str, text: str) -> str:
    """Gives the text that stands for a document: the title, a space and the text, as BEIR and ST join them."""
    return f"{title} {text}" if title and text else title or text


def read_retrieval(
    folder: str | Path, *, split: str | None = None, first_stage: str | Path | None = None
) -> RetrievalSet:
    """Gives the judged queries of a split with the whole corpus; a flaw of a file is a `DataError`.

    Args:
        folder: a BEIR folder.
        split: the name of a file in qrels/; default test, else dev, else the only one.
        first_stage: a run in the TREC format, `query-id Q0 document-id rank score tag`.

    Returns:
        The set, named "folder/split"; queries without a judgment in the split are left out.

    Example:
        >>> read_retrieval("data/scifact", split="test").name  # doctest: +SKIP
        'scifact/test'
    """
    folder = Path(folder)
    split = _choose_split(folder, split)
    documents = _read_by_id(folder / "corpus.jsonl", document_of)
    queries = _read_by_id(folder / "queries.jsonl", lambda row: check_text(value_of(row, "text"), "column 'text'"))
    qrels = _read_qrels(folder / "qrels" / f"{split}.tsv", queries, documents)
    return RetrievalSet(
        name=f"{folder.name}/{split}",
        queries={query_id: text for query_id, text in queries.items() if query_id in qrels},
        documents=documents,
        qrels=qrels,
        first_stage=_read_run(Path(first_stage), queries, documents, qrels) if first_stage is not None else None,
    )


def _choose_split(folder: Path, split: str | None) -> str:
    missing = [name for name in ("corpus.jsonl", "queries.jsonl", "qrels") if not (folder / name).exists()]
    if missing:
        raise DataError(
            f"{folder}: no {' and no '.join(missing)}. "
            f"A BEIR folder has corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv."
        )
    splits = sorted(path.stem for path in (folder / "qrels").glob("*.tsv"))
    if split in splits:
        return split
    preferred = [name for name in ("test", "dev", *splits[: len(splits) == 1]) if name in splits]
    if split is None and preferred:
        return preferred[0]
    given = "no split was given" if split is None else f"no split {split!r}"
    raise DataError(
        f"{folder}: {given}. Name one of qrels/ ({', '.join(splits) or 'it has no .tsv file'}): to train on it with "
        "--set data.train_split=NAME, to measure on it with --set data.eval_split=NAME of train or --split NAME of "
        "evaluate."
    )


def _read_by_id(path: Path, text_of_row: Callable[[Row], str]) -> dict[str, str]:
    texts: dict[str, str] = {}

    def build(row: Row) -> None:
        key = id_of(row, _ID)
        if key in texts:
            raise RowError(f"the id {key!r} in column '_id' was there before", "Give each row an id of its own.")
        texts[key] = text_of_row(row)

    build_all(read_jsonl(path), build, place=str(path), unit="line")
    return texts


def document_of(row: Row) -> str:
    """Gives the text of a row with a `text` and perhaps a `title`, one of which may be empty.

    Args:
        row: the row.

    Returns:
        The text that stands for the document.

    Raises:
        RowError: both are empty, or one is no text.
    """
    title, text = row.get("title") or "", value_of(row, "text") or ""
    if not (isinstance(title, str) and isinstance(text, str)):
        raise RowError(
            f"title {shorten(title)} and text {shorten(text)} are not both texts", "Write title and text as strings."
        )
    return check_text(document_text(title, text), "columns 'title' and 'text'")


def _read_qrels(path: Path, queries: Mapping[str, str], documents: Mapping[str, str]) -> dict[str, dict[str, float]]:
    qrels: dict[str, dict[str, float]] = {}

    def build(row: Row) -> None:
        if tuple(row) != QRELS_COLUMNS:
            raise RowError(
                f"the columns are {', '.join(map(repr, row))}", f"The first line must be {'<TAB>'.join(QRELS_COLUMNS)}."
            )
        query_id, document_id = (id_of(row, column) for column in (_QUERY_ID, _DOCUMENT_ID))
        _check_ids(query_id, document_id, queries, documents)
        grade = label_of(row, _SCORE)
        if qrels.setdefault(query_id, {}).setdefault(document_id, grade) != grade:
            raise RowError(
                f"query {query_id!r} and document {document_id!r} have score {grade:g} here "
                f"and {qrels[query_id][document_id]:g} before",
                "Keep one judgment of a pair.",
            )

    build_all(read_tsv(path), build, place=str(path), unit="line")
    if not qrels:
        raise DataError(f"{path}: no judgments. Add lines below the header, or choose another split.")
    return qrels


def _check_ids(query_id: str, document_id: str, queries: Mapping[str, str], documents: Mapping[str, str]) -> None:
    if query_id not in queries:
        raise RowError(f"the query {shorten(query_id)} is not in queries.jsonl", "Add the query or remove the line.")
    if document_id not in documents:
        raise RowError(
            f"the document {shorten(document_id)} is not in corpus.jsonl", "Add the document or remove the line."
        )


def _read_run(path: Path, queries: Mapping[str, str], documents: Mapping[str, str], qrels: Mapping[str, object]) -> Run:
    """Reads a run in the TREC format, keeping the judged queries; ranks and order of lines say nothing, scores do."""
    if not path.is_file():
        raise DataError(f"{path}: no such file. Give first_stage a run in the TREC format.")
    run: dict[str, dict[str, float]] = {}

    def build(row: Row) -> None:
        fields = str(row["line"]).split()
        score = _finite(fields[4]) if len(fields) == 6 else None
        if score is None:
            raise RowError(
                f"{shorten(str(row['line']).strip())} is no line of a run",
                "Write `query-id Q0 document-id rank score tag`, with a number as score.",
            )
        query_id, document_id = fields[0], fields[2]
        _check_ids(query_id, document_id, queries, documents)
        if query_id not in qrels:
            return
        if document_id in run.setdefault(query_id, {}):
            raise RowError(f"the document {document_id!r} is there twice for query {query_id!r}", "Keep one line.")
        run[query_id][document_id] = score

    lines = ((number, {"line": line}) for number, line in read_lines(path) if not line.isspace())
    build_all(lines, build, place=str(path), unit="line")
    if not run:
        raise DataError(f"{path}: no query of this run has a judgment in the split. Give the run of the same split.")
    return run


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def retrieval_to_pairs(retrieval: RetrievalSet) -> list[PositivePair]:
    """Gives a positive pair for each judgment above 0, in the order of the judgments.

    Args:
        retrieval: queries, documents and judgments.

    Returns:
        The pairs.

    Raises:
        DataError: no judgment is above 0.

    Example:
        >>> small = RetrievalSet("s", {"q": "capital of Peru"}, {"d": "Lima"}, {"q": {"d": 1.0}})
        >>> retrieval_to_pairs(small)[0].positive
        'Lima'
    """
    pairs = [
        PositivePair(retrieval.queries[query_id], retrieval.documents[document_id], (), query_id, document_id)
        for query_id, grades in retrieval.qrels.items()
        for document_id, grade in grades.items()
        if grade > 0
    ]
    if not pairs:
        raise DataError(f"{retrieval.name}: no judgment is above 0, so there is no positive pair. Check the qrels.")
    return pairs


def content_sha256(path: str | Path, *, split: str | None = None) -> str:
    """Gives the SHA-256 of a file, or of what a split of a BEIR folder reads.

    Args:
        path: a file or a BEIR folder.
        split: of the folder; default as in `read_retrieval`.

    Returns:
        The hexadecimal digest; of a folder that of the lines `DIGEST  FILE` that sha256sum prints.
    """
    path = Path(path)
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    names = ["corpus.jsonl", "queries.jsonl", f"qrels/{_choose_split(path, split)}.tsv"]
    lines = [f"{content_sha256(path / name)}  {name}\n" for name in names]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
