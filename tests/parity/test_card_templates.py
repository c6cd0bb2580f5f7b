"""The card templates of the installed sentence-transformers render our runs: every name defined, every fact there."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import jinja2
import pytest
from huggingface_hub import ModelCard

from rankwright.card import read_run, render_card, st_variables
from tests.run_folders import ENERGY, make_reranker, make_retriever

Maker = Callable[..., Path]

KINDS = {"cross_encoder": make_reranker, "sentence_transformer": make_retriever}

SHARED_FACTS = (
    "## Evaluation",
    "| **ndcg@10** |",
    "<code>rankwright.evaluate</code>",
    "#### Non-Default Hyperparameters",
    "- `logging_steps`: 10",
    "- `adam_beta2`: 0.999",
    "* Columns: <code>query</code>, <code>document</code>, and <code>label</code>",
    "min: 3 tokens<br>mean: 24.50 tokens<br>max: 256 tokens",
    "<code>gęślą jaźń</code>",
    "* The bold row denotes the saved checkpoint.",
    "- **Energy Consumed**: 0.031 kWh",
    "- **Carbon Emitted**: 0.013 kg of CO2",
    "- **RAM Size**: 7.70 GB",
    "- PyTorch: 2.13.0",
    "- Tokenizers: 0.22.1",
    "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks",
)

FACTS = {
    "cross_encoder": (
        "# CrossEncoder based on microsoft/MiniLM-L12-H384-uncased",
        "finetuned from [microsoft/MiniLM-L12-H384-uncased](https://huggingface.co/microsoft/MiniLM-L12-H384-uncased)",
        "- **Maximum Sequence Length:** 256 tokens",
        "- **Number of Output Labels:** 1 label\n",
        "- **Languages:** ru, pl",
        "- **License:** apache-2.0",
        "* Dataset: `ru_pairs dev`",
        "| **ndcg@10** | **0.7105** | **0.6805 to 0.7405** |",
        "* Size: 12,431 training samples",
        "* Size: 500 evaluation samples",
        "* Loss: <code>rankwright.losses.binary_cross_entropy</code> with these parameters:",
        '"pos_weight": 4.0',
        "| **0.5000** | **20** | **0.5450** | **0.7105** |",
        '"top_k": 100',
        "- **Training**: 1.6 minutes",
        "- **Evaluation**: 12.5 seconds",
        "query = 'Какой город — столица Франции?'",
    ),
    "sentence_transformer": (
        "# mmlw-roberta-base-dyk",
        "maps inputs to a 768-dimensional dense vector space",
        "<!-- at revision 57e19d8 -->",
        "- **Output Dimensionality:** 768 dimensions",
        "- **Similarity Function:** Cosine Similarity",
        "on the klej-dyk dataset",
        "- **Language:** pl",
        "| Measure | 768 dimensions | 256 dimensions | 64 dimensions |",
        '"loss": "MultipleNegativesRankingLoss"',
        '"matryoshka_dims": [',
        "- `batch_sampler`: no_duplicates",
        "#### MatryoshkaLoss\n```bibtex\n@misc{kusupati2024matryoshka,",
        "#### MultipleNegativesRankingLoss\n```bibtex\n@misc{henderson2017efficient,",
        '"num_documents": 5000',
        "- **Training**: 1.1 hours",
        "document_embeddings = model.encode_document(documents)",
        "# [[0.8123 0.1   ]]",
    ),
}


def _template(kind: str) -> Path:
    """The template of the installed sentence-transformers, which need not be imported for it."""
    spec = find_spec("sentence_transformers")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / kind / "model_card_template.md"


def _strict(template: str, variables: dict[str, object]) -> str:
    return jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(template).render(variables)


@pytest.mark.parametrize("energy", [None, ENERGY], ids=["without energy", "with energy"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_installed_template_renders_with_nothing_undefined(
    tmp_path: Path, kind: str, energy: dict[str, object] | None
) -> None:
    run = read_run(KINDS[kind](tmp_path, changes={"summary.json:energy": energy}))
    text = _strict(_template(kind).read_text(encoding="utf-8"), st_variables(run))
    assert ("### Environmental Impact" in text) == (energy is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_facts_are_in_the_installed_template(tmp_path: Path, kind: str) -> None:
    folder = KINDS[kind](tmp_path, changes={"summary.json:energy": ENERGY})
    card = render_card(folder, template=_template(kind))
    assert not [fact for fact in (*SHARED_FACTS, *FACTS[kind]) if fact not in card]
    assert ModelCard(card).data.eval_results


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("cross_encoder", "base_revision"),
        ("cross_encoder", "evaluation_time_s"),
        ("sentence_transformer", "base_revision"),
        ("sentence_transformer", "evaluation_time_s"),
        ("sentence_transformer", "usage"),
    ],
)
def test_facts_that_a_run_may_lack_leave_no_trace(tmp_path: Path, kind: str, name: str) -> None:
    card = render_card(KINDS[kind](tmp_path, changes={f"summary.json:{name}": None}), template=_template(kind))
    assert "None tokens" not in card
    assert "at revision" not in card or name != "base_revision"
    assert "- **Total**" not in card or name != "evaluation_time_s"


@pytest.mark.parametrize("make", [make_reranker, make_retriever])
def test_variables_of_templates_before_5_4_are_there(tmp_path: Path, make: Maker) -> None:
    # Until 5.3 a template wrote its snippet itself, from predict_example, and printed the hours of the training.
    template = (
        "{{ hf_emoji }} {{ model_id | default('model_id', true) }}\n"
        "{% for text in predict_example or [] %}{{ '%r' | format(text) }}\n{% endfor %}"
        "{{ model_num_labels }} {{ ir_model }} {{ similarities or '' }}\n"
        '{{ co2_eq_emissions["hours_used"] }} hours on {{ co2_eq_emissions["hardware_used"] or "no GPU" }}'
    )
    run = read_run(make(tmp_path, changes={"summary.json:energy": ENERGY}))
    text = _strict(template, st_variables(run))
    example = "['Какой город — столица Франции?', 'Столица Франции — Париж | [план]']"
    assert (example if make is make_reranker else "'gdzie rośnie bokkonia?'") in text
    assert ("0.026 hours" if make is make_reranker else "1.111 hours") in text
    assert text.endswith("hours on no GPU")
