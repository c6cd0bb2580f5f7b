"""The benchmark's own arithmetic and its gate, without models: what it measures is measured by `make bench`."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import gpu, targets
from bench.curves import CURVES
from bench.gate import Contestant
from bench.gpu import GPU_ROWS
from bench.inputs import training_pairs
from bench.limits import encoding_operations, limit
from bench.measuring import Entry, Row, run_row
from bench.rows import ROWS
from bench.sizes import closure, installed_megabytes
from bench.table import (
    BEGIN,
    END,
    between_markers,
    by_machine,
    family_tables,
    performance_page,
    row_table,
    short,
    short_tables,
)
from bench.targets import BEST, LIMIT, TARGETS, Target, target_lines
from bench.texts import docstring_pairs

ROOT = Path(__file__).parents[2]

WORKER = f"""#!{sys.executable}
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, {str(ROOT)!r})
from bench.curves import CURVES
from bench.gate import Gate

gate, runs, result = Gate(Path(sys.argv[-1])), 0, None
while gate(result):
    print("noise that must not reach the pipe")
    runs += 1
    result = [runs]
    if runs == 3:
        raise ValueError("enough")
"""


@pytest.fixture
def contestant(tmp_path: Path) -> Contestant:
    python = tmp_path / "python"
    python.write_text(WORKER, encoding="utf-8")
    python.chmod(0o755)
    return Contestant("counting", python=python, inputs=tmp_path, result_path=tmp_path / "counting.npy")


def test_a_contestant_runs_once_each_time_the_gate_opens(contestant: Contestant) -> None:
    with contestant:
        seconds = [contestant.run(), contestant.run()]
        assert contestant.result() == np.array([2.0])
    assert all(0 < value < 5 for value in seconds)


def test_a_contestant_that_fails_says_what_it_said(contestant: Contestant) -> None:
    with contestant, pytest.raises(RuntimeError, match=r"counting ended with code 1:[\s\S]*ValueError: enough"):
        for _ in range(3):
            contestant.run()


def measured(entries: object, inputs: object, rounds: object) -> list[dict[str, list[float]]]:
    return [{"cost": [8.0, 10.0, 30.0]}, {"cost": [4.0, 5.0, 6.0]}, {"cost": [2.0, 2.0, 3.0]}]


ENTRIES = (Entry("the peer", "peer", ""), Entry("its best", "peer", ""), Entry("rankwright", "ours", ""))
ROW = Row(
    "encode", work="encode 100 documents", unit="documents/s", entries=ENTRIES, measure=measured, rounds=3, items=100
)


def test_ratios_are_taken_round_by_round_and_speeds_from_items(tmp_path: Path) -> None:
    row = run_row(ROW, tmp_path)
    assert row["ratios"][0] == {
        "ours": "rankwright",
        "peer": "the peer",
        "ratio": {"min": 4.0, "median": 5.0, "max": 10.0},
    }
    assert row["entries"][2]["value"] == {"min": 33.33, "median": 50.0, "max": 50.0}
    assert row["entries"][2]["cost"] == {"min": 2.0, "median": 2.0, "max": 3.0}


def test_an_entry_without_its_environment_is_named_as_skipped(tmp_path: Path) -> None:
    elsewhere = Entry("OpenVINO backend", "peer", "", tmp_path / "no-python")
    row = Row("encode", work="", unit="", entries=(*ENTRIES, elsewhere), measure=measured, rounds=3)
    assert run_row(row, tmp_path)["skipped"] == [
        {"name": "OpenVINO backend", "reason": "its environment is not there (`make bench` makes it)"}
    ]


def report_of(machine: str, started: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "started": started,
        "machine": {"cpu": machine, "cores": 2, "flags": ["avx2", "avx512_bf16"]},
        "versions": {"main": {"python": "3.11.7", "rankwright": "0.1", "torch": "2.13.0"}},
        "rows": rows,
        "quality": [],
        "curves": [],
    }


def test_the_short_table_has_the_ratio_to_the_best_setting_in_bold_and_a_column_for_each_machine(
    tmp_path: Path,
) -> None:
    row = run_row(ROW, tmp_path)
    other = run_row(replace(ROW, work="rank 5 documents", name="rank"), tmp_path)
    machines = [report_of("New CPU", "2026-11-22", [row, other]), report_of("Old CPU", "2026-11-21", [row])]
    lines = short_tables(machines).splitlines()[2:]
    assert lines[0] == "| Work | 2 cores of New CPU (avx512_bf16) | 2 cores of Old CPU (avx512_bf16) |"
    assert lines[2] == "| encode 100 documents | 50 documents/s: **2x** (5x) | 50 documents/s: **2x** (5x) |"
    assert lines[3] == "| rank 5 documents | 50 documents/s: **2x** (5x) |  |"
    assert "Measured 2026-11-22 on 2 cores of New CPU (avx2, avx512_bf16)" in lines[-1]
    assert "python 3.11.7, torch 2.13.0" in lines[-1]


def test_targets_are_in_bold_once_kept_and_beside_what_the_limit_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = {
        (2.0, BEST): ("2x its best setting", "**2x**"),
        (4.5, "the peer"): ("4.5x the peer", "2x of 5x"),
        (4.5, "another peer"): ("4.5x another peer", ""),
        (0.4, LIMIT): ("40 % of the limit", "**40 %**"),
        (0.75, LIMIT): ("75 % of the limit", "40 %"),
        (20, ""): ("at most 20 documents/s", "**20 documents/s**"),
        (19, ""): ("at most 19 documents/s", "20 documents/s"),
    }
    monkeypatch.setattr(targets, "TARGETS", [Target("unmeasured", 1), *(Target("encode", *want) for want in cells)])
    row = run_row(replace(ROW, entries=(*ENTRIES[:1], ENTRIES[2], Entry("limit", "limit", ""))), tmp_path)
    lines = target_lines([report_of("New CPU", "2", [row]), report_of("Old CPU", "1", [])])
    assert lines == [["encode 100 documents", want, shown, ""] for want, shown in cells.values()]


def test_targets_are_of_rows_and_entries_that_there_are() -> None:
    entries = {row.name: {entry.name for entry in row.entries} for row in ROWS + GPU_ROWS}
    for target in TARGETS:
        assert target.name in entries[target.row]
        assert target.beside in ("", BEST, LIMIT) or target.beside in entries[target.row]


def test_gpus_have_a_table_of_their_own(tmp_path: Path) -> None:
    on_gpu = report_of("Server CPU", "2026-11-23", [run_row(replace(ROW, work="GPU: rank", name="gpu-rank"), tmp_path)])
    on_gpu["machine"]["gpu"] = "NVIDIA H200 (driver 1.2)"
    text = short_tables([on_gpu, report_of("Some CPU", "2026-11-22", [run_row(ROW, tmp_path)])])
    cpus, gpus = text.split("| Work | NVIDIA H200, 2 cores of Server CPU |")
    assert "Measured 2026-11-22 on 2 cores of Some CPU" in cpus
    assert "| rank | 50 documents/s: **2x** (5x) |" in gpus
    assert "Measured 2026-11-23 on one NVIDIA H200 (driver 1.2) with 2 cores of Server CPU" in gpus


def test_the_page_has_the_memory_of_a_gpu_and_the_quality_of_each_type(tmp_path: Path) -> None:
    row = run_row(ROW, tmp_path)
    row["entries"][0]["working_memory_gb"] = 1.25
    found = {"data": "questions", "queries": 1000, "measure": "ndcg@10"}
    found |= {"values": {"float32": 0.5, "bfloat16": 0.499}}
    report = report_of("Some CPU", "2026-11-22", [row])
    page = performance_page(by_machine([report | {"quality": [found]}]))
    assert "| working memory, GB |" in page
    assert "| questions (1,000 queries) | 0.5000 (+0.0000) | 0.4990 (-0.0010) |" in page


def test_contestants_in_threads_take_turns_and_their_errors_are_the_parents() -> None:
    def work(gate: Any, inputs: object) -> None:
        runs = 0
        while gate([runs]):
            runs += 1
            if runs == 3:
                raise ValueError("enough")

    contestant = gpu.Contestant(work, inputs=None)  # type: ignore[arg-type]
    for run in (1, 2):
        assert contestant.run() >= 0
        assert contestant.result.tolist() == [run]
    with pytest.raises(RuntimeError, match="ended before its time"):
        contestant.run()


def test_the_gate_of_a_trainer_opens_after_so_many_steps() -> None:
    opened, steps = [], []

    def trainer(gate: Any, inputs: object, **how: object) -> None:
        while gate():
            steps.append(how)

    gpu.in_steps(trainer, lambda result=None: opened.append(result) or len(opened) < 3, None, rate=1)  # type: ignore[arg-type]
    assert len(opened) == 3
    assert len(steps) == 3 * gpu.STEPS - 1


def test_a_row_of_a_gpu_says_that_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.measuring.machine", lambda: {"flags": ["avx2"]})
    row = run_row(replace(gpu.GPU_ROWS[0], measure=lambda entries, inputs, rounds: []), tmp_path)
    assert row["entries"] == []
    assert {skipped["reason"] for skipped in row["skipped"]} == {"there is no GPU"}


def test_the_page_shows_every_entry_with_its_spread_and_what_was_skipped(tmp_path: Path) -> None:
    missing = Entry("OpenVINO backend", "peer", "", tmp_path / "no-python")
    row = run_row(replace(ROW, entries=(*ENTRIES, missing)), tmp_path)
    page = performance_page([report_of("Some CPU", "2026-11-22", [row])])
    assert "### Encode 100 documents" in page
    assert "| its best | 20 | 16.7 to 25 | 2x |" in page
    assert "OpenVINO backend: not measured, its environment is not there" in page


def test_an_entry_that_the_cpu_would_emulate_is_skipped() -> None:
    entry = Entry("torch bfloat16", "peer", "", needs=("avx512_bf16", "amx_bf16"))
    assert entry.reason_to_skip(["avx2", "amx_bf16"]) is None
    assert "would emulate" in str(entry.reason_to_skip(["avx2"]))
    reasons = {
        entry.name: str(entry.reason_to_skip(["avx2"]))
        for row in ROWS
        for entry in row.entries
        if entry.side == "ours" and entry.needs
    }
    assert "would emulate" in reasons["rankwright int8"]
    assert "the type that rankwright takes" in reasons["rankwright float32"]


def test_a_row_that_the_newest_result_lacks_comes_from_an_older_one_of_the_same_machine() -> None:
    def report(machine: str, started: str, **rows: int) -> dict[str, Any]:
        return report_of(machine, started, [{"row": name, "value": value} for name, value in rows.items()])

    reports = [
        report("other", "1", size=0, help=0),
        report("this", "2", encode=1, size=1),
        report("this", "3", encode=2),
    ]
    found = by_machine(reports)
    assert [machine["machine"]["cpu"] for machine in found] == ["this", "other"]
    assert [row["row"] for row in found[0]["rows"]] == ["encode", "size"]
    assert {row["row"]: (row["value"], row["started"]) for row in found[0]["rows"]} == {
        "encode": (2, "3"),
        "size": (1, "2"),
    }


def test_numbers_are_short_and_never_in_powers_of_ten() -> None:
    assert [short(value) for value in (0.00991, 22.63, 999.6, 1593.2)] == ["0.00991", "22.6", "1,000", "1,593"]


def test_families_under_3x_are_told_why(tmp_path: Path) -> None:
    row = run_row(replace(ROW, name="family-bert"), tmp_path)
    report = report_of("Some CPU", "2026-11-22", [row])
    report["machine"]["flags"] = ["avx2"]
    assert "| bert | 5.00x | 2.00x |" in family_tables([report])
    assert "has no bfloat16" in family_tables([report])


def test_table_replaces_what_stands_between_the_markers() -> None:
    once = between_markers(f"a\n{BEGIN}\nold\n{END}\nb", "new")
    assert once == f"a\n{BEGIN}\nnew\n{END}\nb"
    assert between_markers(once, "new") == once
    with pytest.raises(ValueError, match="must hold"):
        between_markers("no markers", "new")


def test_rows_start_with_the_peer_as_it_comes_and_end_with_ours_or_the_limit() -> None:
    for row in ROWS:
        sides = [entry.side for entry in row.entries if entry.side != "part"]
        assert sides == sorted(sides, key=["peer", "ours", "limit"].index), row.name
        assert {"peer", "ours"} <= set(sides), row.name


def test_rows_and_curves_are_told_apart_by_name() -> None:
    names = [row.name for row in ROWS] + list(CURVES)
    assert len(set(names)) == len(names)


def test_how_much_of_the_limit_is_reached(tmp_path: Path) -> None:
    row = run_row(replace(ROW, entries=(*ENTRIES[:1], ENTRIES[2], Entry("limit", "limit", ""))), tmp_path)
    assert "| limit | 50 | 33.3 to 50 | 40 % reached |" in row_table(row)
    assert "**2x** (2x)" in short_tables([report_of("Some CPU", "2026-11-22", [row])])  # a limit is no peer


def test_the_operations_of_an_encoder_by_hand() -> None:
    tokens, hidden_size = 5, 8
    linear = 4 * hidden_size * hidden_size + 2 * hidden_size * 4 * hidden_size
    by_hand = 2 * tokens * linear + 2 * (2 * tokens * tokens * hidden_size)
    assert encoding_operations([tokens, tokens], hidden_size=hidden_size, num_layers=3) == 2 * 3 * by_hand


@pytest.mark.parametrize("operations", [1e6, 2e9])
def test_the_limit_runs_once_each_time_the_gate_opens(operations: float) -> None:
    opened: list[object] = []

    def gate(result: object = None) -> bool:
        opened.append(result)
        return len(opened) < 3

    limit(gate, operations)  # type: ignore[arg-type]
    assert opened == [None, None, None]


def test_texts_depend_on_the_seed_only_and_vary_in_length() -> None:
    packages = ("huggingface_hub",)
    pairs = docstring_pairs(200, packages=packages)
    assert pairs == docstring_pairs(200, packages=packages)
    assert pairs != docstring_pairs(200, packages=packages, seed=1)
    lengths = [len(body) for _, body in pairs]
    assert len(set(pairs)) == 200
    assert max(lengths) > 5 * min(lengths)


def test_half_of_the_training_pairs_belong_together() -> None:
    pairs = training_pairs([(f"q{i}", f"d{i}") for i in range(8)])
    assert [label for _, _, label in sorted(pairs)] == [1.0] * 4 + [0.0] * 4
    assert all((query[1:] == document[1:]) == (label == 1.0) for query, document, label in pairs)


def test_size_counts_what_a_package_needs_and_no_more() -> None:
    needed = closure("rankwright")
    assert {"openvino", "numpy", "annotated-types"} <= needed
    assert not {"torch", "transformers", "pytest"} & needed
    assert "torch" in closure("sentence-transformers")
    assert installed_megabytes("sentence-transformers") > installed_megabytes("numpy") > 1
