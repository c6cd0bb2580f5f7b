"""What is to be measured, checked against the model and the data before anything is measured.

In: `Settings`. Out: nothing, or a `ConfigError` that names what has no effect.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rankwright.card import check_template
from rankwright.config import RunConfig
from rankwright.errors import ConfigError, DataError
from rankwright.evaluation import RETRIEVAL_MEASURES, parse_measure
from rankwright.evaluation.pairs import pair_measures
from rankwright.evaluation.report import Task
from rankwright.models import BiEncoder, CrossEncoder
from rankwright.workflow.inputs import Inputs
from rankwright.workflow.measuring import EvaluationData, Settings, is_of_rankings, ranking_measures


def check_settings(model: BiEncoder | CrossEncoder, data: EvaluationData, settings: Settings) -> None:
    """Refuses data that tell nothing, measures that none of their tasks has, and sizes that no embedding has.

    Args:
        model: to be measured.
        data: to measure on.
        settings: to measure by.

    Raises:
        ConfigError: names what has no effect, and what there is.
        DataError: all labels are the same.
    """
    labels = {row.label for row in data.labelled}
    if len(labels) == 1:
        raise DataError(
            f"{data.source}: all {len(data.labelled):,} labels of {data.name} are {min(labels):g}, so that no measure "
            "can tell good scores from bad ones. Add pairs with other labels, or measure on other data (--eval FILE)."
        )
    known = measure_names(model, data, settings)
    if not known:
        raise ConfigError(f"{data.name} has nothing to measure a model of several labels by. Give labelled pairs.")
    for name in settings.measures:
        if _ranks(model, data) and name not in _pair_measures(model, data):
            parse_measure(name)
        elif name not in known:
            raise ConfigError(
                f"measure {name!r} is not among those of {data.name}: {', '.join(known)}."
                + _why_no_ranking(model, data, name)
            )
    if settings.primary is not None and settings.primary not in known:
        raise ConfigError(
            f"primary measure {settings.primary!r} is not among those of this data: {', '.join(known)}. "
            "Name one of these, or add it to the measures." + _why_no_ranking(model, data, settings.primary)
        )
    if isinstance(model, BiEncoder):
        check_dims("dims", settings.dims, model.get_embedding_dimension(), model.folder.name)


def check_dims(key: str, dims: Sequence[int], size: int, base: str) -> None:
    """Refuses sizes above that of the embeddings.

    Args:
        key: what set them.
        dims: the sizes.
        size: of the model's embeddings.
        base: the model.

    Raises:
        ConfigError: names the sizes that fit.
    """
    if any(dim > size for dim in dims):
        fitting = [dim for dim in dims if dim <= size] or [size]
        raise ConfigError(
            f"{key} = {list(dims)}: embeddings of {base} have {size} numbers. Remove the larger sizes, as in "
            f"{key}={fitting}."
        )


def check_run(config: RunConfig, model: BiEncoder | CrossEncoder, inputs: Inputs, settings: Settings) -> None:
    """Refuses what a run would find out only when it trains: measures, and that of the best checkpoint.

    Args:
        config: of the run.
        model: the base.
        inputs: the data, as read.
        settings: what will be measured.

    Raises:
        ConfigError: names the key and what it can be.
    """
    check_settings(model, inputs.evaluation, settings)
    training = config.training
    if training.load_best_model_at_end and training.metric_for_best_model is not None:
        known = measure_names(model, inputs.evaluation, settings)
        primary = primary_name(model, inputs.evaluation, settings)
        known += [f"dim_{dim}_{primary}" for dim in settings.dims[1:]]
        if training.metric_for_best_model.removeprefix("eval_") not in known:
            raise ConfigError(
                f"metric_for_best_model = {training.metric_for_best_model!r}: the evaluation gives {', '.join(known)}. "
                "Name one of these."
            )


def check_machine(config: RunConfig) -> None:
    """Refuses what the machine has not: a device, a type that it multiplies, the template of the card.

    Args:
        config: of the run.

    Raises:
        ConfigError: names the key, and what there is.
    """
    from rankwright.training.devices import training_device, training_dtype

    training = config.training
    training_dtype(training.dtype, training_device(training.device))
    if config.card.template is None:
        return
    try:
        check_template(Path(config.card.template))
    except DataError as err:
        raise ConfigError(f"template in [card]: {err}") from err


def check_loss(config: RunConfig, model: BiEncoder | CrossEncoder, inputs: Inputs) -> None:
    """Refuses rows, labels and batches that the config's loss cannot use.

    Args:
        config: of the run.
        model: the base.
        inputs: the data, as read.

    Raises:
        ConfigError: names the key to change.
    """
    if isinstance(model, CrossEncoder):
        _check_labels(config, model, inputs)
        return
    rows = inputs.table.positive_rows()
    if min(config.training.per_device_train_batch_size, len(rows)) == 1 and not any(row.negatives for row in rows):
        raise ConfigError(
            "multiple_negatives_ranking with one row in a batch and no negatives has nothing to tell apart, and trains "
            "nothing. Set training.per_device_train_batch_size to 2 or more, or give negatives."
        )


def measure_names(model: BiEncoder | CrossEncoder, data: EvaluationData, settings: Settings) -> list[str]:
    """The names of all measures that `measure_model` gives, those of the first task first."""
    names: list[str] = []
    if _ranks(model, data):
        searches = isinstance(model, BiEncoder) and data.has_corpus
        ranking = (settings.measures or RETRIEVAL_MEASURES) if searches else ranking_measures(settings)
        names += [str(parse_measure(name)) for name in ranking]
    return list(dict.fromkeys([*names, *_pair_measures(model, data)]))


def primary_name(model: BiEncoder | CrossEncoder, data: EvaluationData, settings: Settings) -> str:
    """The measure that systems are compared, and checkpoints chosen by."""
    return settings.primary or measure_names(model, data, settings)[0]


def _ranks(model: BiEncoder | CrossEncoder, data: EvaluationData) -> bool:
    """Whether documents of a query are put in order: several labels give no order."""
    return data.retrieval is not None and not _has_classes(model)


def _has_classes(model: BiEncoder | CrossEncoder) -> bool:
    return isinstance(model, CrossEncoder) and model.num_labels > 1


def _pair_measures(model: BiEncoder | CrossEncoder, data: EvaluationData) -> list[str]:
    """The measures of labelled pairs, named by the function that computes them."""
    if not data.labelled:
        return []
    task: Task = "classification" if _has_classes(model) or data.is_binary else "similarity"
    columns = {"label": np.array([0.0, 1.0]), "prediction" if _has_classes(model) else "score": np.array([0.0, 1.0])}
    return list(pair_measures(columns, np.ones((1, 2)), task))


def _why_no_ranking(model: BiEncoder | CrossEncoder, data: EvaluationData, measure: str) -> str:
    """What to add where a measure of rankings is asked of pairs with grades."""
    if data.is_binary or not is_of_rankings(measure) or _has_classes(model):
        return ""
    grade = next(row.label for row in data.labelled if row.label not in (0.0, 1.0))
    return (
        f" Its pairs have labels other than 0 and 1 (such as {grade:g}), which do not say what is relevant; for graded "
        "relevance give a BEIR folder."
    )


def _check_labels(config: RunConfig, model: CrossEncoder, inputs: Inputs) -> None:
    labels = {row.label for row in (*inputs.table.labelled_rows(), *inputs.evaluation.labelled)}
    if config.loss.name != "cross_entropy":
        if model.num_labels > 1:
            remedy = "num_labels = 1 in [model], or " if model.spec.head_is_new else ""  # a trained head stays as it is
            raise ConfigError(
                f"the loss {config.loss.name} is for one label, but {config.model.base} has {model.num_labels}. "
                f'Set {remedy}name = "cross_entropy" in [loss], with labels 0 to {model.num_labels - 1}; or start from '
                "a base without a head."
            )
        return
    needed = max(2, int(max(labels)) + 1)
    if model.num_labels < needed:
        raise ConfigError(
            f"the loss cross_entropy has labels up to {max(labels):g}, but the model {model.num_labels} output(s). "
            f"Set num_labels = {needed} in [model]."
        )
