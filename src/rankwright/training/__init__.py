"""Train: model, batches and loss to a run folder with metrics, checkpoints and weights.

In: a `Job` (module, batch plan, `make_batch`, loss, `evaluate`), a `TrainingConfig`. Does: the loop.
Out: `metrics.jsonl`, `checkpoints/`, the trained module.
A new loss needs nothing here; a new kind of row is a class in `batches.py`.
"""

from rankwright.training.batches import LabelledBatches, PositiveBatches, of_embeddings
from rankwright.training.checkpoints import TrainingState, newest_checkpoint
from rankwright.training.devices import make_accelerator
from rankwright.training.loop import Job, run_training
from rankwright.training.plan import BatchPlan, number_texts

__all__ = [
    "BatchPlan",
    "Job",
    "LabelledBatches",
    "PositiveBatches",
    "TrainingState",
    "make_accelerator",
    "newest_checkpoint",
    "number_texts",
    "of_embeddings",
    "run_training",
]
