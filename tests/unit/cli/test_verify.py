"""`rankwright verify`: tables, JSON, files, exit codes, and nothing of the libraries on stdout."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rankwright.workflow.verify as module
import rankwright.workflow.verify_references as references
from rankwright import BiEncoder
from rankwright.encoder.engine_torch import TorchEngine
from rankwright.text import TokenBatch
from rankwright.workflow.verify_texts import built_in_pairs
from tests.run_folders import CERTIFICATE, make_retriever
from tests.unit.cli.command import run
from tests.unit.workflow.small_data import positive_pairs


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few pairs, one pass, and float32 only."""
    few = built_in_pairs()[:30:3]
    monkeypatch.setattr(module, "built_in_pairs", lambda: few)
    monkeypatch.setattr(module, "MEASURED_S", 0.0)
    monkeypatch.setattr(module, "OTHER_TYPES", ())


@pytest.fixture
def broken_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch engine that is wrong."""
    right = TorchEngine.run

    def wrong(self: TorchEngine, batch: TokenBatch, *, is_alone: bool = True) -> np.ndarray:
        return right(self, batch, is_alone=is_alone)[:, ::-1].copy()

    monkeypatch.setattr(TorchEngine, "run", wrong)


def test_a_model_that_agrees_ends_with_0(tiny: Any) -> None:
    done = run("verify", tiny.bi_encoder("bert"))
    assert done.code == 0, done.err
    assert "sentence-transformers 6." in done.out
    assert done.out.splitlines()[-1].startswith("Agrees with sentence-transformers")
    assert [line.split("│")[1].strip() for line in done.out.splitlines() if "yes" in line] == ["openvino", "torch"]


def test_a_wrong_engine_ends_with_1_and_is_named(tiny: Any, broken_torch: None, tmp_path: Path) -> None:
    out = tmp_path / "new" / "verify.json"
    done = run("verify", tiny.bi_encoder("bert"), "--out", out)
    assert done.code == 1
    assert done.out.splitlines()[-1].startswith("DISAGREES with sentence-transformers")
    assert done.out.splitlines()[-1].endswith(": torch float32.")
    assert "torch float32 differs most on: '" in done.out
    assert "Traceback" not in done.err
    assert json.loads(out.read_text())["agrees"] is False


def test_json_on_stdout_and_in_the_file_is_the_certificate(tiny: Any, tmp_path: Path) -> None:
    out, pairs = tmp_path / "verify.json", positive_pairs(tmp_path / "pairs.jsonl")
    done = run("verify", tiny.cross_encoder("bert"), pairs, "--json", "--out", out)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found == json.loads(out.read_text(encoding="utf-8"))
    assert found.keys() == {"agrees", *CERTIFICATE}
    assert [set(engine) for engine in found["engines"]] == [set(CERTIFICATE["engines"][0])] * 2
    assert (found["kind"], found["agrees"], found["num_given"]) == ("cross-encoder", True, 20)
    assert found["weights_sha256"] is not None


def test_json_of_a_wrong_engine_is_whole_and_ends_with_1(tiny: Any, broken_torch: None) -> None:
    done = run("verify", tiny.bi_encoder("bert"), "--json")
    assert done.code == 1
    assert [engine["agrees"] for engine in json.loads(done.out)["engines"]] == [True, False]


def test_what_libraries_print_is_not_on_stdout(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    open_reference = references.open_reference

    def noisy(ours: BiEncoder) -> references.Reference:
        print("Loading weights: 100%")
        return open_reference(ours)

    monkeypatch.setattr(module, "open_reference", noisy)
    done = run("verify", tiny.bi_encoder("bert"), "--json")
    assert "Loading weights" in done.err
    json.loads(done.out)


def test_without_a_library_it_says_so(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "find_spec", lambda name: None)
    done = run("verify", tiny.bi_encoder("bert"))
    assert done.code == 0, done.err
    assert "No reference library was installed" in done.out


def test_texts_come_from_stdin(tiny: Any) -> None:
    done = run("verify", tiny.bi_encoder("bert"), "-", "--json", stdin="zażółć gęślą jaźń\nanother".encode())
    assert json.loads(done.out)["num_given"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("missing",), 1, "missing"),
        (("MODEL", "missing.txt"), 1, "missing.txt: no such file"),
        (("MODEL", "--column", "text"), 2, "--column text has no effect without a FILE"),
        (("MODEL", "--out", "."), 2, "this is a folder"),
        (("MODEL", "--kind", "reranker"), 2, "reranker"),
        ((), 2, "model"),
    ],
)
def test_an_error_is_a_sentence_on_stderr(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("verify", *(tiny.bi_encoder("bert") if word == "MODEL" else word for word in arguments))
    assert (done.code, done.out) == (code, "")
    assert words in done.err
    assert "Traceback" not in done.err


def test_the_certificate_of_a_run_goes_on_its_card(tiny: Any, tmp_path: Path) -> None:
    folder = make_retriever(tmp_path / "run")
    BiEncoder(tiny.bi_encoder("bert")).save(tmp_path / "model")
    (folder / "model").rmdir()
    (tmp_path / "model").rename(folder / "model")
    assert "## Parity" not in run("card", folder, "--out", "-").out
    assert run("verify", folder / "model", "--out", folder / "verify.json").code == 0
    assert "## Parity" in run("card", folder, "--out", "-").out
