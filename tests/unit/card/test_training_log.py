from rankwright.card.training_log import training_log


def _rows(*rows: tuple[int, dict[str, float]]) -> list[dict[str, object]]:
    return [{"step": step, "epoch": step / 10, **values} for step, values in rows]


def _lines(
    metrics: list[dict[str, object]], *, logging_steps: int = 2, best_step: int = 0, primary: str = "ndcg@10"
) -> list[str]:
    log = training_log(metrics, logging_steps=logging_steps, best_step=best_step, primary=primary)
    assert log is not None
    return log.table.split("\n")


def test_a_row_shows_the_mean_loss_since_the_row_before() -> None:
    lines = _lines(_rows((1, {"loss": 1.0}), (2, {"loss": 0.5}), (3, {"loss": 0.4}), (4, {"loss": 0.2})))
    assert lines[2:] == ["| 0.2000 | 2 | 0.7500 |", "| 0.4000 | 4 | 0.3000 |"]


def test_the_last_step_is_always_shown() -> None:
    lines = _lines(_rows((1, {"loss": 1.0}), (2, {"loss": 0.5}), (3, {"loss": 0.4})))
    assert lines[-1] == "| 0.3000 | 3 | 0.4000 |"


def test_loss_and_evaluation_of_a_step_share_a_row_and_what_is_missing_is_a_dash() -> None:
    metrics = _rows((2, {"loss": 0.5}), (2, {"eval_ndcg@10": 0.7, "eval_loss": 0.4}), (3, {"eval_ndcg@10": 0.8}))
    assert _lines(metrics) == [
        "| Epoch | Step | Training Loss | Validation Loss | ndcg@10 |",
        "| :-- | :-- | :-- | :-- | :-- |",
        "| 0.2000 | 2 | 0.5000 | 0.4000 | 0.7000 |",
        "| 0.3000 | 3 | - | - | 0.8000 |",
    ]


def test_an_evaluation_between_two_rows_does_not_cut_the_mean() -> None:
    metrics = _rows((1, {"loss": 1.0}), (1, {"eval_ndcg@10": 0.1}), (2, {"loss": 0.0}))
    assert _lines(metrics)[2:] == ["| 0.1000 | 1 | - | 0.1000 |", "| 0.2000 | 2 | 0.5000 | - |"]


def test_the_row_of_the_saved_checkpoint_is_bold() -> None:
    lines = _lines(_rows((2, {"loss": 0.5}), (4, {"loss": 0.25})), best_step=4)
    assert lines[2:] == ["| 0.2000 | 2 | 0.5000 |", "| **0.4000** | **4** | **0.2500** |"]


def test_only_columns_of_the_primary_measure_are_shown_where_there_are_some() -> None:
    metrics = _rows((2, {"eval_dim_64_ndcg@10": 0.6, "eval_ndcg@10": 0.7, "eval_mrr@10": 0.5}))
    assert _lines(metrics)[0] == "| Epoch | Step | dim_64_ndcg@10 | ndcg@10 |"
    assert _lines(_rows((2, {"eval_f1": 0.6, "eval_ap": 0.5})))[0] == "| Epoch | Step | f1 | ap |"
    assert _lines(_rows((2, {"eval_map": 0.6, "eval_ap": 0.5})), primary="ap")[0] == "| Epoch | Step | ap |"


def test_a_log_of_more_than_100_rows_is_folded() -> None:
    for steps, is_folded in ((100, False), (101, True)):
        metrics = _rows(*((step, {"loss": 0.5}) for step in range(1, steps + 1)))
        log = training_log(metrics, logging_steps=1, best_step=steps + 1, primary=None)
        assert log is not None
        assert (log.num_rows, log.is_folded, log.has_saved_row) == (steps, is_folded, False)


def test_without_losses_and_evaluations_there_is_no_log() -> None:
    assert training_log([{"step": 1, "tokens": 5}], logging_steps=1, best_step=1, primary=None) is None
