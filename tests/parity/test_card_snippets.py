"""The usage snippets of sentence-transformers' cards run with only import line, class name and model path changed."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import tiny

CROSS_ENCODER = """
from sentence_transformers import CrossEncoder

# Download from the Hub
model = CrossEncoder("cross_encoder_model_id")
# Get scores for pairs of texts
pairs = [
    ['какую энергию имеет движущееся тело?', 'Кинетическая энергия движущегося тела.'],
    ["It's a claim with [CITE] in it.", 'A Paper   Its abstract\\nover two lines.'],
    ['We follow <br/> the usual set-up.', "Another paper's abstract."],
]
scores = model.predict(pairs)
print(scores.shape)
# (3,)

# Or rank different texts based on similarity to a single text
ranks = model.rank(
    "It's a claim with [CITE] in it.",
    [
        'A Paper   Its abstract\\nover two lines.',
        "Another paper's abstract.",
        'Кинетическая энергия движущегося тела.',
    ]
)
# [{'corpus_id': ..., 'score': ...}, {'corpus_id': ..., 'score': ...}, ...]
print([entry['corpus_id'] for entry in ranks], [sorted(entry) for entry in ranks])
print(['%.4f' % entry['score'] for entry in ranks])
"""

BI_ENCODER = """
from sentence_transformers import SentenceTransformer

# Download from the Hub
model = SentenceTransformer("sentence_transformers_model_id")
# Run inference
sentences = [
    'Dalsze losy świętego',
    'Losy relikwii świętego',
    'czemu gra wywołała wiele kontrowersji?',
]
embeddings = model.encode(sentences)
print(embeddings.shape)
# [3, 768]

# Get the similarity scores for the embeddings
similarities = model.similarity(embeddings, embeddings)
print(list(similarities.shape))
# [3, 3]
print(['%.4f' % value for value in similarities[0]])
"""


def printed(snippet: str, model: Path, **changes: str) -> str:
    """What the snippet prints, with words of it changed."""
    for name in ("cross_encoder_model_id", "sentence_transformers_model_id"):
        snippet = snippet.replace(name, str(model))
    for old, new in changes.items():
        snippet = snippet.replace(old, new)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(snippet, "snippet", "exec"), {})
    return output.getvalue()


@pytest.mark.parametrize(
    ("snippet", "build", "ours"),
    [
        (CROSS_ENCODER, tiny.build_cross_encoder, "CrossEncoder"),
        (BI_ENCODER, tiny.build_bi_encoder, "BiEncoder"),
    ],
)
def test_snippet_prints_what_it_prints_with_sentence_transformers(
    tmp_path: Path, snippet: str, build: Callable[[Path, str], object], ours: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path / "model", "xlm-roberta")
    theirs = printed(snippet, tmp_path / "model")
    changed = printed(snippet, tmp_path / "model", sentence_transformers="rankwright", SentenceTransformer=ours)

    def numbers(text: str) -> list[float]:
        return [float(word.strip("[],'")) for word in text.splitlines()[-1].split()]

    assert changed.splitlines()[:-1] == theirs.splitlines()[:-1]
    # Both compute in the machine's own type here: a user's snippet says nothing of types.
    assert numbers(changed) == pytest.approx(numbers(theirs), abs=2e-2)
