"""The run folder: one process at a time, only for its own run, and free again after a start that failed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rankwright.config import RunConfig, read_config
from rankwright.errors import ConfigError
from rankwright.workflow import folder
from rankwright.workflow.folder import check_folder, run_folder, write_environment
from rankwright.workflow.runs import plan_run, run_config
from tests.unit.workflow.small_data import judged_pairs

HOLDER = """
import sys
from rankwright.config import read_config
from rankwright.workflow.folder import run_folder
with run_folder(read_config(None, flags={"kind": "bi-encoder", "out": sys.argv[1]})):
    print("held", flush=True)
    sys.stdin.read()
"""


def config_of(out: Path, **flags: Any) -> RunConfig:
    return read_config(None, flags={"kind": "bi-encoder", "out": str(out), **flags})


def test_a_second_process_is_refused_and_a_killed_one_frees_the_folder(tmp_path: Path) -> None:
    config = config_of(tmp_path / "run")
    words = [sys.executable, "-c", HOLDER, config.out]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="run: another process runs in this folder"), run_folder(config):
            pass
        holder.kill()
    with run_folder(config) as out:
        assert (out / "config.toml").is_file()


def test_other_processes_of_the_same_run_share_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(tmp_path / "run")
    with run_folder(config):
        monkeypatch.setenv("RANK", "1")
        with run_folder(config) as out:
            assert out == tmp_path / "run"


def test_another_config_takes_a_folder_in_which_nothing_was_measured(tmp_path: Path) -> None:
    with run_folder(config_of(tmp_path / "run")):
        pass
    changed = config_of(tmp_path / "run", **{"training.seed": 1})
    with run_folder(changed) as out:
        assert read_config(out / "config.toml") == changed
    (out / "evaluations" / "references.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"another config \(different: training.seed\)"):
        check_folder(config_of(tmp_path / "run"))


def test_the_config_of_a_run_that_has_begun_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path / "run")
    with run_folder(config) as out:
        (out / "checkpoints" / "step-000001").mkdir(parents=True)
    monkeypatch.setattr(folder, "write_config", lambda path, config: pytest.fail("written again"))
    with run_folder(config):
        pass


def test_what_the_card_says_may_change_where_a_run_goes_on(tmp_path: Path) -> None:
    """A run whose card could not be written is finished with another template, or with none."""
    failed = config_of(tmp_path / "run", **{"card.template": "broken.jinja"})
    with run_folder(failed) as out:
        (out / "evaluations" / "references.json").write_text("[]")
    corrected = config_of(tmp_path / "run", **{"card.license": "mit"})
    with run_folder(corrected) as out:
        assert read_config(out / "config.toml") == corrected


def test_a_file_in_the_way_is_named_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "ok.txt").write_text("text")
    for out in ("ok.txt", "ok.txt/run"):
        with pytest.raises(ConfigError, match=r"ok\.txt.*a file is in the way"):
            run_config(config_of(tmp_path / out))


def test_the_environment_is_that_of_the_start_and_lists_what_went_on(tmp_path: Path) -> None:
    with run_folder(config_of(tmp_path / "run")) as out:
        write_environment(out, {"started": "failed"})
        write_environment(out, {"started": "first"})
        (out / "evaluations" / "references.json").write_text("[]")
        write_environment(out, {"started": "second"})
        write_environment(out, {"started": "third"})
    assert json.loads((out / "environment.json").read_text()) == {
        "started": "first",
        "resumed": [{"started": "second"}, {"started": "third"}],
    }


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("evaluation.primary", "recall@5", "primary measure 'recall@5' is not among"),
        ("evaluation.measures", ["spearman"], "unknown measure 'spearman'"),
        ("evaluation.dims", [8], "evaluation.dims has no effect on a cross-encoder"),
        ("training.metric_for_best_model", "spearman", "metric_for_best_model = 'spearman': the evaluation gives"),
        ("loss.name", "cross_entropy", "the model 1 output.* Set num_labels = 2"),
        ("training.device", "foo", "device='foo': not found on this machine by torch. It has cpu"),
        ("training.device", "cuda:99", "device='cuda:99': not found"),
        (
            "card.template",
            "none.jinja",
            r"template in \[card\]: none.jinja: the template cannot be read \(No such file",
        ),
        ("card.template", "bad.jinja", r"template in \[card\]: bad.jinja:2: the template cannot be rendered"),
    ],
)
def test_what_cannot_be_measured_or_learned_is_said_before_the_folder_is_made(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: object, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.jinja").write_text("a\n{% if %}")
    pairs = str(judged_pairs(tmp_path / "pairs.jsonl"))
    flags = {
        "kind": "cross-encoder",
        "model.base": str(tiny.cross_encoder("bert")),
        "data.train": pairs,
        "data.eval": pairs,
        "out": str(tmp_path / "run"),
        "training.eval_strategy": "epoch",
        "training.load_best_model_at_end": True,
        key: value,
    }
    for start in (run_config, plan_run):
        with pytest.raises(ConfigError, match=words):
            start(read_config(None, flags=flags))
    assert not (tmp_path / "run").exists()
