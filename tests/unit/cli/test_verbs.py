"""Each verb on tiny models: what it prints, what it writes, its exit codes, and errors without tracebacks."""

import errno
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwright import BiEncoder, CrossEncoder, __version__
from rankwright.cli import verbs
from rankwright.errors import ConfigError
from tests.texts import CORPUS, QUERY
from tests.unit.cli.command import Done, run
from tests.unit.workflow.small_data import beir_folder, judged_pairs, positive_pairs, write_rows

MISSPELT = f"loss.{'temperature'[:-1]}=1"
EXACT = ("--dtype", "float32")
QUICK = ("--max-steps", 2, "--batch-size", 4, "--set", "training.dtype=float32", "--set", "training.device=cpu")


@pytest.fixture(autouse=True)
def levels_as_before() -> Iterator[None]:
    """The command line sets the level of the first handler, which here is one of pytest's."""
    before = [(handler, handler.level) for handler in logging.getLogger().handlers]
    yield
    for handler, level in before:
        handler.setLevel(level)


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    path = tmp_path / "documents.txt"
    path.write_text("\n".join(CORPUS), encoding="utf-8")
    return path


def json_of(done: Done) -> Any:
    """stdout as JSON; the command must have ended well."""
    assert done.code == 0, done.err
    return json.loads(done.out)


def assert_error(done: Done, code: int, *words: str) -> None:
    """The exit code, an error on stderr with these words, no traceback, nothing on stdout."""
    assert done.code == code, done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    for word in words:
        assert word in done.err, done.err


def test_the_version_needs_no_verb() -> None:
    assert run("--version") == Done(0, f"rankwright {__version__}\n", "")


@pytest.mark.parametrize("verb", ["train", "evaluate", "rank", "encode", "card", "verify", "demo"])
def test_help_ends_with_0_and_an_unknown_flag_with_2(verb: str) -> None:
    shown = run(verb, "--help")
    assert shown.code == 0
    assert "Usage:" in shown.out
    assert_error(run(verb, "--no-such-flag"), 2, "--no-such-flag")


def test_an_unknown_verb_ends_with_2() -> None:
    assert_error(run("rerank"), 2, "rerank")


@pytest.mark.parametrize("kind", ["bi-encoder", "cross-encoder"])
def test_rank_prints_the_ranking_of_the_model(tiny: Any, documents: Path, kind: str) -> None:
    folder = tiny.bi_encoder("bert") if kind == "bi-encoder" else tiny.cross_encoder("bert")
    model = (BiEncoder if kind == "bi-encoder" else CrossEncoder)(folder, dtype="float32")
    expected = model.rank(QUERY, list(CORPUS), top_k=3, return_documents=True)
    assert json_of(run("rank", folder, QUERY, documents, "--top-k", 3, "--json", *EXACT)) == expected
    table = run("rank", folder, QUERY, documents, "--top-k", 3, *EXACT).out
    assert f"{expected[0]['score']:.4f}" in table
    assert f" {expected[0]['corpus_id'] + 1} " in table


def test_rank_reads_documents_from_stdin_and_from_a_column(tiny: Any, tmp_path: Path) -> None:
    folder = tiny.cross_encoder("bert")
    texts = [{"id": i, "abstract": text} for i, text in enumerate(CORPUS)]
    table = write_rows(tmp_path / "documents.jsonl", texts)
    from_column = json_of(run("rank", folder, QUERY, table, "--column", "abstract", "--json", *EXACT))
    given = "\n".join(CORPUS).encode()
    assert json_of(run("rank", folder, QUERY, "-", "--json", *EXACT, stdin=given)) == from_column
    assert len(from_column) == 10  # the default of --top-k


def test_encode_writes_the_embeddings_of_the_model(tiny: Any, documents: Path, tmp_path: Path) -> None:
    folder, out = tiny.bi_encoder("bert", normalize=False), tmp_path / "new" / "embeddings.npy"
    options = ("--prompt", "query: ", "--normalize", "--truncate-dim", 8)
    facts = json_of(run("encode", folder, documents, "--out", out, *options, "--json", *EXACT))
    model = BiEncoder(folder, dtype="float32")
    expected = model.encode(list(CORPUS), prompt="query: ", normalize=True, truncate_dim=8)
    np.testing.assert_array_equal(np.load(out), expected)
    assert (facts["shape"], facts["type"], facts["dtype"]) == ([len(CORPUS), 8], "float32", "float32")
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_encode_says_what_was_cut(tiny: Any, documents: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.npy"
    done = run("encode", tiny.bi_encoder("bert"), documents, "--out", out, "--max-length", 8, "--precision", "ubinary")
    assert done.code == 0
    assert f"truncated_texts: {len(CORPUS)}\n" in done.out
    assert np.load(out).dtype == np.uint8
    assert np.load(out).shape == (len(CORPUS), 4)


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_encode_keeps_the_ranges_of_the_documents_for_queries(
    tiny: Any, documents: Path, tmp_path: Path, precision: str
) -> None:
    folder, out, ranges = tiny.bi_encoder("bert"), tmp_path / "docs.npy", tmp_path / "docs.ranges.npy"
    facts = json_of(run("encode", folder, documents, "--out", out, "--precision", precision, "--json", *EXACT))
    assert (facts["type"], facts["ranges"]) == (precision, str(ranges))
    model = BiEncoder(folder, dtype="float32")
    rows = model.encode(list(CORPUS))
    np.testing.assert_array_equal(np.load(out), model.encode(list(CORPUS), precision=precision))
    np.testing.assert_array_equal(np.load(ranges), [rows.min(0), rows.max(0)])
    words = ("encode", folder, "-", "--out", tmp_path / "query.npy", "--precision", precision, *EXACT)
    facts = json_of(run(*words, "--ranges", ranges, "--json", stdin=CORPUS[0].encode()))
    assert facts["ranges"] == str(ranges)
    np.testing.assert_array_equal(np.load(tmp_path / "query.npy"), np.load(out)[:1])
    assert {path.suffixes[0] for path in tmp_path.glob("query*")} == {".npy"}
    assert_error(run(*words, stdin=b"one query"), 2, "needs ranges=(2, size)", "takes them with --ranges")


def test_ranges_are_not_replaced_where_embeddings_cannot_be_written(tmp_path: Path) -> None:
    verbs.write_arrays({tmp_path / "ranges.npy": np.zeros(2)})
    with pytest.raises(FileNotFoundError):
        verbs.write_arrays({tmp_path / "ranges.npy": np.ones(2), tmp_path / "none" / "docs.npy": np.ones(2)})
    assert np.load(tmp_path / "ranges.npy").tolist() == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["ranges.npy"]


def test_encode_needs_a_name_for_an_array(tiny: Any, documents: Path, tmp_path: Path) -> None:
    done = run("encode", tiny.bi_encoder("bert"), documents, "--out", tmp_path / "e.csv")
    assert_error(done, 2, "e.csv: expected a name that ends in .npy")


def test_evaluate_compares_the_first_model_with_the_others(tiny: Any, tmp_path: Path) -> None:
    data, out = beir_folder(tmp_path / "beir"), tmp_path / "new" / "numbers.json"
    models = [tiny.bi_encoder("bert"), tiny.bi_encoder("roberta")]
    options = ("--measures", "ndcg@5,recall@5", "--dims", "32,8", "--json", "--out", out, *EXACT)
    found = json_of(run("evaluate", *models, data, *options))
    assert found == json.loads(out.read_text())
    assert [(e["system"], e["dim"]) for e in found["evaluations"]] == [
        (models[0].name, 32),
        (models[0].name, 8),
        (models[1].name, 32),
        (models[1].name, 8),
        ("BM25", None),
    ]
    assert all(set(e["measures"]) == {"ndcg@5", "recall@5"} for e in found["evaluations"])
    assert [c["reference"] for c in found["comparisons"]] == [models[1].name, "BM25"]


def test_evaluate_prints_a_table_and_a_sentence_for_each_comparison(tiny: Any, tmp_path: Path) -> None:
    pairs = judged_pairs(tmp_path / "pairs.jsonl")
    done = run("evaluate", tiny.cross_encoder("bert"), pairs, "--primary", "ap", *EXACT)
    assert done.code == 0, done.err
    assert "reranking on" in done.out
    assert "classification on" in done.out
    sentences = [line for line in done.out.splitlines() if line.startswith("ap ")]
    assert [name for name in ("BM25", "longer text") if any(name in line for line in sentences)]
    assert all(" p = " in line for line in sentences)


def test_evaluate_without_references_measures_the_models_only(tiny: Any, tmp_path: Path) -> None:
    data = positive_pairs(tmp_path / "pairs.jsonl")
    found = json_of(run("evaluate", tiny.bi_encoder("bert"), data, "--no-references", "--json", *EXACT))
    assert len(found["evaluations"]) == 1
    assert found["comparisons"] == []


def test_evaluate_takes_columns_by_their_role(tiny: Any, tmp_path: Path) -> None:
    rows = [{"a": f"query {i // 2}", "b": text, "target": i % 2} for i, text in enumerate(CORPUS)]
    data = write_rows(tmp_path / "pairs.jsonl", rows)
    columns = ("--column", "query=a", "--column", "document=b", "--column", "label=target")
    assert len(json_of(run("evaluate", tiny.cross_encoder("bert"), data, *columns, "--json"))["evaluations"]) > 1
    done = run("evaluate", tiny.cross_encoder("bert"), data, "--column", "query")
    assert_error(done, 2, "--column query: expected ROLE=NAME, such as --column query=sentence1.")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("evaluate", "MODEL"), 2, ("evaluate needs at least one model and the data",)),
        (("evaluate", "MODEL", "DATA", "--dims", "8,x"), 2, ("--dims 8,x: 'x' is not a whole number above 0.",)),
        (("evaluate", "MODEL", "DATA", "--primary", "ndgc@10"), 2, ("primary measure 'ndgc@10'", "ndcg@10")),
        (("evaluate", "MODEL", "missing.jsonl"), 1, ("missing.jsonl",)),
        (("evaluate", "missing", "DATA"), 1, ("missing",)),
        (("rank", "MODEL", "query", "missing.txt"), 1, ("missing.txt: no such file",)),
        (("rank", "MODEL", "query", "-", "--engine", "onnx"), 2, ("engine='onnx': expected one of",)),
        (("rank", "MODEL", "query", "-", "--dtype", "int4"), 2, ("dtype='int4': expected",)),
        (("encode", "MODEL", "-", "--out", "e.npy", "--prompt-name", "web"), 2, ("prompt_name='web'",)),
        (("encode", "MODEL", "-", "--out", "e.npy", "--truncate-dim", "99"), 1, ("expected 1 to 32",)),
        (("card", "missing"), 1, ("missing",)),
        (("train", "missing.toml"), 2, ("missing.toml: no such file",)),
        (("train", "--base", "MODEL"), 2, ("kind is missing",)),
        (("train", "--base", "MODEL", "--kind", "reranker"), 2, ("reranker",)),
        (("train", "--kind", "bi-encoder"), 2, ("model.base is missing: give --base",)),
        (("train", "--kind", "bi-encoder", "--base", "MODEL", "--out", "o"), 2, ("data.train is missing",)),
        (("train", "--kind", "bi-encoder", "--set", MISSPELT), 2, ("Did you mean 'temperature'?",)),
    ],
)
def test_an_error_is_a_sentence_on_stderr(
    tiny: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    words: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"MODEL": str(tiny.bi_encoder("bert")), "DATA": str(beir_folder(tmp_path / "beir"))}
    assert_error(run(*(names.get(word, word) for word in arguments), stdin=b"a document\n"), code, *words)
    assert not (tmp_path / "o").exists()


@pytest.fixture
def trained(tiny: Any, tmp_path: Path) -> tuple[Path, Done]:
    """The folder of a run by the command line, and what the command printed."""
    pairs = judged_pairs(tmp_path / "pairs.jsonl")
    config = tmp_path / "train.toml"
    config.write_text(f'kind = "cross-encoder"\n[data]\ntrain = {json.dumps(str(pairs))}\n')
    out = tmp_path / "run"
    return out, run("train", config, "--base", tiny.bi_encoder("bert"), "--eval", pairs, "--out", out, *QUICK)


def test_train_prints_tables_and_the_verdict(trained: tuple[Path, Done]) -> None:
    out, done = trained
    assert done.code == 0, done.err
    assert "untrained" in done.out
    assert " p = " in done.out
    assert done.out.endswith(f"model and card: {out / 'model'}\n")
    assert "step 2/2  loss" in done.err
    assert "measuring the references on pairs" in done.err


def test_train_prints_its_summary_as_json(trained: tuple[Path, Done], tiny: Any, tmp_path: Path) -> None:
    out, _ = trained
    again = run(
        "train",
        tmp_path / "train.toml",
        "--base",
        tiny.bi_encoder("bert"),
        "--eval",
        tmp_path / "pairs.jsonl",
        "--out",
        out,
        *QUICK,
        "--json",
    )
    assert json_of(again) == json.loads((out / "summary.json").read_text())


def test_a_dry_run_prints_the_plan(tiny: Any, tmp_path: Path) -> None:
    pairs = positive_pairs(tmp_path / "pairs.jsonl")
    words = ("--kind", "bi-encoder", "--base", tiny.bi_encoder("bert"), "--train", pairs, "--eval", pairs)
    plan = json_of(run("train", *words, "--out", tmp_path / "run", "--epochs", 2, "--batch-size", 5, "--dry-run"))
    assert (plan["rows"], plan["steps"]) == (20, 8)
    assert not (tmp_path / "run").exists()


def test_epochs_beside_a_number_of_steps_are_refused(tiny: Any, tmp_path: Path) -> None:
    """The steps of the file would decide, and the flag do nothing."""
    path = tmp_path / "train.toml"
    path.write_text('kind = "cross-encoder"\n[training]\nmax_steps = 7\n')
    words = ("train", path, "--base", tiny.cross_encoder("bert"), "--train", judged_pairs(tmp_path / "pairs.jsonl"))
    words += ("--epochs", 2, "--dry-run")
    assert_error(run(*words), 2, "--epochs has no effect: max_steps = 7", "add --set training.max_steps=-1")
    plan = json_of(run(*words, "--set", "training.max_steps=-1"))
    assert plan["steps"] == 2 * plan["steps_per_epoch"]


def test_card_writes_the_card_of_a_run_again(trained: tuple[Path, Done], tmp_path: Path) -> None:
    out, _ = trained
    readme = out / "model" / "README.md"
    text = readme.read_text()
    readme.unlink()
    done = run("card", out)
    assert (done.code, done.out) == (0, f"{readme}\n")
    assert readme.read_text() == text
    assert run("card", out, "--out", "-").out == text
    assert run("card", out, "--out", tmp_path / "new" / "card.md").code == 0
    assert (tmp_path / "new" / "card.md").read_text() == text


def test_a_lack_of_memory_is_an_error_without_a_traceback(
    tiny: Any, documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(*args: object, **options: object) -> None:
        raise MemoryError("std::bad_alloc")

    monkeypatch.setattr(verbs, "rank_verb", lacking)
    assert_error(run("rank", tiny.bi_encoder("bert"), QUERY, documents), 1, "not enough memory (std::bad_alloc). Free")


def test_ctrl_c_ends_with_130(tiny: Any, documents: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verbs, "rank_verb", interrupted)
    done = run("rank", tiny.bi_encoder("bert"), QUERY, documents)
    assert done.code == 130
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("step", "expected"), [(1, "begins at the first step"), (2, "goes on from the last checkpoint")]
)
def test_ctrl_c_in_training_says_how_to_go_on(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, expected: str
) -> None:
    from rankwright.cli import progress
    from rankwright.workflow.runs import Watch

    def interrupted(row: Mapping[str, object]) -> None:
        if row["step"] == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(progress, "terminal_watch", lambda: Watch(log=interrupted))
    pairs = positive_pairs(tmp_path / "pairs.jsonl")
    words = ("--kind", "bi-encoder", "--base", tiny.bi_encoder("bert"), "--train", pairs, "--eval", pairs)
    done = run("train", *words, "--out", tmp_path / "run", *QUICK, "--set", "training.save_steps=1")
    assert done.code == 130
    assert f"the same command {expected}" in done.err


def test_a_disk_that_refuses_is_an_error_without_a_traceback(tiny: Any, documents: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = run("encode", tiny.bi_encoder("bert"), documents, "--out", tmp_path / "file" / "e.npy")
    assert_error(done, 1, "error: ", "file")


def test_a_tilde_behind_an_equals_sign_is_the_home_folder(
    tiny: Any, documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell leaves it alone there, and a folder named ~ is a danger to the one who deletes it."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert run("encode", tiny.bi_encoder("bert"), documents, "--out=~/e.npy").code == 0
    assert (tmp_path / "home" / "e.npy").is_file()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("verb", ["encode", "evaluate", "quantize", "verify", "bench"])
def test_a_folder_that_takes_no_files_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def refused(*, dir: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", f"{dir}/tmpx")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    out = tmp_path / "e.npy"
    done = run(verb, "missing-model", tmp_path / "missing.txt", "--out", out)
    assert_error(done, 1, f"Permission denied: '{tmp_path}'")


def test_arguments_are_read_as_lists() -> None:
    assert verbs.roles(["query=a", "document=b=c"]) == {"query": "a", "document": "b=c"}
    assert verbs.listed(" a, b ,,c") == ["a", "b", "c"]
    assert verbs.listed(None) == []
    assert verbs.whole_numbers("8, 16", "--dims") == [8, 16]
    for bad in ("0", "-1", "1.5"):
        with pytest.raises(ConfigError, match=f"--dims {bad}: '{bad}' is not a whole number above 0"):
            verbs.whole_numbers(bad, "--dims")
