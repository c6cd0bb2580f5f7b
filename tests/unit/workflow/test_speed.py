"""The speed report on tiny models: every engine and length is there, and its numbers are of the work that was done."""

from typing import Any

import numpy as np
import pytest

import rankwright.workflow.speed as module
from rankwright import BiEncoder, CrossEncoder
from rankwright.encoder.engine_torch import TorchEngine
from rankwright.errors import ConfigError, ValueRangeError
from rankwright.text import TokenBatch
from rankwright.workflow.speed import MIXED, measure_speed, speed_rows

TEXTS = ["what is asked", "one document", "another document, a longer one than the first", "a third"]


def test_each_engine_and_length_is_measured_and_auto_is_marked(tiny: Any) -> None:
    report = measure_speed(str(tiny.bi_encoder("bert")), TEXTS, lengths=[8, 16], seconds=0.05)
    measured = [(speed.engine, speed.dtype, speed.tokens) for speed in report.speeds]
    for engine in ("openvino", "torch"):
        assert [tokens for name, dtype, tokens in measured if (name, dtype) == (engine, "float32")] == [8, 16, MIXED]
    model = BiEncoder(tiny.bi_encoder("bert"))
    chosen = {(speed.engine, speed.dtype) for speed in report.speeds if speed.is_auto}
    assert chosen == {(model.checkpoint.engine.name, model.dtype)}
    for speed in report.speeds:
        assert speed.texts_per_s > 0
        assert speed.latency_ms > 0
        if speed.dtype == "float32":
            assert speed.agreement == pytest.approx(1, abs=1e-5)
        if speed.tokens != MIXED:
            assert speed.tokens_per_s == pytest.approx(speed.texts_per_s * int(speed.tokens), rel=0.05)
    assert report.to_json()["kind"] == "bi-encoder"


def test_a_cross_encoder_is_measured_on_pairs_and_compared_by_order(tiny: Any) -> None:
    report = measure_speed(str(tiny.cross_encoder("bert")), TEXTS, lengths=[24], seconds=0.05)
    assert {speed.tokens for speed in report.speeds} == {24, MIXED}
    assert all(speed.agreement == 1 for speed in report.speeds if speed.dtype == "float32")
    head, *rows = speed_rows(report)
    assert head[4] == "pairs/s"
    assert head[-1] == "tau to float32"
    assert len(rows) == len(report.speeds)
    assert any(row[0].endswith(" *") for row in rows)


def test_no_text_of_a_throughput_is_run_twice(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = CrossEncoder(tiny.cross_encoder("bert"))
    seen: list[int] = []
    monkeypatch.setattr(module, "_run", lambda model, material: seen.append(len(set(material)) - len(material)))
    module._throughput(model, [("q", "a"), ("q", "b")], 1e-3)
    assert seen
    assert set(seen) == {0}


def test_an_engine_that_computes_something_else_shows(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = TorchEngine.run
    monkeypatch.setattr(TorchEngine, "run", lambda self, batch, **how: _mirrored(run(self, batch, **how), batch))
    report = measure_speed(str(tiny.bi_encoder("bert")), lengths=[16], seconds=0.02)
    found = {speed.engine: speed.agreement for speed in report.speeds if speed.dtype == "float32"}
    assert found["openvino"] == pytest.approx(1, abs=1e-5)
    assert found["torch"] is not None
    assert found["torch"] < 0.9


def _mirrored(rows: np.ndarray, batch: TokenBatch) -> np.ndarray:
    return rows[:, ::-1]


def test_the_lengths_are_those_that_the_model_has_positions_for(tiny: Any) -> None:
    name = str(tiny.bi_encoder("bert"))
    report = measure_speed(name, seconds=0.01)
    assert sorted({speed.tokens for speed in report.speeds}) == [16, 64, 128]
    with pytest.raises(ValueRangeError, match="max_length must be from 1 to 512"):
        measure_speed(name, lengths=[1000])


def test_what_cannot_be_measured_is_an_error(tiny: Any) -> None:
    with pytest.raises(ConfigError, match="give two texts or more"):
        measure_speed(str(tiny.cross_encoder("bert")), ["a query"])
    with pytest.raises(ValueRangeError, match="seconds must be > 0, got 0"):
        measure_speed(str(tiny.bi_encoder("bert")), seconds=0)
