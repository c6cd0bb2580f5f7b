"""What each verb does: build the values, call one public function, print.

In: parsed options. Out: stdout.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankwright.errors import ConfigError
from rankwright.files import check_writable, replacing, write_json, write_text

if TYPE_CHECKING:
    import numpy as np


def train_verb(
    config: Path | None,
    flags: Mapping[str, Any],
    *,
    columns: Sequence[str],
    overrides: Sequence[str],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train, and print the measured result."""
    from rankwright.cli.printing import print_comparisons, print_evaluations, print_json
    from rankwright.cli.progress import terminal_watch
    from rankwright.config import read_config
    from rankwright.evaluation.comparison import Comparison, stronger
    from rankwright.workflow.folder import has_checkpoint
    from rankwright.workflow.runs import plan_run, run_config

    given = {key: value for key, value in flags.items() if value is not None}
    if columns:
        given["data.columns"] = roles(columns)
    resolved = read_config(config, overrides, flags=given)
    if "training.num_train_epochs" in given and resolved.training.max_steps != -1:
        raise ConfigError(
            f"--epochs has no effect: max_steps = {resolved.training.max_steps} counts the steps in place of epochs. "
            "Leave --epochs out, or add --set training.max_steps=-1."
        )
    if dry_run:
        print_json(plan_run(resolved))
        return
    try:
        result = run_config(resolved, watch=terminal_watch())
    except KeyboardInterrupt:
        goes_on = (
            "goes on from the last checkpoint" if has_checkpoint(Path(resolved.out)) else "begins at the first step"
        )
        sys.stderr.write(f"\nstopped; the same command {goes_on}\n")
        raise
    if as_json:
        print_json(result.summary)
        return
    print_evaluations([*result.references, *result.trained])
    if facts := result.summary.get("comparison"):
        verdict = Comparison(**facts)
        rivals = stronger(result.trained[0], result.references, reference=verdict.reference)
        print_comparisons([verdict, *rivals])
    sys.stdout.write(f"model and card: {result.folder / 'model'}\n")


def evaluate_verb(
    arguments: Sequence[str],
    *,
    model_options: Mapping[str, Any],
    data_options: Mapping[str, Any],
    settings: Mapping[str, Any],
    references: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure, and print tables and comparisons."""
    from rankwright.cli.printing import print_comparisons, print_evaluations, print_json
    from rankwright.models import BiEncoder
    from rankwright.models.opening import open_model
    from rankwright.workflow import Settings, evaluate, read_evaluation_data

    *names, source = arguments
    if not names:
        raise ConfigError(f"evaluate needs at least one model and the data, got only {source!r}.")
    make_room(out)
    data = read_evaluation_data(
        source,
        columns=roles(data_options["columns"]) or None,
        split=data_options["split"],
        first_stage=data_options["first_stage"],
    )
    if data_options["columns"] and data.table is None:
        raise ConfigError(f"--column has no effect on {source}, a BEIR folder. Remove it.")
    chosen = Settings(
        measures=tuple(listed(settings["measures"])),
        primary=settings["primary"],
        top_k=settings["top_k"],
        dims=tuple(whole_numbers(settings["dims"], "--dims")),
    )
    models = [open_model(name, **model_options) for name in names]
    if data_options["first_stage"] is not None and all(isinstance(model, BiEncoder) for model in models):
        raise ConfigError("--first-stage has no effect on a bi-encoder, which searches the corpus itself. Remove it.")
    result = evaluate(models, data, settings=chosen, references=references)
    if out is not None:
        write_json(out, result.to_json())
    if as_json:
        print_json(result.to_json())
        return
    print_evaluations(result.evaluations)
    print_comparisons(result.comparisons)


def rank_verb(
    name: str,
    query: str,
    documents: str,
    *,
    model_options: Mapping[str, Any],
    top_k: int,
    column: str | None,
    as_json: bool,
) -> None:
    """Rank the documents of a file, best first."""
    from rankwright.cli.printing import print_json, print_table
    from rankwright.data import read_texts
    from rankwright.models.opening import open_model

    texts = read_texts(documents, column=column)
    model = open_model(name, **model_options)
    entries = model.rank(query, texts, top_k=top_k, return_documents=True)
    if as_json:
        print_json(entries)
        return
    rows = [[str(i + 1), f"{e['score']:.4f}", str(e["corpus_id"] + 1), e["text"][:300]] for i, e in enumerate(entries)]
    print_table([["rank", "score", "document", "text"], *rows])


def encode_verb(
    name: str,
    texts: str,
    *,
    out: Path,
    model_options: Mapping[str, Any],
    encode_options: Mapping[str, Any],
    column: str | None,
    as_json: bool,
) -> None:
    """Write embeddings to a .npy file, beside it the ranges of their levels, and say what was written."""
    import time

    from rankwright.cli.printing import print_json
    from rankwright.data import read_texts
    from rankwright.models import BiEncoder
    from rankwright.models.precision import LEVELS, quantize, ranges_of, ranges_path, read_ranges

    if out.suffix != ".npy":
        raise ConfigError(f"--out {out}: expected a name that ends in .npy.")
    make_room(out)
    options = dict(encode_options)
    precision, given = options["precision"], options["ranges"]
    options["ranges"] = None if given is None else read_ranges(given)
    finds_ranges = given is None and precision in LEVELS
    if finds_ranges:
        options["precision"] = "float32"
    listed_texts = read_texts(texts, column=column)
    model = BiEncoder(name, **model_options)
    started = time.perf_counter()
    embeddings = model.encode(listed_texts, show_progress=sys.stderr.isatty(), **options)
    seconds = time.perf_counter() - started
    arrays = {}
    if finds_ranges:
        arrays[ranges_path(out)] = ranges_of(embeddings, precision)
        embeddings = quantize(embeddings, precision, ranges_2E=arrays[ranges_path(out)])
    write_arrays(arrays | {out: embeddings})
    facts = {
        "out": str(out),
        "shape": list(embeddings.shape),
        "type": str(embeddings.dtype),
        "texts_per_s": round(len(listed_texts) / max(seconds, 1e-9), 1),
        "engine": model.checkpoint.engine.name,
        "dtype": model.dtype,
        "truncated_texts": model.truncation.num_truncated,
        "tokens_lost": model.truncation.tokens_lost,
    }
    if precision in LEVELS:
        facts["ranges"] = str(given or ranges_path(out))
    if as_json:
        print_json(facts)
        return
    sys.stdout.write("\n".join(f"{key}: {value}" for key, value in facts.items()) + "\n")


def write_arrays(arrays: "Mapping[Path, np.ndarray]") -> None:
    """Write .npy files, all of them or none: levels mean nothing with the ranges of others."""
    import numpy as np

    with ExitStack() as stack:
        for path, array in arrays.items():
            with stack.enter_context(replacing(path)).open("wb") as file:
                np.save(file, array)


def card_verb(run: Path, *, template: Path | None, out: str | None) -> None:
    """Write the card of a run."""
    from rankwright.card import render_card, write_card

    if out is None:
        sys.stdout.write(f"{write_card(run, template=template)}\n")
        return
    if out == "-":
        sys.stdout.write(render_card(run, template=template))
    else:
        make_room(Path(out))
        write_text(Path(out), render_card(run, template=template))


def roles(columns: Sequence[str]) -> dict[str, str]:
    """ROLE=NAME arguments as a mapping."""
    pairs = [column.partition("=") for column in columns]
    bad = next((column for column, (role, _, name) in zip(columns, pairs, strict=True) if not role or not name), None)
    if bad is not None:
        raise ConfigError(f"--column {bad}: expected ROLE=NAME, such as --column query=sentence1.")
    return {role: name for role, _, name in pairs}


def listed(text: str | None) -> list[str]:
    """A comma-separated list."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def whole_numbers(text: str | None, flag: str) -> list[int]:
    """A comma-separated list of whole numbers."""
    parts = listed(text)
    bad = next((part for part in parts if not part.isdigit() or int(part) < 1), None)
    if bad is not None:
        raise ConfigError(f"{flag} {text}: {bad!r} is not a whole number above 0.")
    return [int(part) for part in parts]


def check_column(column: str | None, source: str | None) -> None:
    """Refuse the column of a file that was not given."""
    if column is not None and source is None:
        raise ConfigError(f"--column {column} has no effect without a FILE. Name the file, or remove it.")


def make_room(out: Path | None) -> None:
    """The folder of a file to be written, made before the work that fills it."""
    if out is None:
        return
    if out.is_dir():
        raise ConfigError(f"--out {out}: this is a folder. Name a file.")
    out.parent.mkdir(parents=True, exist_ok=True)
    check_writable(out.parent)
