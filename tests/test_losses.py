from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from tagformer.errors import TagformerError
from tagformer.labels import UNKNOWN
from tagformer.labels.masking import label_mask_training, without_known
from tagformer.losses import (
    LOSSES,
    asymmetric_loss,
    binary_cross_entropy,
    count_loss,
    exclusive_cross_entropy,
    get_loss,
    reduce,
)
from tagformer.recipes.settings import LOSS_NAMES

Loss = Callable[..., Tensor]

LOGITS = [[-2.5, -0.3, 0.0, 1.7], [0.4, 3.1, -1.2, -6.0], [2.2, -0.9, 5.0, 0.1]]
LABELS = [[1, 0, -1, 1], [0, 0, 1, -1], [1, -1, 0, 1]]


def from_equation_bce(logit: float, label: int) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -math.log(p) if label == 1 else -math.log(1 - p)


def from_equation_asl(logit: float, label: int, gamma_negative: float, gamma_positive: float, margin: float) -> float:
    """MlTr's Eqs. 14 to 16, one entry."""
    p = 1 / (1 + math.exp(-logit))
    if label == 1:
        return -((1 - p) ** gamma_positive) * math.log(p)
    p_m = max(p - margin, 0)
    return -(p_m**gamma_negative) * math.log(1 - p_m) if p_m else 0.0


def tensors() -> tuple[Tensor, Tensor]:
    return torch.tensor(LOGITS), torch.tensor(LABELS, dtype=torch.int8)


def expected(entry: Callable[[float, int], float], reduction: str) -> float:
    """The loss of LOGITS and LABELS from its equation, summed in plain loops."""
    values = [
        entry(logit, label)
        for logits, labels in zip(LOGITS, LABELS, strict=True)
        for logit, label in zip(logits, labels, strict=True)
        if label != -1
    ]
    return sum(values) / {"sum": 1, "batchmean": len(LOGITS), "mean": len(values)}[reduction]


@pytest.mark.parametrize("reduction", ["sum", "batchmean", "mean"])
def test_bce_is_the_from_equation_formula_in_each_reduction(reduction: str) -> None:
    loss = binary_cross_entropy(*tensors(), reduction=reduction)
    assert loss.item() == pytest.approx(expected(from_equation_bce, reduction), rel=1e-6)


@pytest.mark.parametrize("reduction", ["sum", "batchmean", "mean"])
@pytest.mark.parametrize(
    ("gamma_negative", "gamma_positive", "margin"),
    [(4, 0, 0.05), (4, 1, 0.05), (2, 2, 0.2), (0, 0, 0.05), (2, 1, 0), (1.5, 2.5, 0.1)],
)
def test_asl_is_the_from_equation_formula_in_each_reduction(
    gamma_negative: float, gamma_positive: float, margin: float, reduction: str
) -> None:
    def entry(logit: float, label: int) -> float:
        return from_equation_asl(logit, label, gamma_negative, gamma_positive, margin)

    loss = asymmetric_loss(
        *tensors(), reduction=reduction, gamma_negative=gamma_negative, gamma_positive=gamma_positive, margin=margin
    )
    assert loss.item() == pytest.approx(expected(entry, reduction), rel=1e-5)


def test_asl_has_the_papers_defaults() -> None:
    explicit = asymmetric_loss(*tensors(), reduction="none", gamma_negative=4, gamma_positive=0, margin=0.05)
    assert torch.equal(asymmetric_loss(*tensors(), reduction="none"), explicit)


def test_asl_without_focusing_and_margin_is_bce() -> None:
    plain = asymmetric_loss(*tensors(), reduction="none", gamma_negative=0, gamma_positive=0, margin=0)
    torch.testing.assert_close(plain, binary_cross_entropy(*tensors(), reduction="none"))


def test_bce_agrees_with_torch_where_all_is_annotated() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(6, 5, generator=generator)
    labels = torch.randint(0, 2, (6, 5), generator=generator)
    for reduction in ("none", "sum", "mean"):
        expected_loss = F.binary_cross_entropy_with_logits(logits, labels.float(), reduction=reduction)
        torch.testing.assert_close(
            binary_cross_entropy(logits, labels.to(torch.int8), reduction=reduction), expected_loss
        )


def test_no_reduction_gives_every_entry_and_zero_where_unknown() -> None:
    loss = binary_cross_entropy(*tensors(), reduction="none")
    assert loss.shape == (3, 4)
    for row, column in product(range(3), range(4)):
        label = LABELS[row][column]
        expected_loss = 0.0 if label == -1 else from_equation_bce(LOGITS[row][column], label)
        assert loss[row, column].item() == pytest.approx(expected_loss, rel=1e-5)


@pytest.mark.parametrize("loss", [binary_cross_entropy, asymmetric_loss])
@pytest.mark.parametrize("reduction", ["sum", "batchmean", "mean"])
def test_unknown_entries_leave_no_gradient_and_others_do(loss: Loss, reduction: str) -> None:
    logits, labels = tensors()
    logits.requires_grad_()
    loss(logits, labels, reduction=reduction, **({} if loss is binary_cross_entropy else {"margin": 0})).backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad == 0, labels == -1)


@pytest.mark.parametrize("loss", [binary_cross_entropy, asymmetric_loss])
@pytest.mark.parametrize("reduction", ["sum", "batchmean", "mean"])
def test_unknown_entries_do_not_change_the_loss_whatever_their_logit(loss: Loss, reduction: str) -> None:
    logits, labels = tensors()
    other = logits.masked_fill(labels == -1, 50.0)
    assert loss(other, labels, reduction=reduction) == loss(logits, labels, reduction=reduction)


@pytest.mark.parametrize(
    ("gamma_negative", "gamma_positive", "margin"), [(4, 0, 0.05), (4, 1, 0.05), (2, 2, 0.2), (1, 3, 0.0)]
)
def test_the_gradient_of_asl_includes_the_focusing_weights(
    gamma_negative: float, gamma_positive: float, margin: float
) -> None:
    logits, labels = tensors()
    logits.requires_grad_()
    asymmetric_loss(
        logits,
        labels,
        reduction="sum",
        gamma_negative=gamma_negative,
        gamma_positive=gamma_positive,
        margin=margin,
    ).backward()
    assert logits.grad is not None
    step = 1e-6
    for row, column in product(range(3), range(4)):
        label, logit = LABELS[row][column], LOGITS[row][column]
        if label == -1:
            continue
        ahead, behind = (
            from_equation_asl(logit + d, label, gamma_negative, gamma_positive, margin) for d in (step, -step)
        )
        assert logits.grad[row, column].item() == pytest.approx((ahead - behind) / (2 * step), rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("loss", [binary_cross_entropy, asymmetric_loss])
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_computed_in_float32(loss: Loss, kind: torch.dtype) -> None:
    logits, labels = tensors()
    halves = logits.to(kind)
    result = loss(halves, labels, reduction="sum")
    assert result.dtype == torch.float32
    assert torch.equal(result, loss(halves.float(), labels, reduction="sum"))


def check_extreme(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Very large and very small logits, right and wrong, alone and together, have a finite loss and gradient."""
    for values in ([-200.0], [200.0], [-200.0, 200.0, -30.0, 30.0, 0.0]):
        for label in (0, 1):
            logits = torch.tensor([values], requires_grad=True)
            total = loss(logits, torch.full((1, len(values)), label, dtype=torch.int8))
            total.backward()
            assert torch.isfinite(total)
            assert logits.grad is not None
            assert torch.isfinite(logits.grad).all()


def test_extreme_logits_keep_bce_finite() -> None:
    check_extreme(lambda logits, labels: binary_cross_entropy(logits, labels, reduction="sum"))


@pytest.mark.parametrize("margin", [0.0, 0.05])
@pytest.mark.parametrize("gamma_positive", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("gamma_negative", [0.0, 0.5, 1.0, 4.0])
def test_extreme_logits_keep_asl_finite(gamma_negative: float, gamma_positive: float, margin: float) -> None:
    check_extreme(
        lambda logits, labels: asymmetric_loss(
            logits,
            labels,
            reduction="sum",
            gamma_negative=gamma_negative,
            gamma_positive=gamma_positive,
            margin=margin,
        )
    )


def test_the_loss_of_a_confident_mistake_is_its_logit() -> None:
    logits = torch.tensor([[200.0, -200.0]])
    labels = torch.tensor([[0, 1]], dtype=torch.int8)
    assert binary_cross_entropy(logits, labels, reduction="sum").item() == pytest.approx(400)
    wrong_present = asymmetric_loss(logits[:, 1:], labels[:, 1:], reduction="sum")
    wrong_absent = asymmetric_loss(logits[:, :1], labels[:, :1], reduction="sum")
    assert wrong_present.item() == pytest.approx(200)
    assert wrong_absent.item() == pytest.approx(-(0.95**4) * math.log(0.05), rel=1e-5)


def test_easy_negatives_below_the_margin_have_loss_0() -> None:
    logits = torch.tensor([[-3.0, -8.0]], requires_grad=True)  # probabilities below 0.05
    loss = asymmetric_loss(logits, torch.zeros(1, 2, dtype=torch.int8), reduction="sum")
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("loss", [binary_cross_entropy, asymmetric_loss])
@pytest.mark.parametrize("reduction", ["sum", "batchmean", "mean"])
def test_a_batch_without_known_labels_has_loss_0(loss: Loss, reduction: str) -> None:
    logits = torch.ones(2, 3, requires_grad=True)
    value = loss(logits, torch.full((2, 3), -1, dtype=torch.int8), reduction=reduction)
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_the_reduction_is_required_and_must_be_known() -> None:
    with pytest.raises(TypeError, match="reduction"):
        binary_cross_entropy(*tensors())  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=r"none, sum, batchmean, mean, not 'average'"):
        reduce(torch.zeros(1, 1), torch.zeros(1, 1), "average")


def test_exclusive_cross_entropy_is_torch_s_on_images_with_one_label() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([[0, 1, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]], dtype=torch.int8)  # the last two are left out
    expected = torch.nn.functional.cross_entropy(logits[:2], torch.tensor([1, 0]))
    torch.testing.assert_close(exclusive_cross_entropy(logits, labels, reduction="mean"), expected)
    torch.testing.assert_close(exclusive_cross_entropy(logits, labels, reduction="batchmean"), expected / 2)
    unknown = torch.tensor([[-1, 1, 0]], dtype=torch.int8)
    loss = exclusive_cross_entropy(logits[:1], unknown, reduction="sum")
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits[:1, 1:], torch.tensor([0])))
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[0, 0] == 0


def test_known_labels_are_not_in_the_loss() -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, 2, (6, 20), dtype=torch.int8)
    known = label_mask_training(labels, 0.25)
    logits = torch.randn(6, 20, requires_grad=True)
    for loss in (binary_cross_entropy, asymmetric_loss):
        logits.grad = None
        loss(logits, without_known(labels, known), reduction="sum").backward()
        assert logits.grad is not None
        assert (logits.grad[known != UNKNOWN] == 0).all()
        assert (logits.grad[known == UNKNOWN] != 0).all()
        assert (known != UNKNOWN).any()


def test_the_count_loss_leaves_out_images_with_unknown_labels() -> None:
    logits = torch.tensor([[0.0, 1.0, 3.0], [2.0, 0.0, 0.0], [9.0, 9.0, 9.0]])
    labels = torch.tensor([[1, 1], [0, 0], [1, -1]], dtype=torch.int8)
    first = -torch.log_softmax(torch.tensor([0.0, 1.0, 3.0]), 0)[2]
    second = -torch.log_softmax(torch.tensor([2.0, 0.0, 0.0]), 0)[0]
    torch.testing.assert_close(count_loss(logits, labels, reduction="none"), torch.stack([first, second, 0 * first]))
    torch.testing.assert_close(count_loss(logits, labels, reduction="sum"), first + second)
    torch.testing.assert_close(count_loss(logits, labels, reduction="batchmean"), (first + second) / 3)
    torch.testing.assert_close(count_loss(logits, labels, reduction="mean"), (first + second) / 2)
    assert count_loss(logits[2:], labels[2:], reduction="mean") == 0


def test_losses_by_name_are_those_of_a_recipe() -> None:
    assert tuple(LOSSES) == LOSS_NAMES
    assert get_loss("asl") is asymmetric_loss
    assert get_loss("tagformer.losses:count_loss") is count_loss
    with pytest.raises(TagformerError, match=r"unknown loss 'blc' .did you mean 'bce'.*softmax; or your own"):
        get_loss("blc")
    with pytest.raises(TagformerError, match=r"loss 'tagformer\.losses:REDUCTIONS': 'REDUCTIONS' is not a function"):
        get_loss("tagformer.losses:REDUCTIONS")
