"""Losses of a cross-encoder: how far its logits are from the labels of the pairs.

In: logits_BN before the activation, labels. Out: a scalar. Letters: B pairs, N outputs of the head.
"""

from jaxtyping import Float, Int, Real
from torch import Tensor
from torch.nn import functional as F

from rankwright.errors import ShapeError, ValueRangeError


def binary_cross_entropy(
    logits_BN: Float[Tensor, "B N"], labels_B: Real[Tensor, " B"], *, pos_weight: float | None = None
) -> Float[Tensor, ""]:
    """Cross-entropy between each label, as a probability, and the sigmoid of the logit.

    Args:
        logits_BN: N must be 1.
        labels_B: within 0 to 1; soft labels are allowed.
        pos_weight: weight of the positive part; > 1 raises recall where positives are rare.

    Returns:
        Mean over the pairs, in nats.

    Raises:
        ValueRangeError: pos_weight <= 0, or a label outside 0 to 1.

    Source:
        sentence-transformers 6.2.0, `cross_encoder.losses.BinaryCrossEntropyLoss` (definition)

    Example:
        >>> import torch
        >>> binary_cross_entropy(torch.zeros(2, 1), torch.tensor([0.0, 1.0]))
        tensor(0.6931)
    """
    logits_B = _one_output("binary_cross_entropy", logits_BN)
    if pos_weight is not None and pos_weight <= 0:
        raise ValueRangeError(f"pos_weight must be > 0, got {pos_weight}.")
    labels_B = labels_B.to(logits_B)
    if bool(((labels_B < 0) | (labels_B > 1)).any()):
        outside = labels_B[(labels_B < 0) | (labels_B > 1)][0].item()
        raise ValueRangeError(
            f"binary_cross_entropy needs labels from 0 to 1, got {outside}. Rescale them, or use mean_squared_error."
        )
    weight = None if pos_weight is None else logits_B.new_tensor(pos_weight)
    return F.binary_cross_entropy_with_logits(logits_B, labels_B, pos_weight=weight)


def cross_entropy(logits_BN: Float[Tensor, "B N"], labels_B: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    """Cross-entropy of the right class under the softmax of the logits.

    Args:
        logits_BN: one logit for each of the N classes.
        labels_B: the class of each pair, 0 to N - 1.

    Returns:
        Mean over the pairs, in nats.

    Raises:
        ShapeError: fewer than two classes.
        ValueRangeError: a label that is no class.

    Source:
        sentence-transformers 6.2.0, `cross_encoder.losses.CrossEntropyLoss` (definition)

    Example:
        >>> import torch
        >>> cross_entropy(torch.zeros(1, 4), torch.tensor([2]))
        tensor(1.3863)
    """
    num_classes = logits_BN.shape[1]
    if num_classes < 2:
        raise ShapeError(f"cross_entropy needs two classes or more, got {num_classes}. Set num_labels of the model.")
    if bool(((labels_B < 0) | (labels_B >= num_classes)).any()):
        outside = labels_B[(labels_B < 0) | (labels_B >= num_classes)][0].item()
        raise ValueRangeError(
            f"cross_entropy over {num_classes} classes needs labels from 0 to {num_classes - 1}, got {outside}. "
            "Set num_labels of the model to the number of classes."
        )
    return F.cross_entropy(logits_BN, labels_B.long())


def mean_squared_error(logits_BN: Float[Tensor, "B N"], labels_B: Real[Tensor, " B"]) -> Float[Tensor, ""]:
    """Squared difference of logit and label: regression, or distillation from another model's logits.

    Args:
        logits_BN: N must be 1.
        labels_B: any numbers.

    Returns:
        Mean over the pairs.

    Source:
        Hofstaetter et al. 2020, section 4.1 (pointwise), https://arxiv.org/abs/2010.02666

    Example:
        >>> import torch
        >>> mean_squared_error(torch.tensor([[1.0], [3.0]]), torch.tensor([1, 1]))
        tensor(2.)
    """
    logits_B = _one_output("mean_squared_error", logits_BN)
    return F.mse_loss(logits_B, labels_B.to(logits_B))


def _one_output(name: str, logits_BN: Tensor) -> Tensor:
    if logits_BN.shape[1] != 1:
        raise ShapeError(
            f"{name} needs a model with 1 output, got {logits_BN.shape[1]}. Set num_labels = 1, or use cross_entropy."
        )
    return logits_BN[:, 0]
