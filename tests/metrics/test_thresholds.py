from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import fbeta_score, precision_score, recall_score

from tagformer.metrics import tune_thresholds

CUTS = np.arange(1, 21) / np.float32(20)  # every probability below, so that no other cut decides otherwise


def column(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).unsqueeze(1)


@settings(deadline=None, max_examples=40)
@given(data=st.data(), images=st.integers(2, 20), beta=st.sampled_from((0.5, 1.0, 2.0)))
def test_no_threshold_has_a_better_f_beta(data: st.DataObject, images: int, beta: float) -> None:
    probabilities = data.draw(arrays(np.int64, (images,), elements=st.integers(1, 19))) / np.float32(20)
    labels = data.draw(arrays(np.int8, (images,), elements=st.integers(0, 1)))
    labels[:2] = 0, 1
    threshold = tune_thresholds(column(probabilities), column(labels), beta=beta).values.item()
    reached = fbeta_score(labels, probabilities >= threshold, beta=beta, zero_division=0)
    best = max(fbeta_score(labels, probabilities >= cut, beta=beta, zero_division=0) for cut in CUTS)
    assert reached == pytest.approx(best)


@settings(deadline=None, max_examples=40)
@given(data=st.data(), images=st.integers(2, 20), floor=st.sampled_from((0.5, 0.8, 1.0)))
def test_no_threshold_keeps_the_precision_and_recalls_more(data: st.DataObject, images: int, floor: float) -> None:
    probabilities = data.draw(arrays(np.int64, (images,), elements=st.integers(1, 19))) / np.float32(20)
    labels = data.draw(arrays(np.int8, (images,), elements=st.integers(0, 1)))
    labels[:2] = 0, 1
    chosen = tune_thresholds(column(probabilities), column(labels), precision_floor=floor)
    recalls = [
        recall_score(labels, probabilities >= cut)
        for cut in CUTS
        if precision_score(labels, probabilities >= cut, zero_division=0) >= floor
    ]
    if not recalls or max(recalls) == 0:
        assert chosen.unreachable == (0,)
        assert not (probabilities >= chosen.values.item()).any()
    else:
        predicted = probabilities >= chosen.values.item()
        assert precision_score(labels, predicted) >= floor
        assert recall_score(labels, predicted) == max(recalls)


def test_a_threshold_lies_halfway_between_what_it_accepts_and_what_it_does_not() -> None:
    probabilities = torch.tensor([[0.9], [0.8], [0.4], [0.1]])
    labels = torch.tensor([[1], [1], [0], [0]], dtype=torch.int8)
    assert tune_thresholds(probabilities, labels).values.item() == pytest.approx(0.6)


def test_a_threshold_is_above_the_next_score_even_where_nothing_lies_between() -> None:
    above = np.nextafter(np.float32(0.5), np.float32(1))
    probabilities = torch.from_numpy(np.array([[above], [0.5]], dtype=np.float32))
    threshold = tune_thresholds(probabilities, torch.tensor([[1], [0]], dtype=torch.int8)).values
    assert (probabilities >= threshold).flatten().tolist() == [True, False]


def test_labels_without_both_states_keep_one_half_and_unknown_entries_are_left_out() -> None:
    probabilities = torch.tensor([[0.9, 0.3, 0.3], [0.2, 0.7, 0.6], [0.5, 0.5, 0.1]])
    labels = torch.tensor([[0, 1, 1], [0, 1, -1], [0, -1, 0]], dtype=torch.int8)
    chosen = tune_thresholds(probabilities, labels)
    assert chosen.undefined == (0, 1)
    assert chosen.values.tolist() == pytest.approx([0.5, 0.5, 0.2])
    assert chosen.unreachable == ()
    with pytest.raises(ValueError, match=r"must both be \(N, L\)"):
        tune_thresholds(probabilities, labels[:2])
