"""The model card: one Markdown file that says what a model is, how good it is, and how it was made.

In: a run folder, and optionally a user's template. Out: `README.md` beside the model.
"""

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from rankwright.card.citations import hub_loss_name, losses_of
from rankwright.card.data_tables import samples_table, size_of, statistics_table, truncation_sentence
from rankwright.card.limits import limits
from rankwright.card.markdown import code, count, fence, joined, json_block, number, plain, signed
from rankwright.card.metadata import CLASS_NAMES, base_name, hub_base
from rankwright.card.results import headline, measured, measures_table, parity_table, systems_table
from rankwright.card.run_folder import RunFolder, read_run
from rankwright.card.st_variables import energy_facts, log_of, st_variables
from rankwright.card.usage import ranking_table, snippet
from rankwright.data.statistics import NUM_ROWS
from rankwright.errors import DataError
from rankwright.evaluation.parity import parity_sentences, unit_of
from rankwright.files import replacing, sync

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import SandboxedEnvironment

TEMPLATE = Path(__file__).parent / "template.md.jinja"


def render_card(run_folder: Path, *, template: Path | None = None) -> str:
    """Render the card of a run, from nothing but its folder.

    Args:
        run_folder: the folder that `rankwright train` wrote.
        template: a Jinja file with the variable names of sentence-transformers' card templates; None: that of
            [card] template, or else our own.

    Returns:
        Markdown in UTF-8 with a YAML head; the same folder gives the same text.

    Raises:
        DataError: a file of the run folder is missing or malformed, or the template cannot be rendered.
    """
    run = read_run(run_folder)
    own = template is None and run.config.card.template is None
    path = TEMPLATE if own else template or Path(str(run.config.card.template))
    variables = st_variables(run) | (_own_variables(run) if own else {})
    parsed = _parsed(path, trim_blocks=own)
    try:
        text = parsed.render(variables)
    except Exception as err:  # a template may fail with any error of Python
        raise DataError(
            f"{path}{_line_of(err)}: the template cannot be rendered: {err}. "
            f"It may use these variables: {', '.join(sorted(variables))}."
        ) from err
    # A lone surrogate in a text is no character, and no UTF-8 file can hold it.
    return text.encode("utf-8", "replace").decode("utf-8")


def check_template(path: Path) -> None:
    """Read a user's template, so that a run need not be trained to learn that its card cannot be written.

    Args:
        path: a Jinja file.

    Raises:
        DataError: it cannot be read, or is no Jinja.
    """
    _parsed(path, trim_blocks=False)


def write_card(run_folder: Path, *, template: Path | None = None) -> Path:
    """Render the card of a run into the folder of its model, whole or not at all.

    Args:
        run_folder: the folder that `rankwright train` wrote.
        template: as for `render_card`.

    Returns:
        The path of the card, `model/README.md` in the run folder.

    Raises:
        DataError: as for `render_card`, or the run folder holds no model.
    """
    folder = run_folder / "model"
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder, but the card belongs beside the model. Finish the training first.")
    text = render_card(run_folder, template=template)
    path = folder / "README.md"
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")
        sync(aside)
    return path


def _parsed(path: Path, *, trim_blocks: bool) -> "Template":
    """A template, read and compiled."""
    from jinja2 import TemplateError

    try:
        return _environment(trim_blocks=trim_blocks).from_string(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise DataError(f"{path}: the template cannot be read ({err.strerror}). Give a Jinja file in UTF-8.") from err
    except (TemplateError, UnicodeDecodeError) as err:
        raise DataError(
            f"{path}{_line_of(err)}: the template cannot be rendered: {err}. Give a Jinja file in UTF-8."
        ) from err


def _environment(*, trim_blocks: bool) -> "SandboxedEnvironment":
    """Jinja with nothing undefined, and out of reach of Python: a template is a file from somewhere."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=trim_blocks, lstrip_blocks=trim_blocks, keep_trailing_newline=True
    )
    filters = (code, count, fence, joined, json_block, number, plain, signed)
    environment.filters |= {function.__name__: function for function in filters}
    return environment


def _line_of(err: Exception) -> str:
    """The line of the template in which an error arose, as it follows a path; "" where none is known."""
    lines = [frame.lineno for frame in traceback.extract_tb(err.__traceback__) if frame.filename == "<template>"]
    line = getattr(err, "lineno", None) or (lines[-1] if lines else None)
    return f":{line}" if line else ""


def _config_repeats(run: RunFolder) -> bool:
    """Whether config.toml names all data and the loss: what Python gave as objects or functions is in no file."""
    data, loss = run.config.data, losses_of(run.summary.loss)[-1]
    held_out = all(one.source == run.data.train.source for one in run.data.eval)
    return bool(data.train) and bool(data.eval or held_out) and loss.fullname.startswith("rankwright.losses.")


def _own_variables(run: RunFolder) -> dict[str, object]:
    """What our own template says beyond ST's: the honest part."""
    summary, groups, base = run.summary, measured(run), base_name(run)
    return {
        "run": run,
        "summary": summary,
        "data": run.data,
        "environment": run.environment,
        "base_text": f"[{base}](https://huggingface.co/{base})" if hub_base(run) else f"`{base}` (a local model)",
        "class_name": CLASS_NAMES[summary.kind],
        "headline": headline(run),
        "groups": groups,
        "sizes": next(([str(one.dim) for one in group.trained] for group in groups if group.has_sizes), []),
        "prompts": [f"{name}: `{text}`" for name, text in summary.prompts.items() if text],
        "rankwright_snippet": snippet(run, library="rankwright"),
        "ranking": ranking_table(run),
        "datasets_by_use": [("Training data", run.data.train), *(("Evaluation data", one) for one in run.data.eval)],
        "losses": [
            {"title": f"{plain(hub_loss_name(loss))} (`{loss.fullname}`)", "parameters": loss.parameters}
            for loss in losses_of(summary.loss)
        ],
        "log": log_of(run),
        "speed": f" ({summary.tokens / summary.training_time_s:,.0f} a second)"
        if summary.tokens and summary.training_time_s
        else "",
        "energy": energy_facts(run),
        "limits": limits(run),
        "config_repeats": _config_repeats(run),
        "measures_table": measures_table,
        "parity_sentences": parity_sentences,
        "parity_table": parity_table,
        "parity_unit": unit_of,
        "systems_table": systems_table,
        "num_statistics_rows": NUM_ROWS,
        "size_of": size_of,
        "statistics_table": statistics_table,
        "samples_table": samples_table,
        "truncation_sentence": truncation_sentence,
    }
