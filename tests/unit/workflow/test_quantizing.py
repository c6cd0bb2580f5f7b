"""`rankwright quantize`: what it measures, what it writes, and that a model that does not hold is not written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rankwright.workflow.quantizing as module
from rankwright import BiEncoder, CrossEncoder
from rankwright.errors import ConfigError, DataError
from rankwright.workflow.quantizing import LEAST_TAU, Loss, Quantization, quantization_rows, quantize_model
from tests.texts import CORPUS, random_texts
from tests.unit.cli.command import run
from tests.unit.workflow.small_data import positive_pairs

TEXTS = [*CORPUS[:8], *random_texts(32, seed=6)]


@pytest.fixture
def texts(tmp_path: Path) -> str:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")
    return str(path)


def test_a_model_that_holds_is_written_and_judged_on_other_texts(tiny: Any, texts: str, tmp_path: Path) -> None:
    found = quantize_model(str(tiny.bi_encoder("bert")), texts, tmp_path / "out", column="text")
    assert found.holds
    assert found.kendall_tau is not None
    assert LEAST_TAU <= found.kendall_tau < 1
    assert found.lowest_cosine is not None
    assert 0.8 < found.lowest_cosine < 1  # of 32 dimensions each; MiniLM's is above 0.99
    assert found.num_calibrated + found.num_held_out == len(set(TEXTS))
    assert BiEncoder(tmp_path / "out", dtype="int8").encode("a text").shape == (32,)
    assert json.loads(json.dumps(found.to_json()))["holds"] is True


def test_no_text_is_both_calibrated_on_and_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"text {i}" for i in range(50)]
    calibrated, held_out = module._halves(texts)
    assert sorted([*calibrated, *held_out]) == sorted(texts)
    monkeypatch.setattr(module, "MOST_CALIBRATED", 10)
    monkeypatch.setattr(module, "MOST_HELD_OUT", 5)
    calibrated, held_out = module._halves(texts)
    assert (len(calibrated), len(held_out), set(calibrated) & set(held_out)) == (10, 5, set())


def test_a_cross_encoder_is_compared_by_the_order_of_its_pairs(tiny: Any, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [{"query": TEXTS[i % 4], "document": text, "label": 1} for i, text in enumerate(TEXTS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = quantize_model(str(tiny.cross_encoder("bert")), str(path), tmp_path / "out")
    assert found.lowest_cosine is None
    assert found.kendall_tau is not None
    assert found.kendall_tau > 0.5
    assert (tmp_path / "out").exists() == found.holds
    assert quantization_rows(found)[-1][0] == "pairs/s"
    done = run("quantize", tiny.cross_encoder("bert"), path, "--out", tmp_path / "out")
    assert "calibrating on 20 pairs" in done.err
    assert "calibrated on 20 pairs" in " ".join(done.out.split())


def test_what_loses_its_order_is_not_written(
    tiny: Any, texts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAST_TAU", 1.0)
    done = run("quantize", tiny.bi_encoder("bert"), texts, "--column", "text", "--out", tmp_path / "out")
    assert done.code == 1
    assert "int8 does NOT hold: nothing was written" in done.out
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_cost_and_where_it_is(tiny: Any, texts: str, tmp_path: Path) -> None:
    data = positive_pairs(tmp_path / "pairs.jsonl")
    name = tiny.bi_encoder("bert")
    done = run("quantize", name, texts, "--column", "text", "--out", tmp_path / "out", "--eval", data, "--json")
    found = json.loads(done.out)
    assert [loss["measure"] for loss in found["losses"]] == ["ndcg@10"]
    assert done.code == (0 if found["holds"] else 1), done.err
    assert 0 <= found["losses"][0]["float32"] <= 1
    assert "calibrating on" in done.err


def test_the_folder_is_looked_at_before_the_work_and_an_older_model_is_replaced(
    tiny: Any, texts: str, tmp_path: Path
) -> None:
    name, out = tiny.bi_encoder("bert"), tmp_path / "new" / "out"
    for _ in range(2):
        assert run("quantize", name, texts, "--out", out).code == 0
    (tmp_path / "file").write_text("a file\n", encoding="utf-8")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").write_text("notes\n", encoding="utf-8")
    for place, message in (
        (tmp_path / "file", "file is a file, and a model is saved as a folder. Give a new folder."),
        (tmp_path / "notes", "notes holds other files than a checkpoint"),
        (out, "out is the model's own folder, whose other files would be lost. Give another folder."),
    ):
        done = run("quantize", out, texts, "--out", place)
        assert done.code != 0
        assert message in done.err
        assert "calibrating" not in done.err


def test_a_measure_that_falls_does_not_hold() -> None:
    def found(int8: float) -> Quantization:
        loss = Loss("data", "ndcg@10", float32=0.7, int8=int8)
        return Quantization("m", "bi-encoder", 10, 10, 0.95, 0.99, {"float32": 1.0, "int8": 2.0}, (loss,))

    assert found(0.696).holds
    assert found(0.75).holds
    assert found(0.695).holds  # what is shown as allowed, although 0.7 - 0.695 > 0.005 in floats
    assert not found(0.694).holds
    assert ["ndcg@10 on data", "0.6940", "0.7000", ">= 0.6950"] in quantization_rows(found(0.694))


def test_agreement_is_that_of_the_other_texts_and_of_the_worst_one() -> None:
    """Each text is first among those like it, and would hide that the order of the two others turned."""
    exact = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    found = np.array([[1.0, 0.0], [0.8, 0.6], [0.96, 0.28]])
    assert module._agreement(exact, found, "bi-encoder") == (-1.0, 0.28)


def test_speed_is_not_shown_where_int8_is_emulated() -> None:
    found = Quantization("m", "bi-encoder", 10, 10, 0.95, 0.99, {"float32": 10.0}, ())
    assert quantization_rows(found)[-1] == ["texts/s", "emulated", "10.0", "-"]


def test_too_few_texts_and_several_outputs_are_refused(tiny: Any, texts: str, tmp_path: Path) -> None:
    few = tmp_path / "few.txt"
    few.write_text("one\ntwo\ntwo\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"few\.txt: 2 different texts, expected 16 or more"):
        quantize_model(str(tiny.bi_encoder("bert")), str(few), tmp_path / "out")
    with pytest.raises(ConfigError, match="several outputs give no order"):
        quantize_model(str(tiny.cross_encoder("bert", num_labels=3)), texts, tmp_path / "out", column="text")


def test_prompts_of_a_model_are_put_before_the_texts_it_is_calibrated_on(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    model = BiEncoder(tiny.bi_encoder("bert"), prompts={"passage": "passage: "}, default_prompt_name="passage")
    batch = model.checkpoint.tokenizer.batch
    tokenizer_type = type(model.checkpoint.tokenizer)
    monkeypatch.setattr(
        tokenizer_type, "batch", lambda self, texts, *, prompt="", **rest: seen.append(prompt) or batch(texts)
    )
    model.quantize(TEXTS)
    assert seen == ["passage: "]
    assert CrossEncoder.quantize is BiEncoder.quantize
