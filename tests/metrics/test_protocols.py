"""The figures of each tool's own code on small cases where the tools differ; each protocol must give the same."""

from __future__ import annotations

import pytest
import torch

from tagformer.metrics import PROTOCOLS, MultiLabelScores, Scores, evaluate, top_k

NAN = pytest.approx(float("nan"), nan_ok=True)
Expected = dict[str, float]


def row(tagformer: float, mlgcn: float, asl: float, ctran: float, query2label: float, mmpretrain: float) -> Expected:
    """The expected figure of each protocol, in the order of the table."""
    return {
        "tagformer": tagformer,
        "mlgcn": mlgcn,
        "asl": asl,
        "mltr": asl,
        "ctran": ctran,
        "query2label": query2label,
        "mmpretrain": mmpretrain,
    }


def one_label(protocol: str, probabilities: list[float], labels: list[int]) -> Scores:
    """A single label's figures."""
    values, states = torch.tensor(probabilities).unsqueeze(1), torch.tensor(labels, dtype=torch.int8).unsqueeze(1)
    return evaluate(values, states, protocol, given="probabilities")


EVERY = pytest.mark.parametrize("protocol", PROTOCOLS)


def test_every_protocol_is_tested() -> None:
    assert set(row(0, 0, 0, 0, 0, 0)) == set(PROTOCOLS)


@EVERY
def test_row_1_exact_and_interpolated_ap(protocol: str) -> None:
    exact = (1 / 2 + 2 / 3) / 2
    expected = row(exact, exact, exact, exact, 2 / 3, exact)
    assert one_label(protocol, [0.9, 0.8, 0.7, 0.6], [0, 1, 1, 0]).mAP == pytest.approx(expected[protocol])


@EVERY
def test_row_2_equal_scores(protocol: str) -> None:
    positive_first, positive_last = row(0.25, 1, 0.25, 0.25, 1, 1), row(0.25, 0.25, 1, 0.25, 0.25, 0.25)
    assert one_label(protocol, [0.5] * 4, [1, 0, 0, 0]).mAP == pytest.approx(positive_first[protocol])
    assert one_label(protocol, [0.5] * 4, [0, 0, 0, 1]).mAP == pytest.approx(positive_last[protocol])
    assert one_label("tagformer", [0.5] * 4, [0, 1, 0, 0]).mAP == pytest.approx(0.25)


@EVERY
def test_row_3_a_label_without_positives(protocol: str) -> None:
    scores = evaluate(
        torch.tensor([[2.0, 1.0], [-1.0, 0.5]]), torch.tensor([[1, 0], [0, 0]], dtype=torch.int8), protocol
    )
    nan = float("nan")  # ML-GCN's code divides by zero
    assert scores.mAP == pytest.approx(row(1, nan, 0.5, 0.5, nan, 0.5)[protocol], nan_ok=True)
    assert scores.average_precision.tolist() == pytest.approx([1, nan], nan_ok=True)
    assert scores.labels_scored == 1


@EVERY
def test_row_4_difficult(protocol: str) -> None:
    scores = one_label(protocol, [0.9, 0.8, 0.7, 0.6], [1, -1, 1, 0])
    assert scores.mAP == pytest.approx(row(1, 1, 1, 5 / 6, 1, 1)[protocol])
    # Predicted are .9 .8 .7 .6 (ASL: .9, for its threshold is .8, strictly); a negative among them where difficult is.
    precision = row(2 / 3, 2 / 4, 1, 2 / 4, float("nan"), 2 / 3) | {"mltr": 2 / 3}
    assert scores.all.OP == pytest.approx(precision[protocol], nan_ok=True)


@EVERY
def test_row_5_top_3_and_the_denominator_of_op(protocol: str) -> None:
    logits, labels = torch.tensor([[3.0, 2, -1, -2, -3]]), torch.tensor([[1, 1, 1, 0, 0]], dtype=torch.int8)
    scores, nan = evaluate(logits, labels, protocol), float("nan")
    above = (scores.top_above.OP, scores.top_above.OR)
    overall = (scores.top.OP, scores.top.OR)
    expected = {
        "tagformer": ((1, 1), (1, 2 / 3)),
        "mlgcn": ((nan, nan), (0.4, 2 / 3)),
        "ctran": ((nan, nan), (1, 2 / 3)),
        "mmpretrain": ((1, 1), (nan, nan)),
    }.get(protocol, ((nan, nan), (nan, nan)))
    assert overall == pytest.approx(expected[0], nan_ok=True)
    assert above == pytest.approx(expected[1], nan_ok=True)


def test_row_6_equal_scores_among_the_top_3() -> None:
    logits, labels = torch.tensor([[3.0, 2, 1, 1, 1]]), torch.ones(1, 5, dtype=torch.int8)
    assert top_k(logits, labels, 3).tolist() == [[True, True, True, False, False]]
    assert top_k(logits, labels, 3, ties="all").tolist() == [[True] * 5]
    assert evaluate(logits, labels, "ctran").top_above.OR == 1
    for protocol in ("tagformer", "mlgcn"):
        assert evaluate(logits, labels, protocol).top_above.OR == pytest.approx(3 / 5)


@EVERY
def test_row_7_a_probability_equal_to_the_threshold(protocol: str) -> None:
    scores = evaluate(torch.tensor([[0.0]]), torch.tensor([[1]], dtype=torch.int8), protocol, threshold=0.5)
    assert scores.all.OR == pytest.approx(row(1, 1, 0, 1, float("nan"), 1)[protocol], nan_ok=True)


@EVERY
def test_row_8_two_kinds_of_cf1(protocol: str) -> None:
    logits = torch.tensor([[2.0, 2], [-2, 2], [-2, 2]])
    labels = torch.tensor([[1, 1], [1, 0], [0, 0]], dtype=torch.int8)
    scores, nan = evaluate(logits, labels, protocol), float("nan")
    # Per label: precision 1 and 1/3, recall 1/2 and 1, F1 2/3 and 1/2.
    harmonic, mean = 2 / (3 / 2 + 4 / 3), (2 / 3 + 1 / 2) / 2
    assert harmonic == pytest.approx(0.7059, abs=5e-5)
    assert mean == pytest.approx(0.5833, abs=5e-5)
    assert pytest.approx(row(harmonic, harmonic, mean, harmonic, nan, mean)[protocol], nan_ok=True) == scores.all.CF1
    assert pytest.approx(nan if protocol == "query2label" else mean, nan_ok=True) == scores.all.macro_F1


@EVERY
def test_row_9_a_label_never_predicted(protocol: str) -> None:
    logits, labels = torch.tensor([[2.0, -2], [2, -2]]), torch.tensor([[1, 1], [0, 1]], dtype=torch.int8)
    scores, nan = evaluate(logits, labels, protocol), float("nan")
    assert scores.all.OP == pytest.approx(row(1 / 2, 1 / 3, 1 / 2, 1 / 2, nan, 1 / 2)[protocol], nan_ok=True)
    precision = 1 / 4  # of 1/2 and 0
    assert scores.all.CP == pytest.approx(nan if protocol == "query2label" else precision, nan_ok=True)


def test_row_10_a_sample_that_padding_repeats_counts_once() -> None:
    logits, labels = torch.tensor([[0.9], [0.8], [0.7]]), torch.tensor([[0], [1], [1]], dtype=torch.int8)
    again = torch.tensor([0, 1, 2, 0])
    assert evaluate(logits[again], labels[again]).mAP == pytest.approx((1 / 3 + 2 / 4) / 2)
    for protocol in PROTOCOLS:
        metric = MultiLabelScores(protocol)
        metric.update(logits[again[:2]], labels[again[:2]], ["a", "b"])
        metric.update(logits[again[2:]], labels[again[2:]], ["c", "a"])
        expected = 2 / 3 if protocol == "query2label" else (1 / 2 + 2 / 3) / 2
        assert metric.compute()["mAP"].item() == pytest.approx(expected)


@EVERY
def test_row_11_large_logits_whose_sigmoids_are_equal(protocol: str) -> None:
    logits, labels = torch.tensor([[30.0], [40], [50], [25]]), torch.tensor([[0], [0], [1], [0]], dtype=torch.int8)
    # The protocols that rank the sigmoid get four equal scores, and break the tie by their own rule.
    expected = row(1, 1, 1 / 2, 1 / 4, 1 / 3, 1 / 3)
    assert evaluate(logits, labels, protocol).mAP == pytest.approx(expected[protocol])


def test_ml_gcn_has_no_cf1_where_a_label_has_no_positive_but_keeps_op() -> None:
    scores = evaluate(torch.tensor([[2.0, -2.0]]), torch.tensor([[1, 0]], dtype=torch.int8), "mlgcn")
    assert NAN == scores.all.CR
    assert NAN == scores.all.CF1
    assert (scores.all.CP, scores.all.OP) == (0.5, 0.5)
