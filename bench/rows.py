"""The rows of the speed table: which work, whose, in which environment, how often."""

from bench import retrieval
from bench.families import NAMES, STATIC
from bench.gate import ROOT
from bench.inputs import NUM_CANDIDATES, NUM_DOCUMENTS, NUM_FEW, NUM_QUERIES, NUM_TRAINING_PAIRS
from bench.measuring import Entry, Row, fresh_processes, in_turn, on_disk, peak_memory

OPENVINO_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
"""The peer's OpenVINO backend needs older packages than the rest, and the ONNX peers are beside it: `make bench` makes
this environment."""

INT8 = ("avx_vnni", "avx512_vnni", "amx_int8")
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")

AS_IT_COMES = "sentence-transformers"
LIMIT = "limit: the products alone"
FIRST_SCORE = "from {} import CrossEncoder; CrossEncoder(CROSS_ENCODER).predict([('a query', 'a document')])"
IMPORTS = "import numpy; from rankwright.encoder.core_openvino import import_openvino; import_openvino()"
HELP = "import sys; sys.argv[1:] = ['--help']; from rankwright.cli import main; main()"


def inference_row(
    name: str,
    work: str,
    *,
    unit: str,
    rounds: int,
    items: int | None = None,
    others: tuple[Entry, ...] = (),
    has_limit: bool = True,
) -> Row:
    """A row of the peer as it comes, in bfloat16 and with OpenVINO, beside ours in the type it takes and in others."""
    return Row(
        name=name,
        work=work,
        unit=unit,
        entries=(
            Entry(AS_IT_COMES, "peer", f"peer-{name}"),
            Entry("torch bfloat16", "peer", f"peer-{name}-bf16", needs=BFLOAT16),
            Entry("OpenVINO backend", "peer", f"peer-{name}-openvino", OPENVINO_PYTHON),
            Entry("OpenVINO backend int8", "peer", f"peer-{name}-int8", OPENVINO_PYTHON, needs=INT8),
            *others,
            Entry("rankwright", "ours", f"our-{name}"),
            Entry("rankwright float32", "ours", f"our-{name}-float32", needs=BFLOAT16),
            Entry("rankwright int8", "ours", f"our-{name}-int8", needs=INT8),
            *((Entry(LIMIT, "limit", f"limit-{name}"),) if has_limit else ()),
        ),
        measure=in_turn,
        rounds=rounds,
        items=items,
    )


def training_row(name: str, work: str) -> Row:
    """A row of the peer's trainer as it comes and with bf16, beside our run in its own type and float32."""
    return Row(
        name=name,
        work=work,
        unit="s/step",
        entries=(
            Entry(AS_IT_COMES, "peer", f"peer-{name}"),
            Entry("bf16=True", "peer", f"peer-{name}-bf16", needs=BFLOAT16),
            Entry("rankwright", "ours", f"our-{name}"),
            Entry("rankwright float32", "ours", f"our-{name}-float32", needs=BFLOAT16),
            Entry(LIMIT, "limit", f"limit-{name}"),
        ),
        measure=in_turn,
        rounds=2,
    )


def family_row(family: str) -> Row:
    """A row of one family with random weights of MiniLM-L6's size: each of our engines beside the peer as it comes."""
    count = NUM_DOCUMENTS if family == STATIC else NUM_FEW
    return Row(
        name=f"family-{family}",
        work=f"encode {count} documents with {family}",
        unit="documents/s",
        entries=(
            Entry(AS_IT_COMES, "peer", f"peer-family-{family}"),
            Entry("rankwright openvino", "ours", f"openvino-family-{family}"),
            Entry("rankwright torch", "ours", f"torch-family-{family}"),
        ),
        measure=in_turn,
        rounds=3,
        items=count,
    )


ROWS = (
    inference_row(
        "encode",
        f"encode {NUM_DOCUMENTS} documents of mixed lengths",
        unit="documents/s",
        rounds=4,
        items=NUM_DOCUMENTS,
        others=(
            Entry("ONNX Runtime", "peer", "onnxruntime-encode", OPENVINO_PYTHON),
            Entry("fastembed", "peer", "fastembed-encode", OPENVINO_PYTHON),
        ),
    ),
    inference_row(
        "rerank",
        f"rerank {NUM_QUERIES} x {NUM_CANDIDATES} documents",
        unit="s",
        rounds=3,
        others=(
            Entry("ONNX Runtime", "peer", "onnxruntime-rerank", OPENVINO_PYTHON),
            Entry("fastembed", "peer", "fastembed-rerank", OPENVINO_PYTHON),
        ),
    ),
    inference_row(
        "rerank-few",
        f"rerank 1 x {NUM_FEW} documents",
        unit="s",
        rounds=3,
        others=(
            Entry("ONNX Runtime", "peer", "onnxruntime-rerank-few", OPENVINO_PYTHON),
            Entry("fastembed", "peer", "fastembed-rerank-few", OPENVINO_PYTHON),
        ),
    ),
    inference_row("query", "encode one short query", unit="s", rounds=9, has_limit=False),
    training_row("train", f"train a cross-encoder, a step of {NUM_TRAINING_PAIRS} pairs"),
    training_row("train-bi", f"train a Matryoshka bi-encoder, a step of {NUM_TRAINING_PAIRS} pairs"),
    Row(
        name="evaluate",
        work=f"evaluate retrieval, {retrieval.NUM_QUERIES:,} queries x {retrieval.NUM_DOCUMENTS:,} documents, "
        "embeddings given",
        unit="s",
        entries=(
            Entry(AS_IT_COMES, "peer", "peer-evaluate"),
            Entry("corpus_chunk_size=10000", "peer", "peer-evaluate-chunks"),
            Entry("bfloat16 embeddings", "peer", "peer-evaluate-bf16", needs=BFLOAT16),
            Entry("rankwright", "ours", "our-evaluate"),
            Entry(LIMIT, "limit", "limit-evaluate"),
        ),
        measure=in_turn,
        rounds=3,
    ),
    Row(
        name="measures",
        work=f"measure {retrieval.NUM_QUERIES:,} lists of {retrieval.TOP_K} judged documents",
        unit="s",
        entries=(
            Entry(AS_IT_COMES, "peer", "peer-measures"),
            Entry("trec_eval (pytrec_eval)", "peer", "trec-eval-measures"),
            Entry("rankwright", "ours", "our-measures"),
        ),
        measure=in_turn,
        rounds=3,
    ),
    Row(
        name="search",
        work=f"search the best {retrieval.TOP_K} of {retrieval.NUM_STORED:,} x {retrieval.SIZE} for "
        f"{retrieval.NUM_SEARCHES} queries",
        unit="s",
        entries=(
            Entry(AS_IT_COMES, "peer", "peer-search"),
            Entry("dot_score", "peer", "peer-search-dot"),
            Entry("torch topk", "peer", "torch-search"),
            Entry("numpy argpartition", "peer", "numpy-search"),
            Entry("rankwright", "ours", "our-search"),
            Entry("rankwright float16", "ours", "our-search-float16"),
            Entry("rankwright int8", "ours", "our-search-int8"),
            Entry(LIMIT, "limit", "limit-search"),
        ),
        measure=in_turn,
        rounds=3,
    ),
    *(family_row(family) for family in NAMES),
    Row(
        name="import",
        work="start Python and import the library",
        unit="s",
        entries=(
            Entry(AS_IT_COMES, "peer", "import sentence_transformers"),
            Entry("rankwright", "ours", "import rankwright"),
            Entry("rankwright --help", "ours", HELP),
        ),
        measure=fresh_processes,
        rounds=3,
    ),
    Row(
        name="first-score",
        work="start Python, load a reranker and score one pair",
        unit="s",
        entries=(
            Entry(AS_IT_COMES, "peer", FIRST_SCORE.format("sentence_transformers")),
            Entry("of which the import of numpy and openvino", "part", IMPORTS),
            Entry("rankwright", "ours", FIRST_SCORE.format("rankwright")),
        ),
        measure=fresh_processes,
        rounds=3,
    ),
    Row(
        name="memory",
        work="peak memory of a process that scores one pair",
        unit="MB",
        entries=(
            Entry(AS_IT_COMES, "peer", FIRST_SCORE.format("sentence_transformers")),
            Entry("rankwright", "ours", FIRST_SCORE.format("rankwright")),
        ),
        measure=peak_memory,
        rounds=3,
    ),
    Row(
        name="size",
        work="installed size for inference, without Python",
        unit="MB",
        entries=(
            Entry(AS_IT_COMES, "peer", "sentence-transformers"),
            Entry("rankwright", "ours", "rankwright"),
        ),
        measure=on_disk,
        rounds=1,
    ),
    Row(
        name="size-train",
        work="installed size for training, without Python",
        unit="MB",
        entries=(
            Entry(AS_IT_COMES, "peer", "sentence-transformers[train]"),
            Entry("rankwright", "ours", "rankwright[train]"),
        ),
        measure=on_disk,
        rounds=1,
    ),
)
