"""What the numbers of a card do not show, said from the facts of the run.

In: the facts of a run. Out: sentences in Markdown.
"""

from rankwright.card.citations import losses_of
from rankwright.card.data_tables import truncation_sentence
from rankwright.card.markdown import number, plain
from rankwright.card.results import Measured, measured
from rankwright.card.run_folder import DatasetFacts, RunFolder
from rankwright.evaluation.report import Evaluation

SMALL = 10_000
"""Training rows below which the card warns of a narrow domain."""

NEGATIVES = {
    "multiple_negatives_ranking": (
        "Negatives were the other documents of each batch and those given in the data; none were mined by this run. "
        "A document that also answers another query of its batch counted as wrong."
    ),
    "binary_cross_entropy": (
        "Negatives were the pairs that the data label so; none were mined by this run. "
        "Documents that another first stage finds may be harder to tell apart."
    ),
}


def limits(run: RunFolder) -> list[str]:
    """Sentences on what this card cannot promise.

    Args:
        run: the facts of the run.

    Returns:
        Only what applies to the run, the gravest first.
    """
    groups, size = measured(run), run.data.train.size
    units = " and ".join(dict.fromkeys(group.unit for group in groups)) or "queries"
    sentences = [*_unmeasured(run), *(sentence for group in groups for sentence in _precision(group))]
    if groups:
        sentences += _choice(run)
    sentences.append(
        f"One run with one seed ({run.config.training.seed}): intervals are over the {units}, "
        "and another seed would move the results too."
    )
    if size < SMALL:
        sentences.append(f"{size:,} training rows are few: expect less on texts that differ from them.")
    sentences += [NEGATIVES[loss.name] for loss in losses_of(run.summary.loss) if loss.name in NEGATIVES]
    for dataset in (run.data.train, *run.data.eval):
        if dataset.truncation and dataset.truncation.truncated:
            sentences.append(f"{plain(dataset.name)}: {truncation_sentence(dataset, run.summary.max_length)}")
    return sentences


def _unmeasured(run: RunFolder) -> list[str]:
    if not run.trained:
        return ["Nothing was measured: how good this model is, is not known."]
    if run.data.train.sha256 in {one.sha256 for one in run.data.eval}:
        return ["The evaluation data are the training data: the results say nothing about new texts."]
    return [_overlap(one) for one in run.data.eval]


def _overlap(dataset: DatasetFacts) -> str:
    name = plain(dataset.name)
    if dataset.overlap is None:
        return f"Whether texts of {name} also occur in the training data was not checked."
    shared = dataset.overlap
    if not shared.queries and not shared.pairs:
        return f"No query and no pair of {name} is in the training data word for word; near copies were not looked for."
    return (
        f"{shared.queries:,} queries and {shared.pairs:,} judged pairs of {name} are also in the training data, word "
        "for word: its numbers say less about new texts."
    )


def _precision(group: Measured) -> list[str]:
    """How fine a difference the evaluation can see, and where it holds."""
    main = group.main
    known, bounds = "", main.intervals.get(main.primary)
    if bounds and bounds[0] == bounds[1]:  # such as 1.0 for every query: no resample differs
        known = f", too few or too alike to say how well {main.primary} is known"
    elif bounds:
        known = f", so {main.primary} is known to about +/- {number((bounds[1] - bounds[0]) / 2)} only"
    return [f"{group.title}: {group.size}{known}.{_scope(main)}"]


def _scope(main: Evaluation) -> str:
    """What the evaluation searched or ranked, which bounds where its result holds."""
    if main.task == "retrieval":
        num = main.parameters.get("num_documents")
        size = f"{num:,} documents" if isinstance(num, int) else "this size"
        return f" The result holds for a collection of {size}; a larger one is harder."
    if main.task != "reranking":
        return ""
    if main.parameters.get("candidates") == "judged documents":
        return (
            " Only documents that somebody judged were ranked; those that a search finds may be harder to tell apart."
        )
    return " The result holds for the documents of this first stage."


def _choice(run: RunFolder) -> list[str]:
    """That choosing the best checkpoint on the evaluation set flatters it."""
    times = {row["step"] for row in run.metrics if any(key.startswith("eval_") for key in row)}
    if len(times) < 2 or not run.config.training.load_best_model_at_end:
        return []
    return [
        f"The saved checkpoint is the best of {len(times)} by its evaluation on these same data, "
        "so the results are a little too good."
    ]
