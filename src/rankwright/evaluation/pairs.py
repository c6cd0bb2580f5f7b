"""Measures of labelled pairs: does a score tell the labels apart (classification), or follow them (similarity)?

In: a score (or a score per class) and a label for each pair. Out: an `Evaluation`.
Letters: N pairs, L classes, R resamples of the pairs, G groups of equal scores.

Every measure is a function of how often each pair counts, so that a value and its bootstrap interval are one
computation: counts of 1 give the value, drawn counts give the resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from rankwright.errors import DataError, ShapeError
from rankwright.evaluation.bootstrap import interval, resample_counts
from rankwright.evaluation.report import Evaluation, Task


def evaluate_classification(
    scores: np.ndarray, labels: Sequence[float] | np.ndarray, *, dataset: str, system: str
) -> Evaluation:
    """How well scores tell classes apart.

    One score a pair: "ap" (the primary measure), the best "f1" over all thresholds with its "precision" and "recall",
    and the best "accuracy"; a pair is positive where its score is at least the threshold, so that equal scores are
    never split. A score per class: "f1_macro" (primary), "f1_micro", "f1_weighted" and "accuracy" of the class with
    the highest score.

    Args:
        scores: scores_N, or scores_NL with a column for each of the classes 0..L-1.
        labels: 0 or 1, or the number of the class.
        dataset: name of the data set.
        system: who gave the scores.

    Returns:
        The evaluation; `per_query` keeps score (or prediction) and label of each pair.

    Raises:
        DataError: a label that is no class, or the same label on all pairs.

    >>> found = evaluate_classification(np.array([0.9, 0.6, 0.6, 0.1]), [1, 1, 0, 0], dataset="four", system="model")
    >>> {name: round(found.measures[name], 3) for name in ("ap", "f1", "f1_threshold")}
    {'ap': 0.833, 'f1': 0.8, 'f1_threshold': 0.35}
    """
    scores, label_N = _checked(scores, labels)
    num_classes = scores.shape[1] if scores.ndim == 2 else 2
    wrong_N = ~np.isin(label_N, np.arange(num_classes))
    if wrong_N.any():
        at = int(wrong_N.argmax())
        raise DataError(
            f"label {label_N[at]:g} of pair {at} is not one of the {num_classes} classes 0..{num_classes - 1}. "
            "Labels that are degrees are measured as similarity."
        )
    if (label_N == label_N[0]).all():
        raise DataError(f"all {len(label_N)} labels are {label_N[0]:g}: there are no classes to tell apart.")
    values = {"score": scores} if scores.ndim == 1 else {"prediction": scores.argmax(axis=1).astype(np.float64)}
    return _evaluation("classification", {**values, "label": label_N}, dataset=dataset, system=system)


def evaluate_similarity(
    scores: np.ndarray, labels: Sequence[float] | np.ndarray, *, dataset: str, system: str
) -> Evaluation:
    """How well scores follow labels that are degrees: "spearman" (the primary measure) and "pearson".

    Args:
        scores: one score a pair.
        labels: the degree that people gave to each pair.
        dataset: name of the data set.
        system: who gave the scores.

    Returns:
        The evaluation. Scores that are all equal follow nothing: both measures are 0, and `parameters["note"]` says so.

    Raises:
        ShapeError: more than one score a pair.
        DataError: the same label on all pairs.

    >>> evaluate_similarity(np.array([0.1, 0.2, 0.9]), [1, 2, 3], dataset="three", system="model").measures["spearman"]
    1.0
    """
    scores, label_N = _checked(scores, labels)
    if scores.ndim != 1:
        raise ShapeError(f"similarity is measured on one score a pair, got scores of shape {scores.shape}.")
    if (label_N == label_N[0]).all():
        raise DataError(f"all {len(label_N)} labels are {label_N[0]:g}: there is no order to follow.")
    evaluation = _evaluation("similarity", {"score": scores, "label": label_N}, dataset=dataset, system=system)
    if (scores == scores[0]).all():
        note = f"all {len(scores)} scores are {scores[0]:g}: no correlation is defined, 0 is shown"
        evaluation = replace(evaluation, parameters={"note": note})
    return evaluation


def pair_measures(columns: Mapping[str, np.ndarray], counts_RN: np.ndarray, task: Task) -> dict[str, np.ndarray]:
    """All measures of a task, for each set of counts.

    Args:
        columns: label_N with score_N or prediction_N, under these names.
        counts_RN: how often each pair counts.
        task: "classification" or "similarity".

    Returns:
        values_R of each measure, the primary one first; NaN where a resample has no positive pair.
    """
    if task == "similarity":
        return _correlations(columns["score"], columns["label"], counts_RN)
    if "prediction" in columns:
        return _multi_class(columns["prediction"], columns["label"], counts_RN)
    return _binary(columns["score"], columns["label"], counts_RN)


def _checked(scores: np.ndarray, labels: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores as floats (float32 stays float32, so that thresholds fit it) and labels as float64."""
    label_N = np.asarray(labels, dtype=np.float64)
    scores = np.asarray(scores)
    scores = scores if np.issubdtype(scores.dtype, np.floating) else scores.astype(np.float64)
    if scores.ndim == 2 and scores.shape[1] == 1:
        scores = scores[:, 0]
    if label_N.ndim != 1 or scores.ndim not in (1, 2) or len(scores) != len(label_N) or len(label_N) == 0:
        raise ShapeError(f"expected scores and a label for each pair, got shapes {scores.shape} and {label_N.shape}.")
    for name, values in (("score", scores), ("label", label_N)):
        if not np.isfinite(values).all():
            raise DataError(
                f"the {name} of pair {int(np.argwhere(~np.isfinite(values))[0, 0])} is not a finite number."
            )
    return scores, label_N


def _evaluation(task: Task, columns: Mapping[str, np.ndarray], *, dataset: str, system: str) -> Evaluation:
    """Values at counts of 1, intervals at drawn counts."""
    num = len(columns["label"])
    values = pair_measures(columns, np.ones((1, num)), task)
    parts = [pair_measures(columns, counts_RN, task) for counts_RN in resample_counts(num)]
    names = [name for name in values if not name.endswith("_threshold")]
    return Evaluation(
        task=task,
        dataset=dataset,
        system=system,
        measures={name: float(value_R[0]) for name, value_R in values.items()},
        intervals={name: interval(np.concatenate([part[name] for part in parts])) for name in names},
        primary=names[0],
        num_queries=num,
        query_ids=tuple(map(str, range(num))),
        per_query={name: tuple(values_N.tolist()) for name, values_N in columns.items()},
    )


def _binary(score_N: np.ndarray, label_N: np.ndarray, counts_RN: np.ndarray) -> dict[str, np.ndarray]:
    """Measures over all thresholds: one between each two neighbouring groups of equal scores.

    Average precision sums precision over the steps in recall, as scikit-learn's average_precision_score.
    """
    order_N = np.argsort(-score_N, kind="stable")
    score_N, counts_RN = score_N[order_N], counts_RN[:, order_N]
    last_G = np.flatnonzero(np.append(score_N[1:] != score_N[:-1], True))
    hits_RG = np.cumsum(counts_RN * label_N[order_N], axis=1)[:, last_G]
    taken_RG = np.cumsum(counts_RN, axis=1)[:, last_G]
    positives_R1, all_R1 = hits_RG[:, -1:], taken_RG[:, -1:]
    with np.errstate(invalid="ignore"):
        precision_RG = hits_RG / np.maximum(taken_RG, 1)
        recall_RG = hits_RG / positives_R1
        ap_R = (np.diff(recall_RG, axis=1, prepend=0) * precision_RG).sum(axis=1)
    f1_RG = 2 * hits_RG / np.maximum(taken_RG + positives_R1, 1)
    right_RG = 2 * hits_RG - taken_RG + (all_R1 - positives_R1)
    # The first accuracy is that of a threshold above all scores.
    accuracy_RG1 = np.concatenate([all_R1 - positives_R1, right_RG], axis=1) / all_R1
    threshold_G = _thresholds(score_N[last_G])
    best_R, best_accuracy_R = f1_RG.argmax(axis=1), accuracy_RG1.argmax(axis=1)
    above = np.nextafter(score_N[:1], np.inf, dtype=score_N.dtype)
    rows_R = np.arange(len(counts_RN))
    return {
        "ap": ap_R,
        "f1": f1_RG[rows_R, best_R],
        "f1_threshold": threshold_G[best_R],
        "precision": precision_RG[rows_R, best_R],
        "recall": recall_RG[rows_R, best_R],
        "accuracy": accuracy_RG1[rows_R, best_accuracy_R],
        "accuracy_threshold": np.append(above, threshold_G)[best_accuracy_R],
    }


def _thresholds(score_G: np.ndarray) -> np.ndarray:
    """For each group the lowest score counts as positive: halfway to the next group, the last group's own score."""
    middle_G = score_G.copy()
    middle_G[:-1] += (score_G[1:] - score_G[:-1]) / 2
    # Halfway between two neighbouring floats rounds to one of them, maybe the one that must stay below.
    middle_G[:-1] = np.where(middle_G[:-1] == score_G[1:], score_G[:-1], middle_G[:-1])
    return middle_G


def _multi_class(prediction_N: np.ndarray, label_N: np.ndarray, counts_RN: np.ndarray) -> dict[str, np.ndarray]:
    """F1 of each class, averaged over the classes that occur, as scikit-learn's f1_score."""
    L = int(max(prediction_N.max(), label_N.max())) + 1
    is_label_NL, is_prediction_NL = label_N[:, None] == np.arange(L), prediction_N[:, None] == np.arange(L)
    hits_RL = counts_RN @ (is_label_NL & is_prediction_NL)
    labelled_RL, predicted_RL = counts_RN @ is_label_NL, counts_RN @ is_prediction_NL
    f1_RL = 2 * hits_RL / np.maximum(labelled_RL + predicted_RL, 1)
    num_R = counts_RN.sum(axis=1)
    accuracy_R = hits_RL.sum(axis=1) / num_R
    return {
        "f1_macro": f1_RL.sum(axis=1) / (labelled_RL + predicted_RL > 0).sum(axis=1),
        "f1_micro": accuracy_R,
        "f1_weighted": (f1_RL * labelled_RL).sum(axis=1) / num_R,
        "accuracy": accuracy_R,
    }


def _correlations(score_N: np.ndarray, label_N: np.ndarray, counts_RN: np.ndarray) -> dict[str, np.ndarray]:
    """Correlation of the ranks (ties share the mean of their ranks), and of the numbers."""
    return {
        "spearman": _pearson(_ranks(score_N, counts_RN), _ranks(label_N, counts_RN), counts_RN),
        "pearson": _pearson(score_N.astype(np.float64), label_N, counts_RN),
    }


def _ranks(value_N: np.ndarray, counts_RN: np.ndarray) -> np.ndarray:
    """ranks_RN of the values among all that are counted."""
    order_N = np.argsort(value_N, kind="stable")
    sorted_N = value_N[order_N]
    is_last_N = np.append(sorted_N[1:] != sorted_N[:-1], True)
    up_to_RG = np.cumsum(counts_RN[:, order_N], axis=1)[:, is_last_N]
    below_RG = np.concatenate([np.zeros((len(up_to_RG), 1)), up_to_RG[:, :-1]], axis=1)
    group_N = np.empty(len(value_N), dtype=np.int64)
    group_N[order_N] = np.cumsum(is_last_N) - is_last_N
    rank_RG: np.ndarray = (below_RG + up_to_RG + 1) / 2
    return rank_RG[:, group_N]


def _pearson(x: np.ndarray, y: np.ndarray, counts_RN: np.ndarray) -> np.ndarray:
    """Correlation where each pair counts as often as told; 0 where either side is constant."""
    num_R1 = counts_RN.sum(axis=1, keepdims=True)
    dx_RN = x - (counts_RN * x).sum(axis=1, keepdims=True) / num_R1
    dy_RN = y - (counts_RN * y).sum(axis=1, keepdims=True) / num_R1
    sx_R, sy_R = ((counts_RN * d_RN**2).sum(axis=1) for d_RN in (dx_RN, dy_RN))
    # A constant leaves only the rounding of its mean behind.
    sizes = ((1e-13 * np.abs(values).max()) ** 2 * num_R1[:, 0] for values in (x, y))
    is_defined_R = np.logical_and(*(s_R > size for s_R, size in zip((sx_R, sy_R), sizes, strict=True)))
    covariance_R = (counts_RN * dx_RN * dy_RN).sum(axis=1)
    r_R = np.divide(covariance_R, np.sqrt(sx_R * sy_R), out=np.zeros(len(covariance_R)), where=is_defined_R)
    clipped_R: np.ndarray = np.clip(r_R, -1, 1)
    return clipped_R
