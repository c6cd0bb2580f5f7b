"""The verbs of `rankwright`, with their options.

In: arguments. Out: calls of the functions below, which import what they need when they run.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


class Kind(StrEnum):
    """The two kinds of model."""

    bi_encoder = "bi-encoder"
    cross_encoder = "cross-encoder"


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Dtype = Annotated[str, typer.Option(help="Type of the computation: auto, float32, bfloat16, float16, int8.")]
EngineName = Annotated[str, typer.Option("--engine", help="auto, openvino or torch.")]
MaxLength = Annotated[int | None, typer.Option(help="Tokens of a text or pair at most; default: the model's own.")]
Column = Annotated[list[str] | None, typer.Option("--column", help="ROLE=NAME of a column, such as query=sentence1.")]


def print_version(wanted: bool) -> None:
    """Print the version and exit, before a verb is asked for."""
    if wanted:
        from rankwright import __version__

        typer.echo(f"rankwright {__version__}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what is being done, on stderr.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=print_version, is_eager=True)
    ] = False,
) -> None:
    """Train, measure, document and run text rankers: bi-encoders that retrieve and cross-encoders that rerank."""
    import logging

    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger().handlers[0].setLevel(level)  # bm25s sets its own logger to DEBUG


@app.command()
def train(
    config: Annotated[Path | None, typer.Argument(help="A TOML file; flags and --set go over it.")] = None,
    *,
    base: Annotated[str | None, typer.Option(help="Folder or Hub id to start from.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="What is trained.")] = None,
    train_data: Annotated[
        str | None, typer.Option("--train", "--data", help="File of pairs, BEIR folder, Hub id.")
    ] = None,
    eval_data: Annotated[
        str | None,
        typer.Option("--eval", help="Pairs or a BEIR folder to measure on; default: a tenth of the queries."),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="binary_cross_entropy, cross_entropy, mean_squared_error or multiple_negatives_ranking."),
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Steps in all, in place of --epochs.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows of a batch.")] = None,
    max_length: MaxLength = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all that is drawn.")] = None,
    out: Annotated[str | None, typer.Option(help="Folder of the run.")] = None,
    column: Column = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="SECTION.KEY=VALUE of the config; --dry-run shows all.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved config and the plan, and stop.")
    ] = False,
    json_: Json = False,
) -> None:
    """Train a model, measure it beside its references, and write its card.

    A run that was stopped goes on where it was when the same command is given again.
    """
    from rankwright.cli.verbs import train_verb

    flags = {
        "model.base": base,
        "kind": kind,
        "data.train": train_data,
        "data.eval": eval_data,
        "loss.name": loss,
        "training.num_train_epochs": epochs,
        "training.max_steps": max_steps,
        "training.learning_rate": lr,
        "training.per_device_train_batch_size": batch_size,
        "model.max_length": max_length,
        "training.seed": seed,
        "out": out,
    }
    train_verb(config, flags, columns=column or [], overrides=set_ or [], dry_run=dry_run, as_json=json_)


@app.command()
def evaluate(
    arguments: Annotated[list[str], typer.Argument(metavar="MODEL... DATA", help="Models, then the data.")],
    *,
    kind: Annotated[Kind | None, typer.Option(help="Kind of the models; default: what their files say.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of a BEIR folder or Hub data set.")] = None,
    measures: Annotated[str | None, typer.Option(help="Comma-separated, such as ndcg@10,recall@100.")] = None,
    dims: Annotated[str | None, typer.Option(help="Comma-separated embedding sizes (Matryoshka).")] = None,
    first_stage: Annotated[Path | None, typer.Option(help="TREC run to rerank; default: BM25's.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Documents of each query that are reranked.")] = 100,
    primary: Annotated[str | None, typer.Option(help="Measure that models are compared by.")] = None,
    column: Column = None,
    references: Annotated[bool, typer.Option(help="Measure references that need no model too.")] = True,
    dtype: Dtype = "auto",
    engine: EngineName = "auto",
    max_length: MaxLength = None,
    out: Annotated[Path | None, typer.Option(help="Write all numbers, each query's too, to this JSON file.")] = None,
    json_: Json = False,
) -> None:
    """Measure models on data, beside references, with intervals and paired comparisons."""
    from rankwright.cli.verbs import evaluate_verb

    evaluate_verb(
        arguments,
        model_options={"dtype": dtype, "engine": engine, "max_length": max_length, "kind": kind},
        data_options={"split": split, "first_stage": first_stage, "columns": column or []},
        settings={"measures": measures, "dims": dims, "top_k": top_k, "primary": primary},
        references=references,
        out=out,
        as_json=json_,
    )


@app.command()
def rank(
    model: Annotated[str, typer.Argument(help="Folder or Hub id, of either kind.")],
    query: Annotated[str, typer.Argument(help="The query.")],
    documents: Annotated[str, typer.Argument(metavar="FILE|-", help="One document a line, or JSONL/CSV; - for stdin.")],
    *,
    top_k: Annotated[int, typer.Option(min=1, help="Show the best so many.")] = 10,
    kind: Annotated[Kind | None, typer.Option(help="Kind of the model; default: what its files say.")] = None,
    column: Annotated[str | None, typer.Option(help="Column of the file that holds the documents.")] = None,
    dtype: Dtype = "auto",
    engine: EngineName = "auto",
    max_length: MaxLength = None,
    json_: Json = False,
) -> None:
    """Rank documents for a query."""
    from rankwright.cli.verbs import rank_verb

    rank_verb(
        model,
        query,
        documents,
        model_options={"dtype": dtype, "engine": engine, "max_length": max_length, "kind": kind},
        top_k=top_k,
        column=column,
        as_json=json_,
    )


@app.command()
def encode(
    model: Annotated[str, typer.Argument(help="Folder or Hub id of a bi-encoder.")],
    texts: Annotated[str, typer.Argument(metavar="FILE|-", help="One text a line, or JSONL/CSV; - for stdin.")],
    *,
    out: Annotated[Path, typer.Option(help="A .npy file, one row for each text.")],
    prompt_name: Annotated[str | None, typer.Option(help="The model's prompt for these texts.")] = None,
    prompt: Annotated[str | None, typer.Option(help="A prompt of your own.")] = None,
    normalize: Annotated[bool, typer.Option(help="Divide each embedding by its norm.")] = False,
    truncate_dim: Annotated[int | None, typer.Option(help="Keep the first so many dimensions.")] = None,
    precision: Annotated[str, typer.Option(help="float32, int8, uint8, binary or ubinary.")] = "float32",
    ranges: Annotated[
        Path | None, typer.Option(help="Ranges of int8 or uint8: the .ranges.npy beside the documents' embeddings.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="Column of the file that holds the texts.")] = None,
    dtype: Dtype = "auto",
    engine: EngineName = "auto",
    max_length: MaxLength = None,
    json_: Json = False,
) -> None:
    """Write the embeddings of texts to a file.

    With --precision int8 or uint8 the ranges that were used are written beside it, for the --ranges of queries.
    """
    from rankwright.cli.verbs import encode_verb

    encode_verb(
        model,
        texts,
        out=out,
        model_options={"dtype": dtype, "engine": engine, "max_length": max_length},
        encode_options={
            "prompt_name": prompt_name,
            "prompt": prompt,
            "normalize": normalize,
            "truncate_dim": truncate_dim,
            "precision": precision,
            "ranges": ranges,
        },
        column=column,
        as_json=json_,
    )


@app.command()
def card(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    *,
    template: Annotated[Path | None, typer.Option(help="A Jinja template with sentence-transformers' names.")] = None,
    out: Annotated[
        str | None, typer.Option(help="Where to write; - for stdout; default: the model's README.md.")
    ] = None,
) -> None:
    """Write the model card of a run again."""
    from rankwright.cli.verbs import card_verb

    card_verb(run, template=template, out=out)


@app.command()
def verify(
    model: Annotated[str, typer.Argument(help="Folder or Hub id, of either kind.")],
    texts: Annotated[
        str | None, typer.Argument(metavar="FILE|-", help="Texts or pairs of your own: one text a line, or JSONL/CSV.")
    ] = None,
    *,
    kind: Annotated[Kind | None, typer.Option(help="Kind of the model; default: what its files say.")] = None,
    column: Annotated[str | None, typer.Option(help="Column of the file that holds the texts.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file; verify.json in a run folder goes on its card.")] = None,
    json_: Json = False,
) -> None:
    """Compare a model's numbers, order, tokens and speed with sentence-transformers, in each engine and type.

    Built-in texts in 12 scripts, and yours. Exit code 1 where a difference is larger than allowed.
    """
    from rankwright.cli.verify import verify_verb

    verify_verb(model, texts, column=column, kind=kind, out=out, as_json=json_)


@app.command()
def bench(
    model: Annotated[str, typer.Argument(help="Folder or Hub id, of either kind.")],
    texts: Annotated[
        str | None, typer.Argument(metavar="FILE|-", help="Texts of your own; of a cross-encoder, the query first.")
    ] = None,
    *,
    lengths: Annotated[str | None, typer.Option(help="Comma-separated, in tokens; default: 16 to 512.")] = None,
    seconds: Annotated[float, typer.Option(help="How long each throughput is measured.")] = 1.0,
    kind: Annotated[Kind | None, typer.Option(help="Kind of the model; default: what its files say.")] = None,
    column: Annotated[str | None, typer.Option(help="Column of the file that holds the texts.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write all numbers to this JSON file.")] = None,
    json_: Json = False,
) -> None:
    """Measure what this machine does with a model: each engine and type, by length, and which auto takes."""
    from rankwright.cli.bench import bench_verb

    bench_verb(
        model,
        texts,
        column=column,
        settings={"kind": kind, "lengths": lengths, "seconds": seconds},
        out=out,
        as_json=json_,
    )


@app.command()
def quantize(
    model: Annotated[str, typer.Argument(help="Folder or Hub id, of either kind.")],
    texts: Annotated[
        str, typer.Argument(metavar="FILE|-", help="A few hundred texts or pairs like those that the model will run.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder of the quantised model, to be opened with --dtype int8.")],
    data: Annotated[
        list[str] | None, typer.Option("--eval", help="Data whose measure may lose 0.005 at most; may be repeated.")
    ] = None,
    kind: Annotated[Kind | None, typer.Option(help="Kind of the model; default: what its files say.")] = None,
    column: Annotated[str | None, typer.Option(help="Column of the file that holds the texts.")] = None,
    json_: Json = False,
) -> None:
    """Make a model's linear layers int8 for the CPU, calibrated on texts, and say what that costs and gains.

    It pays where the CPU has VNNI or AMX. Exit code 1, and nothing is written, where order or measure is not kept.
    """
    from rankwright.cli.quantize import quantize_verb

    quantize_verb(model, texts, out=out, data=data or [], column=column, kind=kind, as_json=json_)


@app.command()
def demo(
    *,
    base: Annotated[str | None, typer.Option(help="Model to start from; default: the installed MiniLM-L6.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the demo's files.")] = Path("demo"),
    max_steps: Annotated[int | None, typer.Option(help="Stop the training early.")] = None,
) -> None:
    """Train and measure a retriever on the documentation of the Python packages on this machine, offline."""
    from rankwright.cli.demo import demo_verb

    demo_verb(base=base, out=out, max_steps=max_steps)
