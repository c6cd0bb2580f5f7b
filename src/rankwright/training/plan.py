"""Which rows are trained on at which step: a pure function of the seed and the sizes, so that any step can be resumed.

In: the number of rows, their texts where no text may be twice in a batch. Out: `MicroBatch`es of row numbers.
Letters: B rows of a micro-batch.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from rankwright.errors import DataError


@dataclass(frozen=True)
class MicroBatch:
    """The rows of one forward pass.

    Attributes:
        rows_B: row numbers.
        share: their part of all rows of the step; 0 for a pass that only keeps pace with other processes.
        number: place in the step, counted over all processes.
    """

    rows_B: np.ndarray
    share: float
    number: int


@dataclass(frozen=True)
class BatchPlan:
    """The batches of a training run. A step is `batches_per_step` batches of one epoch, the last step may be smaller.

    Which process computes which batch of a step changes nothing: 2 processes with 1 batch each train as 1 with 2.

    Args:
        num_rows: rows of the training data.
        batch_size: rows of a batch; the last batch of an epoch may have fewer.
        batches_per_step: gradient accumulation steps x processes.
        seed: decides the order.
        num_epochs: passes over the rows; may be a fraction.
        max_steps: steps in all, in place of `num_epochs`; -1: not used.
        text_numbers: numbers of each row's texts (`number_texts`), if no text may be twice in a batch.

    Example:
        >>> plan = BatchPlan(num_rows=10, batch_size=4, num_epochs=2)
        >>> plan.num_steps, [len(plan.micro_batches(step)[0].rows_B) for step in (1, 2, 3)]
        (6, [4, 4, 2])
    """

    num_rows: int
    batch_size: int
    batches_per_step: int = 1
    seed: int = 42
    num_epochs: float = 3.0
    max_steps: int = -1
    text_numbers: Sequence[tuple[int, ...]] | None = field(default=None, repr=False)
    _epochs: dict[int, list[np.ndarray]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.num_rows < 1:
            raise DataError("The training data have no rows, but at least 1 is needed.")

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in a pass over the rows."""
        return math.ceil(math.ceil(self.num_rows / self.batch_size) / self.batches_per_step)

    @property
    def num_steps(self) -> int:
        """Optimizer steps in all; they are numbered from 1."""
        return self.max_steps if self.max_steps > 0 else math.ceil(self.num_epochs * self.steps_per_epoch)

    @property
    def identity(self) -> dict[str, float | bool]:
        """What must be the same for a checkpoint of one run to be taken up by another."""
        names = ("num_rows", "batch_size", "batches_per_step", "seed", "num_steps")
        return {name: getattr(self, name) for name in names} | {"no_duplicates": self.text_numbers is not None}

    def micro_batches(self, step: int, *, rank: int = 0, world_size: int = 1) -> list[MicroBatch]:
        """The passes of one process at a step; every process gets as many.

        Args:
            step: 1 to `num_steps`.
            rank: number of the process, from 0.
            world_size: how many processes there are.

        Returns:
            One or more.
        """
        epoch, index = divmod(step - 1, self.steps_per_epoch)
        start = index * self.batches_per_step
        batches = self._batches(epoch)[start : start + self.batches_per_step]
        num_rows = sum(map(len, batches))
        passes = [MicroBatch(rows_B, len(rows_B) / num_rows, i) for i, rows_B in enumerate(batches)]
        while len(passes) % world_size:
            passes.append(MicroBatch(batches[0][:1], 0.0, len(passes)))
        return passes[rank::world_size]

    def num_left_out(self, epoch: int) -> int:
        """How many rows have no place in an epoch, from 0, because their texts are in all batches that have room."""
        return self.num_rows - sum(map(len, self._batches(epoch)))

    def _batches(self, epoch: int) -> list[np.ndarray]:
        if epoch not in self._epochs:
            self._epochs.clear()
            order = np.random.default_rng((self.seed, epoch)).permutation(self.num_rows)
            if self.text_numbers is None:
                batches = np.split(order, range(self.batch_size, self.num_rows, self.batch_size))
            else:
                batches = _apart(order.tolist(), self.text_numbers, self.batch_size)
            self._epochs[epoch] = batches
        return self._epochs[epoch]


def number_texts(rows: Iterable[Sequence[str]]) -> list[tuple[int, ...]]:
    """Give each distinct text a number.

    Args:
        rows: the texts of each row, whatever their column.

    Returns:
        The numbers of each row's distinct texts.

    Example:
        >>> number_texts([("a", "b"), ("b", "c"), ("d", "d")])
        [(0, 1), (1, 2), (3,)]
    """
    numbers: dict[str, int] = {}
    return [tuple(dict.fromkeys(numbers.setdefault(text, len(numbers)) for text in row)) for row in rows]


def dropout_seed(seed: int, step: int, micro_batch: int) -> int:
    """The seed of all dropout masks of one forward pass.

    Args:
        seed: of the run.
        step: from 1.
        micro_batch: `MicroBatch.number`, which differs between processes.

    Returns:
        A number below 2**63.
    """
    return int(np.random.SeedSequence((seed, step, micro_batch)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _apart(order: Sequence[int], text_numbers: Sequence[tuple[int, ...]], batch_size: int) -> list[np.ndarray]:
    """Each row into the first batch with room behind all that hold one of its texts; time grows with the rows only.

    There are as many batches as without this rule, so that epochs have equal length; a row whose turn would come behind
    the last batch is left out, and most likely in again in the next epoch.
    """
    batches: list[list[int]] = [[] for _ in range(math.ceil(len(order) / batch_size))]
    after: dict[int, int] = {}
    first_open = 0
    for row in order:
        texts = text_numbers[row]
        chosen = max(first_open, *[after.get(text, 0) for text in texts])
        while chosen < len(batches) and len(batches[chosen]) == batch_size:
            chosen += 1
        if chosen == len(batches):
            continue
        batches[chosen].append(row)
        after.update(dict.fromkeys(texts, chosen + 1))
        while first_open < len(batches) and len(batches[first_open]) == batch_size:
            first_open += 1
    return [np.array(batch) for batch in batches if batch]
